import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from tests import tiny_lora
from transformers import CLIPTextConfig, CLIPTextModel

from loraloom import families
from loraloom.adapters.keys import parse, place, to_diffusers, to_kohya
from loraloom.adapters.state import (
    AdapterState,
    LoraWeights,
    each,
    from_peft,
    with_unit_scale,
)
from loraloom.errors import AdapterUnreadable

SD15 = families.get("sd15").info.kohya
assert SD15
SD15_UNET = Path(__file__).parent / "data" / "sd15_unet_config.json"


def published_kohya_names(text_layers: int = 12) -> set[str]:
    """sd-scripts' rule spelt out from SD 1.5's published architecture, without any model.

    Every Linear and 1x1 convolution inside a Transformer2DModel, "_" for ".": sd-scripts prints
    "create LoRA for U-Net: 192 modules." and "create LoRA for Text Encoder: 72 modules."
    """
    places = [f"down_blocks_{i}_attentions_{j}" for i in (0, 1, 2) for j in (0, 1)]
    places += ["mid_block_attentions_0"]
    places += [f"up_blocks_{i}_attentions_{j}" for i in (1, 2, 3) for j in (0, 1, 2)]
    attention = [f"attn{n}_to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out_0")]
    inner = [f"transformer_blocks_0_{x}" for x in (*attention, "ff_net_0_proj", "ff_net_2")]
    unet = {f"lora_unet_{p}_{x}" for p in places for x in ("proj_in", "proj_out", *inner)}
    parts = [f"self_attn_{x}_proj" for x in ("q", "k", "v", "out")] + ["mlp_fc1", "mlp_fc2"]
    text = {f"lora_te_text_model_encoder_layers_{i}_{x}" for i in range(text_layers) for x in parts}
    assert (len(unet), len(text)) == (192, 6 * text_layers)
    return unet | text


def test_kohya_keys_are_those_of_sd_scripts_on_the_real_sd15() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads(SD15_UNET.read_text()))
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12))
        inject_adapter_in_model(LoraConfig(r=4, target_modules=tiny_lora.BLOCKS), unet)
        inject_adapter_in_model(LoraConfig(r=4, target_modules=tiny_lora.CLIP), text)
    written = to_kohya({"unet": from_peft(unet), "text_encoder": from_peft(text)}, SD15)
    endings = ("lora_down.weight", "lora_up.weight", "alpha")
    assert set(written) == {f"{n}.{end}" for n in published_kohya_names() for end in endings}


@pytest.fixture(scope="module")
def state() -> AdapterState:
    pipe = tiny_lora.pipeline()
    tiny_lora.inject(pipe.unet, tiny_lora.FULL, rank=3, alpha=2)
    tiny_lora.inject(pipe.text_encoder, tiny_lora.CLIP, rank=2, alpha=5)
    return {"unet": from_peft(pipe.unet), "text_encoder": from_peft(pipe.text_encoder)}


def same(a: AdapterState, b: AdapterState) -> bool:
    left, right = list(each(a)), list(each(b))
    return len(left) == len(right) and all(
        (c, p) == (d, q)
        and torch.equal(x.down, y.down)
        and torch.equal(x.up, y.up)
        and x.alpha == y.alpha
        for (c, p, x), (d, q, y) in zip(left, right, strict=True)
    )


def test_kohya_round_trip_needs_no_module_names(state: AdapterState) -> None:
    assert same(parse(to_kohya(state, SD15)), state)


def test_diffusers_round_trip_with_alphas(state: AdapterState) -> None:
    alphas = {(component, path): lora.alpha for component, path, lora in each(state)}
    assert same(parse(to_diffusers(state), alphas=alphas), state)


def test_peft_names_are_read(state: AdapterState) -> None:
    names = {
        f"base_model.model.{path}.lora_{half}.weight": tensor
        for component in state
        for path, lora in state[component].items()
        for half, tensor in (("A", lora.down), ("B", lora.up))
    }
    read = parse(names)
    assert {c: set(m) for c, m in read.items()} == {c: set(m) for c, m in state.items()}


@pytest.mark.parametrize(
    ("name", "component", "module"),
    [
        (
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
            "unet",
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
        ),
        (
            "text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_linear_layer.down.weight",
            "text_encoder",
            "encoder.layers.3.mlp.fc1",
        ),
        (
            "lora_te2_text_model_encoder_layers_31_self_attn_q_proj.alpha",
            "text_encoder_2",
            "encoder.layers.31.self_attn.q_proj",
        ),
    ],
)
def test_names_of_older_and_larger_tools(name: str, component: str, module: str) -> None:
    where = place(name)
    assert where is not None
    assert (where.component, where.module) == (component, module)


def test_module_names_make_an_ambiguous_kohya_name_exact() -> None:
    where = place("lora_unet_my_block_0_to_x.alpha", {"unet": ["my_block.0.to_x"]})
    assert where is not None and where.module == "my_block.0.to_x"


def test_missing_alpha_means_scale_one() -> None:
    read = parse(
        {"unet.a.lora_A.weight": torch.ones(4, 2), "unet.a.lora_B.weight": torch.ones(3, 4)}
    )
    assert read["unet"]["a"].alpha == 4.0


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"unet.a.lora_A.weight": torch.ones(4, 2)}, "one half"),
        (
            {"unet.a.lora_A.weight": torch.ones(4, 2), "unet.a.lora_B.weight": torch.ones(3, 5)},
            r"\(3, 5\)",
        ),
        (
            {"unet.a.lora_A.weight": torch.ones(0, 2), "unet.a.lora_B.weight": torch.ones(3, 0)},
            "rank 0: there is nothing in it",
        ),
        ({"lora_unet_a.hada_w1_a": torch.ones(2)}, "lacks its tensor hada_w1_b"),
        ({"lora_unet_a.alpha": torch.ones(2)}, "one half"),
    ],
)
def test_refused(tensors: dict[str, torch.Tensor], reason: str) -> None:
    with pytest.raises(AdapterUnreadable, match=reason):
        parse(tensors)


def test_unit_scale_keeps_the_product() -> None:
    lora = LoraWeights(torch.randn(4, 6), torch.randn(5, 4), alpha=1.5)
    unit = with_unit_scale({"unet": {"a": lora}})["unet"]["a"]
    assert unit.alpha == unit.rank == 4
    torch.testing.assert_close(unit.up @ unit.down, lora.up @ lora.down * 1.5 / 4)
