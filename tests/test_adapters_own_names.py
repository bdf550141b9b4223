"""FLUX.2 and HunyuanVideo 1.5: written keys on the models of real size, and the names that their
authors share with FLUX.1 and HunyuanVideo for other modules.

The names are spelt out from black-forest-labs/flux2, src/flux2/model.py, and from
Tencent-Hunyuan/HunyuanVideo-1.5, hyvideo/models/transformers/hunyuanvideo_1_5_transformer.py; what
ComfyUI reads, from comfy/utils.py (`flux_to_diffusers`) and comfy/lora.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    HunyuanVideo15Transformer3DModel,
)
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_flux2_lora_to_diffusers
from safetensors.torch import save_file
from torch import Tensor

from loraloom import families
from loraloom.adapters import file
from loraloom.adapters.check import check_keys, weight_shapes
from loraloom.adapters.file import _named
from loraloom.adapters.keys import layout_of, parse
from loraloom.adapters.state import AdapterState
from loraloom.adapters.weights import LoraWeights
from loraloom.errors import AdapterKeysUnknown
from loraloom.families.info import Layout
from loraloom.train.tuners import pattern

JOINT = [f"attn.{end}" for end in (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
)]  # fmt: skip
WIDE = 32
FLUX2 = {
    "double_blocks.0.img_attn.qkv": (3 * WIDE, WIDE), "double_blocks.0.img_attn.proj": (WIDE, WIDE),
    "double_blocks.0.txt_attn.qkv": (3 * WIDE, WIDE), "double_blocks.0.txt_attn.proj": (WIDE, WIDE),
    "double_blocks.0.img_mlp.0": (6 * WIDE, WIDE), "double_blocks.0.img_mlp.2": (WIDE, 3 * WIDE),
    "double_blocks.0.txt_mlp.0": (6 * WIDE, WIDE), "double_blocks.0.txt_mlp.2": (WIDE, 3 * WIDE),
    "single_blocks.0.linear1": (9 * WIDE, WIDE), "single_blocks.0.linear2": (WIDE, 4 * WIDE),
    "single_stream_modulation.lin": (3 * WIDE, WIDE), "img_in": (WIDE, 16), "txt_in": (WIDE, 24),
    "double_stream_modulation_img.lin": (6 * WIDE, WIDE),
    "double_stream_modulation_txt.lin": (6 * WIDE, WIDE),
}  # fmt: skip
"""Outputs and inputs of a small FLUX.2, by its authors' names."""


def _adapter(model: Any, family: str, preset: str = "blocks") -> AdapterState:
    """Of rank 1 on the preset's layers, one value a number."""
    found = re.compile(pattern(families.get(family).info.targets[preset]))
    shapes = {path: shape for path, shape in weight_shapes(model).items() if found.fullmatch(path)}
    assert all(len(shape) == 2 for shape in shapes.values())
    return {
        "transformer": {
            path: LoraWeights(torch.zeros(1, wide), torch.zeros(high, 1), 1.0)
            for path, (high, wide) in shapes.items()
        }
    }


def _names(state: AdapterState, family: str, layout: Layout) -> set[str]:
    """The modules' names in a file; where none stands joined the same modules are read back."""
    written = _named(
        state, layout, {"modelspec.architecture": families.get(family).info.architecture}
    )
    if layout == "diffusers":
        assert set(parse(written)["transformer"]) == set(state["transformer"])
    return {name.partition(".lora_")[0] for name in written}


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("flux2", {}),
        ("flux2_klein", {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24,
                         "joint_attention_dim": 7680, "guidance_embeds": False}),
    ],
)  # fmt: skip
def test_flux2_in_the_names_that_comfyui_and_diffusers_read(
    family: str, sizes: dict[str, Any]
) -> None:
    with torch.device("meta"):
        model = Flux2Transformer2DModel(**sizes)
    feed_forward = [f"{side}.linear_{way}" for side in ("ff", "ff_context")
                    for way in ("in", "out")]  # fmt: skip
    double, single = sizes.get("num_layers", 8), sizes.get("num_single_layers", 48)
    wanted = {f"transformer.transformer_blocks.{i}.{end}"
              for i in range(double) for end in (*JOINT, *feed_forward)}  # fmt: skip
    wanted |= {f"transformer.single_transformer_blocks.{i}.attn.{end}"
               for i in range(single) for end in ("to_qkv_mlp_proj", "to_out")}  # fmt: skip
    assert _names(_adapter(model, family), family, "diffusers") == wanted
    wanted |= {"transformer.x_embedder", "transformer.context_embedder"}
    assert _names(_adapter(model, family, "full"), family, "diffusers") == wanted


def _published(prefix: str = "diffusion_model.") -> dict[str, Tensor]:
    tensors = {}
    for name, (high, wide) in FLUX2.items():
        tensors[f"{prefix}{name}.lora_A.weight"] = torch.randn(2, wide)
        tensors[f"{prefix}{name}.lora_B.weight"] = torch.randn(high, 2)
    return tensors


def test_files_in_flux2s_own_names_are_not_taken_for_flux1s(tmp_path: Path) -> None:
    """Its `linear1` and `img_mlp.0` are other modules than FLUX.1's, of other widths."""
    with torch.device("meta"):
        model = Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(4, 4, 4, 4),
        )  # fmt: skip
        older = FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(4, 4, 8),
        )  # fmt: skip
    tensors = _published()
    reference = _convert_non_diffusers_flux2_lora_to_diffusers(dict(tensors))
    wanted = {
        name.removeprefix("transformer.").removesuffix(".lora_A.weight"): (
            reference[name.replace("lora_A", "lora_B")] @ down
        )
        for name, down in reference.items()
        if name.endswith(".lora_A.weight")
    }
    kohya = {
        "lora_unet_" + name.removeprefix("diffusion_model.").partition(".lora_")[0]
        .replace(".", "_") + (".lora_down" if "lora_A" in name else ".lora_up") + ".weight": tensor
        for name, tensor in tensors.items()
    }  # fmt: skip
    for number, own in enumerate((tensors, kohya)):
        path = tmp_path / str(number)
        save_file(own, path)
        check_keys(path, {"transformer": weight_shapes(model)})
        state = file.read(path)[0]["transformer"]
        assert set(state) == set(wanted)
        for name, weights in state.items():
            torch.testing.assert_close(weights.change(None), wanted[name])
        with pytest.raises(AdapterKeysUnknown, match="does not fit this base"):
            check_keys(path, {"transformer": weight_shapes(older)})


@pytest.fixture(scope="module")
def hunyuan() -> AdapterState:
    with torch.device("meta"):
        model = HunyuanVideo15Transformer3DModel()
    return _adapter(model, "hunyuan_video15")


def test_hunyuan_video_15_in_diffusers_names(hunyuan: AdapterState) -> None:
    """54 blocks, and nothing of what refines the text."""
    sides = [f"{side}.net.{end}" for side in ("ff", "ff_context") for end in ("0.proj", "2")]
    wanted = {f"transformer.transformer_blocks.{i}.{end}"
              for i in range(54) for end in (*JOINT, *sides)}  # fmt: skip
    assert _names(hunyuan, "hunyuan_video15", "diffusers") == wanted


def test_hunyuan_video_15_in_the_names_that_comfyui_reads(hunyuan: AdapterState) -> None:
    """ComfyUI's model has q, k and v in one, though the authors' has not."""
    ends = [f"{side}_{end}" for side in ("img", "txt")
            for end in ("attn_qkv", "attn_proj", "mlp.fc1", "mlp.fc2")]  # fmt: skip
    wanted = {f"diffusion_model.double_blocks.{i}.{end}" for i in range(54) for end in ends}
    assert _names(hunyuan, "hunyuan_video15", "comfyui") == wanted


@pytest.mark.parametrize(
    ("form", "halves"),
    [
        ("double_blocks.7.{}", ("lora_A", "lora_B")),  # as peft saves the authors' own model
        ("lora_unet_double_blocks_7_{}", ("lora_down", "lora_up")),
    ],
)
def test_hunyuan_video_15_is_read_as_its_authors_train_it(
    form: str, halves: tuple[str, str]
) -> None:
    named = {
        "img_attn_q": "attn.to_q", "txt_attn_k": "attn.add_k_proj", "txt_attn_v": "attn.add_v_proj",
        "img_attn_proj": "attn.to_out.0", "txt_mlp.fc1": "ff_context.net.0.proj",
    }  # fmt: skip
    flat = "." not in form
    tensors = {
        f"{form.format(own.replace('.', '_') if flat else own)}.{half}.weight": torch.ones(2, 2)
        for own in named
        for half in halves
    }
    assert layout_of(tensors) == ("kohya" if flat else "original")
    read = parse(tensors)["transformer"]
    assert set(read) == {f"transformer_blocks.7.{path}" for path in named.values()}


def test_hunyuan_video_15_joined_and_taken_apart_is_the_same(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = HunyuanVideo15Transformer3DModel(
            num_layers=1, num_attention_heads=2, attention_head_dim=16
        )
    state: AdapterState = {"transformer": {
        path: LoraWeights(torch.randn(2, w.down.shape[1]), torch.randn(len(w.up), 2), 1.5)
        for path, w in _adapter(model, "hunyuan_video15")["transformer"].items()
        if isinstance(w, LoraWeights)
    }}  # fmt: skip
    facts = {"modelspec.architecture": "hunyuan-video-1.5/lora"}
    file.write(tmp_path / "a", state, "comfyui", facts)
    check_keys(tmp_path / "a", {"transformer": weight_shapes(model)})
    back = file.read(tmp_path / "a")[0]["transformer"]
    assert set(back) == set(state["transformer"])
    for path, weights in state["transformer"].items():
        torch.testing.assert_close(back[path].change(None), weights.change(None))
