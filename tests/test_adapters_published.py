"""Written keys on the real-size models, against what the other programs call the same modules.

No weights: the models are made on the meta device. The names are spelt out from the published
architectures: sd-scripts' for SDXL (it prints "create LoRA for Text Encoder 1: 72 modules.",
"Text Encoder 2: 192 modules.", "U-Net: 722 modules."), ComfyUI's tables in comfy/utils.py and
comfy/lora.py for the transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ChromaTransformer2DModel,
    CogVideoXTransformer3DModel,
    FluxTransformer2DModel,
    HunyuanVideoTransformer3DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
    ZImageTransformer2DModel,
)
from diffusers.loaders.lora_conversion_utils import _convert_hunyuan_video_lora_to_diffusers
from safetensors.torch import load_file
from tests.test_adapters_keys import SD15_UNET, published_kohya_names
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from loraloom import families
from loraloom.adapters import file, keys, naming
from loraloom.adapters.file import _named
from loraloom.adapters.keys import parse
from loraloom.adapters.state import AdapterState, LoraWeights, canonical
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable
from loraloom.families.info import Layout
from loraloom.train.tuners import pattern

SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
DIT_ATTENTION = {
    "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
    "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
}  # fmt: skip
DIT_BLOCK = DIT_ATTENTION | {
    "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
}  # fmt: skip


def _adapter(model: nn.Module, endings: Iterable[str]) -> dict[str, LoraWeights]:
    """An adapter of rank 1 on the modules that the endings name, one value a number."""
    found = re.compile(pattern(endings))
    state = {}
    for path, module in model.named_modules():
        if found.fullmatch(path):
            assert isinstance(module, nn.Linear | nn.Conv2d), path
            wide, high = module.weight.shape[1], module.weight.shape[0]
            state[canonical(path)] = LoraWeights(torch.zeros(1, wide), torch.zeros(high, 1), 1.0)
    return state


def _names(state: AdapterState, family: str, layout: Layout) -> set[str]:
    """The modules' names in a file, and that reading them gives the same modules back."""
    info = families.get(family).info
    written = _named(state, layout, {"modelspec.architecture": info.architecture})
    read = parse(written)
    assert {c: set(m) for c, m in read.items()} == {c: set(m) for c, m in state.items()}
    ends = r"\.(lora_(down|up|A|B)\.weight|alpha)$"
    return {re.sub(ends, "", name) for name in written}


@pytest.fixture(scope="module")
def sdxl() -> AdapterState:
    info = families.get("sdxl").info
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**SDXL_UNET)
        one = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12))
        two = CLIPTextModelWithProjection(
            CLIPTextConfig(hidden_size=1280, num_hidden_layers=32, num_attention_heads=20)
        )
    return {
        "unet": _adapter(unet, info.targets["blocks"]),
        "text_encoder": _adapter(one, info.text_encoder_targets),
        "text_encoder_2": _adapter(two, info.text_encoder_targets),
    }


def test_sdxl_in_kohyas_names(sdxl: AdapterState) -> None:
    depths = {"input_blocks_4_1": 2, "input_blocks_5_1": 2, "input_blocks_7_1": 10,
              "input_blocks_8_1": 10, "middle_block_1": 10, "output_blocks_0_1": 10,
              "output_blocks_1_1": 10, "output_blocks_2_1": 10, "output_blocks_3_1": 2,
              "output_blocks_4_1": 2, "output_blocks_5_1": 2}  # fmt: skip
    attention = [f"attn{n}_to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out_0")]
    unet = {f"lora_unet_{place}_{end}" for place in depths for end in ("proj_in", "proj_out")}
    unet |= {
        f"lora_unet_{place}_transformer_blocks_{number}_{end}"
        for place, depth in depths.items()
        for number in range(depth)
        for end in (*attention, "ff_net_0_proj", "ff_net_2")
    }
    inner = [f"self_attn_{x}_proj" for x in ("q", "k", "v", "out")] + ["mlp_fc1", "mlp_fc2"]
    texts = [
        {f"lora_te{n}_text_model_encoder_layers_{i}_{end}" for i in range(layers) for end in inner}
        for n, layers in ((1, 12), (2, 32))
    ]
    assert [len(names) for names in (unet, *texts)] == [722, 72, 192]
    assert _names(sdxl, "sdxl", "kohya") == unet.union(*texts)


def test_sdxls_convolutions_in_kohyas_names() -> None:
    info = families.get("sdxl").info
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**SDXL_UNET)
    names = _names({"unet": _adapter(unet, info.targets["full"])}, "sdxl", "kohya")
    convolutions = {name for name in names if "layers" in name or "skip" in name}
    # 17 ResNets, of which 2 + 9 change the width; the sampling layers of two levels each.
    resnets = ["input_blocks_" + str(n) for n in (1, 2, 4, 5, 7, 8)]
    resnets += [f"output_blocks_{n}" for n in range(9)]
    wanted = {f"lora_unet_{r}_0_{end}" for r in resnets for end in ("in_layers_2", "out_layers_3")}
    wanted |= {f"lora_unet_middle_block_{n}_{end}" for n in (0, 2)
               for end in ("in_layers_2", "out_layers_3")}  # fmt: skip
    changing = [r for r in resnets if r.startswith("output") or r in
                ("input_blocks_4", "input_blocks_7")]  # fmt: skip
    wanted |= {f"lora_unet_{r}_0_skip_connection" for r in changing}
    assert convolutions == wanted
    sampling = {"input_blocks_3_0_op", "input_blocks_6_0_op", "output_blocks_2_2_conv",
                "output_blocks_5_2_conv"}  # fmt: skip
    assert {f"lora_unet_{name}" for name in sampling} <= names


def test_version_2_in_kohyas_names() -> None:
    """The UNet's as of version 1; of OpenCLIP-H 23 layers are left."""
    info, config = families.get("sd21").info, json.loads(SD15_UNET.read_text())
    config |= {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024,
               "use_linear_projection": True}  # fmt: skip
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(config)
        text = CLIPTextModel(
            CLIPTextConfig(hidden_size=1024, num_hidden_layers=23, num_attention_heads=16)
        )
    state = {
        "unet": _adapter(unet, info.targets["blocks"]),
        "text_encoder": _adapter(text, info.text_encoder_targets),
    }
    assert _names(state, "sd21", "kohya") == published_kohya_names(text_layers=23)


def test_kolors_in_diffusers_names_of_sdxls_modules() -> None:
    info = families.get("kolors").info
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(
            **SDXL_UNET | {"encoder_hid_dim": 4096, "encoder_hid_dim_type": "text_proj",
                           "projection_class_embeddings_input_dim": 5632}
        )  # fmt: skip
    depths = {f"down_blocks_{i}_attentions_{j}": 2 if i == 1 else 10 for i in (1, 2)
              for j in (0, 1)}  # fmt: skip
    depths |= {f"up_blocks_{i}_attentions_{j}": 10 if i == 0 else 2 for i in (0, 1)
               for j in (0, 1, 2)}  # fmt: skip
    depths["mid_block_attentions_0"] = 10
    inner = [f"attn{n}_to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out_0")]
    wanted = {f"lora_unet_{place}_{end}" for place in depths for end in ("proj_in", "proj_out")}
    wanted |= {
        f"lora_unet_{place}_transformer_blocks_{number}_{end}"
        for place, depth in depths.items()
        for number in range(depth)
        for end in (*inner, "ff_net_0_proj", "ff_net_2")
    }
    state = {"unet": _adapter(unet, info.targets["blocks"])}
    assert len(wanted) == 722 and _names(state, "kolors", "kohya") == wanted


def test_sd3_in_the_names_that_comfyui_and_diffusers_read() -> None:
    info = families.get("sd3").info
    with torch.device("meta"):
        large: Any = SD3Transformer2DModel(
            num_layers=38, num_attention_heads=38, attention_head_dim=64, qk_norm="rms_norm",
            joint_attention_dim=4096, caption_projection_dim=2432, pooled_projection_dim=2048,
        )  # fmt: skip
    names = _names({"transformer": _adapter(large, info.targets["blocks"])}, "sd3", "diffusers")
    wanted = {f"transformer.transformer_blocks.{i}.{end}" for i in range(38) for end in DIT_BLOCK}
    no_text_left = ("attn.to_add_out", "ff_context.net.0.proj", "ff_context.net.2")
    wanted -= {f"transformer.transformer_blocks.37.{end}" for end in no_text_left}
    assert names == wanted


@pytest.mark.parametrize(
    ("family", "model"), [("flux", FluxTransformer2DModel), ("chroma", ChromaTransformer2DModel)]
)
def test_flux_in_the_names_that_comfyui_and_diffusers_read(family: str, model: Any) -> None:
    info = families.get(family).info
    with torch.device("meta"):
        flux = model()
    names = _names({"transformer": _adapter(flux, info.targets["blocks"])}, family, "diffusers")
    single = {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"}
    wanted = {f"transformer.transformer_blocks.{i}.{end}" for i in range(19) for end in DIT_BLOCK}
    wanted |= {
        f"transformer.single_transformer_blocks.{i}.{end}" for i in range(38) for end in single
    }
    assert names == wanted


BOTH = pytest.mark.parametrize(
    ("layout", "prefix"), [("comfyui", "diffusion_model"), ("diffusers", "transformer")]
)


@BOTH
def test_qwen_image_in_each_readers_names(layout: Layout, prefix: str) -> None:
    info = families.get("qwen_image").info
    with torch.device("meta"):
        qwen: Any = QwenImageTransformer2DModel()
    state = {"transformer": _adapter(qwen, info.targets["blocks"])}
    block = DIT_ATTENTION | {
        f"{side}_mlp.net.{n}" for side in ("img", "txt") for n in ("0.proj", 2)
    }
    wanted = {f"{prefix}.transformer_blocks.{i}.{end}" for i in range(60) for end in block}
    assert _names(state, "qwen_image", layout) == wanted


@BOTH
def test_z_image_in_each_readers_names(layout: Layout, prefix: str) -> None:
    info = families.get("z_image").info
    with torch.device("meta"):
        model: Any = ZImageTransformer2DModel()
    state = {"transformer": _adapter(model, info.targets["full"])}
    blocks = [f"layers.{i}" for i in range(30)]
    blocks += [f"{kind}_refiner.{i}" for kind in ("noise", "context") for i in (0, 1)]
    ends = [f"attention.to_{x}" for x in ("q", "k", "v", "out.0")]
    ends += ["feed_forward.w1", "feed_forward.w2", "feed_forward.w3"]
    wanted = {f"{prefix}.{block}.{end}" for block in blocks for end in ends}
    modulated = [block for block in blocks if not block.startswith("context")]
    wanted |= {f"{prefix}.{block}.adaLN_modulation.0" for block in modulated}
    assert _names(state, "z_image", layout) == wanted


@BOTH
def test_cogvideox_in_each_readers_names(layout: Layout, prefix: str) -> None:
    """The 5B: 42 blocks, 48 heads."""
    info = families.get("cogvideox").info
    with torch.device("meta"):
        model: Any = CogVideoXTransformer3DModel(
            num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True
        )
    state = {"transformer": _adapter(model, info.targets["blocks"])}
    ends = [f"attn1.to_{x}" for x in ("q", "k", "v", "out.0")] + ["ff.net.0.proj", "ff.net.2"]
    wanted = {f"{prefix}.transformer_blocks.{i}.{end}" for i in range(42) for end in ends}
    assert _names(state, "cogvideox", layout) == wanted


@pytest.fixture(scope="module")
def wan() -> AdapterState:
    with torch.device("meta"):
        model: Any = WanTransformer3DModel()
    return {"transformer": _adapter(model, families.get("wan").info.targets["blocks"])}


def test_wan_in_its_authors_names_and_diffusers(wan: AdapterState) -> None:
    """Wan-Video/Wan2.1, wan/modules/model.py, whose names ComfyUI keeps."""
    inner = {f"{kind}_attn.{x}" for kind in ("self", "cross") for x in "qkvo"} | {"ffn.0", "ffn.2"}
    wanted = {f"diffusion_model.blocks.{i}.{end}" for i in range(40) for end in inner}
    assert _names(wan, "wan", "comfyui") == wanted
    ends = [f"attn{n}.to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out.0")]
    ends += ["ffn.net.0.proj", "ffn.net.2"]
    wanted = {f"transformer.blocks.{i}.{end}" for i in range(40) for end in ends}
    assert _names(wan, "wan", "diffusers") == wanted


@pytest.fixture(scope="module")
def hunyuan() -> AdapterState:
    with torch.device("meta"):
        model: Any = HunyuanVideoTransformer3DModel(num_layers=20, num_single_layers=40)
    return {"transformer": _adapter(model, families.get("hunyuan_video").info.targets["blocks"])}


def test_hunyuan_video_in_diffusers_names(hunyuan: AdapterState) -> None:
    double = DIT_BLOCK
    single = {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"}
    wanted = {f"transformer.transformer_blocks.{i}.{end}" for i in range(20) for end in double}
    wanted |= {
        f"transformer.single_transformer_blocks.{i}.{end}" for i in range(40) for end in single
    }
    assert _names(hunyuan, "hunyuan_video", "diffusers") == wanted


def test_hunyuan_video_in_its_authors_names(hunyuan: AdapterState) -> None:
    """Tencent-Hunyuan/HunyuanVideo, hyvideo/modules/models.py."""
    written = _named(hunyuan, "comfyui", {"modelspec.architecture": "hunyuan-video/lora"})
    names = {name.partition(".lora_")[0] for name in written}
    double = [f"{side}_{end}" for side in ("img", "txt")
              for end in ("attn_qkv", "attn_proj", "mlp.fc1", "mlp.fc2")]  # fmt: skip
    wanted = {f"diffusion_model.double_blocks.{i}.{end}" for i in range(20) for end in double}
    wanted |= {f"diffusion_model.single_blocks.{i}.linear{n}" for i in range(40) for n in (1, 2)}
    assert names == wanted and not any(name.endswith("alpha") for name in written)


@pytest.fixture
def small_hunyuan() -> AdapterState:
    """Of one block of each kind, with numbers; the text's side of one has no adapter."""
    with torch.device("meta"):
        model: Any = HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=1)
    made = _adapter(model, families.get("hunyuan_video").info.targets["blocks"])
    state = {
        path: LoraWeights(
            torch.randn(2, lora.down.shape[1]), torch.randn(len(lora.up), 2), alpha=1.5
        )
        for path, lora in made.items()
    }
    del state["transformer_blocks.0.attn.add_k_proj"]
    return {"transformer": state}


def _change(lora: LoraWeights) -> torch.Tensor:
    return lora.up @ lora.down * (lora.alpha / lora.rank)


@pytest.mark.slow
def test_joined_modules_mean_the_same_to_diffusers_and_come_back(
    small_hunyuan: AdapterState, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    file.write(path, small_hunyuan, "comfyui", {"modelspec.architecture": "hunyuan-video/lora"})
    back, _ = file.read(path)
    theirs = _convert_hunyuan_video_lora_to_diffusers(load_file(path))
    ours = small_hunyuan["transformer"]
    assert back["transformer"].keys() == ours.keys()
    for name, lora in ours.items():
        torch.testing.assert_close(_change(back["transformer"][name]), _change(lora))
        assert back["transformer"][name].rank == 2
        a, b = (theirs.pop(f"transformer.{name}.lora_{half}.weight") for half in "AB")
        torch.testing.assert_close(b @ a, _change(lora), rtol=1e-4, atol=1e-4)
    # What had no adapter is nothing.
    left = {name: tensor for name, tensor in theirs.items() if name.endswith("lora_B.weight")}
    assert set(left) == {"transformer.transformer_blocks.0.attn.add_k_proj.lora_B.weight"}
    assert not any(tensor.any() for tensor in left.values())


def test_a_joined_module_of_another_width_is_refused() -> None:
    name = "diffusion_model.double_blocks.0.img_attn_qkv"
    halves = {f"{name}.lora_A.weight": torch.ones(1, 4), f"{name}.lora_B.weight": torch.ones(11, 1)}
    with pytest.raises(AdapterUnreadable, match=r"11 outputs for 4 inputs are not those of the 3"):
        parse(halves)


def test_a_wan_file_without_a_word_on_its_base_is_known_by_its_names(wan: AdapterState) -> None:
    found = naming.family_of(wan, {})
    assert found is not None and found.original == families.get("wan").info.original
    lora = next(iter(wan["transformer"].values()))
    assert naming.family_of({"transformer": {"transformer_blocks.0.attn.to_q": lora}}, {}) is None


@pytest.mark.parametrize("layout", ["diffusers", "comfyui"])
def test_a_transformers_file_means_the_same_without_the_metadata(
    layout: Layout, tmp_path: Path
) -> None:
    """ComfyUI multiplies by `.alpha` / rank where there is one, and by nothing else."""
    lora = LoraWeights(torch.randn(4, 6), torch.randn(5, 4), alpha=1.5)
    file.write(tmp_path / "x", {"transformer": {"layers.0.a": lora}}, layout, {})
    prefix = {"diffusers": "transformer", "comfyui": "diffusion_model"}[layout] + ".layers.0.a"
    tensors = load_file(tmp_path / "x")
    scale = float(tensors.get(f"{prefix}.alpha", torch.tensor(4.0))) / 4
    product = tensors[f"{prefix}.lora_B.weight"] @ tensors[f"{prefix}.lora_A.weight"] * scale
    torch.testing.assert_close(product, lora.up @ lora.down * 1.5 / 4)


def test_layouts_that_nothing_would_read_are_refused(tmp_path: Path) -> None:
    lora = LoraWeights(torch.randn(4, 6), torch.randn(5, 4), alpha=4.0)
    unet = {"unet": {"mid_block.attentions.0.proj_in": lora}}
    flux = {"modelspec.architecture": "flux-1-schnell/lora"}
    with pytest.raises(AdapterKeysUnknown, match="ComfyUI reads the layout kohya"):
        file.write(tmp_path / "x", unet, "comfyui", {})
    with pytest.raises(AdapterKeysUnknown, match=r"of FLUX.1 ComfyUI reads the layout diffusers"):
        file.write(tmp_path / "x", {"transformer": {"a": lora}}, "comfyui", flux)
    with pytest.raises(AdapterKeysUnknown, match=r"no names for an adapter of FLUX\.1"):
        file.write(tmp_path / "x", {"transformer": {"a": lora}}, "kohya", flux)
    assert not list(tmp_path.iterdir())


def test_a_files_family_is_known_by_its_words_or_its_width() -> None:
    def adapter(width: int) -> AdapterState:
        lora = LoraWeights(torch.zeros(1, width), torch.zeros(8, 1), 1.0)
        return {"unet": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": lora}}

    def known(width: int, **metadata: str) -> str:
        found = naming.family_of(adapter(width), metadata)
        return found.id if found else "none"

    assert [known(width) for width in (768, 1024, 7)] == ["sd15", "sd21", "none"]
    sdxl = next(iter(keys.to_kohya(adapter(2048), naming.kohya_names(adapter(2048), {}))))
    assert sdxl.startswith("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k")
    assert known(7, ss_base_model_version="sdxl_base_v1-0") == "sdxl"
