"""Every kind of adapter in every layout that has a reader, and files of other programs."""

from __future__ import annotations

import copy
import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from loraloom import families
from loraloom.adapters import file, keys, peft_folder
from loraloom.adapters.check import check_keys
from loraloom.adapters.naming import layouts_of
from loraloom.adapters.state import AdapterState, from_peft
from loraloom.adapters.weights import LohaWeights, LokrWeights, LoraWeights
from loraloom.config import AdapterConfig
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable, DiskFull
from loraloom.families.info import Layout
from loraloom.train import lora

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "alpha": 3.0},
    "dora": {"rank": 2, "alpha": 3.0},
    "loha": {"rank": 2, "alpha": 3.0},
    "lokr": {"rank": 2, "alpha": 3.0},
    "oft": {"block_size": 4},
    "boft": {"block_size": 4},
}
PLACES = {
    "unet": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "transformer": "transformer_blocks.0.attn.to_q",
}
CLIP = "encoder.layers.0.mlp.fc1"


def _state(kind: str, part: str) -> AdapterState:
    """Random weights of a kind on one module of a denoiser and one of a text encoder."""
    found = {}
    for component, path in ((part, PLACES[part]), ("text_encoder", CLIP)):
        net = nn.ModuleDict({"to_q": nn.Linear(8, 12)})
        config = AdapterConfig(type=kind, **KINDS[kind])  # type: ignore[arg-type]
        injected = lora.inject(net, config, ["to_q"], torch.Generator().manual_seed(0))
        for number, parameter in enumerate(injected.trained.values()):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
        found[component] = {path: next(iter(from_peft(net).values()))}
    return found


FAMILY = {"unet": "sd15", "transformer": "flux"}
CASES = [
    (kind, part, layout)
    for part, family in FAMILY.items()
    for kind in KINDS
    for layout in layouts_of(kind, families.get(family).info)  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "part", "layout"), CASES)
def test_a_file_comes_back_as_it_was(tmp_path: Path, kind: str, part: str, layout: Layout) -> None:
    state = _state(kind, part)
    path, base = tmp_path / "a.safetensors", torch.randn(12, 8)
    info = families.get(FAMILY[part]).info
    file.write(path, state, layout, {"ss_base_model_version": info.base_version})
    check_keys(path, {part: {PLACES[part]: (12, 8)}, "text_encoder": {CLIP: (12, 8)}})
    read, _ = file.read(path)
    assert {c: set(m) for c, m in read.items()} == {c: set(m) for c, m in state.items()}
    for component, modules in state.items():
        for name, weights in modules.items():
            again = read[component][name]
            assert (again.kind, file.inspect(path).type) == (kind, kind)
            torch.testing.assert_close(again.change(base), weights.change(base))


@pytest.mark.parametrize(
    ("kind", "part", "layout", "ends"),
    [
        ("loha", "unet", "kohya", ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha"]),
        ("lokr", "unet", "kohya", ["lokr_w1", "lokr_w2", "alpha"]),
        ("dora", "unet", "kohya", ["lora_down.weight", "lora_up.weight", "alpha", "dora_scale"]),
        ("dora", "unet", "diffusers",
         ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"]),
        ("loha", "transformer", "comfyui",
         ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha"]),
        ("oft", "unet", "diffusers", ["oft_R.weight"]),
        ("boft", "transformer", "diffusers", ["boft_R", "boft_s"]),
    ],
)  # fmt: skip
def test_names_are_those_that_readers_know(
    tmp_path: Path, kind: str, part: str, layout: Layout, ends: list[str]
) -> None:
    """LyCORIS's weight lists of each algorithm; peft's adapter_layer_names."""
    stem = f"{part}.{PLACES[part]}"
    if layout == "kohya":
        stem = "lora_unet_" + PLACES["unet"].replace(".", "_")
    info = families.get(FAMILY[part]).info
    facts = {"ss_base_model_version": info.base_version}
    file.write(tmp_path / "a", _state(kind, part), layout, facts)
    written = {name for name in load_file(tmp_path / "a") if "layers" not in name}
    assert written == {f"{stem}.{end}" for end in ends}


def test_layouts_without_a_reader_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterKeysUnknown, match="No program reads an adapter of type oft"):
        file.write(tmp_path / "a", _state("oft", "unet"), "kohya", {})
    assert not list(tmp_path.iterdir())


def test_two_whole_kronecker_factors_have_no_scale() -> None:
    """LyCORIS and ComfyUI scale by alpha / rank only where a factor is a product."""
    w1, w2 = torch.randn(2, 3), torch.randn(4, 5)
    whole = keys.parse({"lora_unet_x.lokr_w1": w1, "lora_unet_x.lokr_w2": w2,
                        "lora_unet_x.alpha": torch.tensor(7.0)})["unet"]["x"]  # fmt: skip
    torch.testing.assert_close(whole.change(None), torch.kron(w1, w2))
    a, b = torch.randn(2, 2), torch.randn(2, 3)
    parts = keys.parse({"lora_unet_x.lokr_w1_a": a, "lora_unet_x.lokr_w1_b": b,
                        "lora_unet_x.lokr_w2": w2, "lora_unet_x.alpha": torch.tensor(7.0),
                        })["unet"]["x"]  # fmt: skip
    torch.testing.assert_close(parts.change(None), 7 / 2 * torch.kron(a @ b, w2))


def test_convolutions_of_lycoris() -> None:
    """Tucker's core in LoHa, LoKr and LoCon, by their definitions, loop by loop."""
    t, a, b = torch.randn(2, 2, 3, 3), torch.randn(2, 6), torch.randn(2, 4)
    core = sum(t[i, j] * a[i][:, None, None, None] * b[j][:, None, None]
               for i in range(2) for j in range(2))  # fmt: skip
    assert isinstance(core, Tensor)
    loha = LohaWeights(a, b, a, b, 2.0, t, t)
    assert loha.size == (6, 4, 3, 3)
    torch.testing.assert_close(loha.change(None), core * core)
    w1 = torch.randn(2, 3)
    lokr = LokrWeights(w1, None, None, None, a, b, 2.0, t)
    wanted = torch.stack([torch.cat([w1[i, j] * core for j in range(3)], 1) for i in range(2)])
    torch.testing.assert_close(lokr.change(None), wanted.flatten(0, 1))
    locon = {"lora_down.weight": b[:, :, None, None], "lora_up.weight": a.T[:, :, None, None],
             "lora_mid.weight": t}  # fmt: skip
    read = keys.parse({f"lora_unet_x.{end}": tensor for end, tensor in locon.items()})
    torch.testing.assert_close(read["unet"]["x"].change(None), core)


@pytest.mark.parametrize("rows", [True, False])
def test_dora_brings_rows_or_columns_to_their_length(rows: bool) -> None:
    """LyCORIS writes (out, 1), and (1, in) before its version 3."""
    base, down, up = torch.randn(3, 3), torch.randn(2, 3), torch.randn(3, 2)
    scale = torch.rand(3) + 1
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(1.0),
               "dora_scale": scale[:, None] if rows else scale[None]}  # fmt: skip
    read = keys.parse({f"lora_unet_x.{end}": t for end, t in tensors.items()})["unet"]["x"]
    merged = base + read.change(base)
    torch.testing.assert_close(merged.norm(dim=1 if rows else 0), scale)
    plain = base + 0.5 * up @ down
    cosine = nn.functional.cosine_similarity(merged, plain, dim=1 if rows else 0)
    torch.testing.assert_close(cosine, torch.ones(3))


SHAPES = {
    "img_attn_qkv": (96, 32), "txt_attn_qkv": (96, 32), "img_attn_proj": (32, 32),
    "txt_attn_proj": (32, 32), "img_mlp_0": (128, 32), "img_mlp_2": (32, 128),
    "txt_mlp_0": (128, 32), "txt_mlp_2": (32, 128), "img_mod_lin": (192, 32),
    "txt_mod_lin": (192, 32),
}  # fmt: skip
SINGLE = {
    "linear1": (3 * 3072 + 12288, 3072),  # FLUX.1's own width, which diffusers counts on
    "linear2": (32, 160),
    "modulation_lin": (96, 32),
}


def _kohya_flux() -> dict[str, Tensor]:
    named = {f"double_blocks_0_{end}": shape for end, shape in SHAPES.items()}
    named |= {f"single_blocks_0_{end}": shape for end, shape in SINGLE.items()}
    tensors = {}
    for name, (high, wide) in named.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(2, wide)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(high, 2)
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(1.0)
    return tensors


def test_fused_modules_of_kohyas_flux_files_are_those_of_diffusers(tmp_path: Path) -> None:
    tensors = _kohya_flux()
    save_file(tensors, tmp_path / "kohya")
    reference = _convert_kohya_flux_lora_to_diffusers(dict(tensors))
    wanted = {
        name.removesuffix(".lora_A.weight").removeprefix("transformer."): (
            reference[name.replace("lora_A", "lora_B")] @ tensor
        )
        for name, tensor in reference.items()
        if name.endswith(".lora_A.weight")
    }
    shapes = {path: tuple(change.shape) for path, change in wanted.items()}
    check_keys(tmp_path / "kohya", {"transformer": shapes})
    state, _ = file.read(tmp_path / "kohya", {"transformer": shapes})
    assert set(state["transformer"]) == set(wanted)
    for path, weights in state["transformer"].items():
        torch.testing.assert_close(weights.change(None), wanted[path])

    own = {
        name.replace("lora_unet_", "diffusion_model.").replace("_blocks_0_", "_blocks.0.")
        .replace("attn_", "attn.").replace("mlp_", "mlp.").replace("_lin.", ".lin.")
        .replace("lora_down", "lora_A").replace("lora_up", "lora_B"): tensor
        for name, tensor in tensors.items()
    }  # fmt: skip
    save_file(own, tmp_path / "bfl")
    assert file.inspect(tmp_path / "kohya").layout == "kohya"
    assert file.inspect(tmp_path / "bfl").layout == "comfyui"
    again, _ = file.read(tmp_path / "bfl")
    assert set(again["transformer"]) == set(wanted)


def test_lycoris_own_names_are_read_with_and_without_the_base() -> None:
    lokr = {"lokr_w1": torch.randn(2, 2), "lokr_w2": torch.randn(6, 4)}
    name = "lycoris_single_transformer_blocks_3_attn_to_q"
    tensors = {f"{name}.{end}": tensor for end, tensor in lokr.items()}
    wanted = "single_transformer_blocks.3.attn.to_q"
    assert keys.layout_of(tensors) == "lycoris"
    assert set(keys.parse(tensors)["transformer"]) == {wanted}
    assert set(keys.parse(tensors, {"transformer": [wanted]})["transformer"]) == {wanted}


@pytest.mark.parametrize(
    ("end", "called"),
    [
        ("oft_blocks", "OFT or BOFT as LyCORIS"),
        ("a1.weight", "GLoRA"),
        ("diff", "whole differences"),
        ("on_input", r"\(IA\)³"),
    ],
)
def test_foreign_kinds_are_told_by_name(tmp_path: Path, end: str, called: str) -> None:
    tensors = {f"lora_unet_x.{end}": torch.ones(2, 2), "lora_unet_x.alpha": torch.tensor(1.0)}
    save_file(tensors, tmp_path / "a")
    with pytest.raises(AdapterUnreadable, match=called):
        file.inspect(tmp_path / "a")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"oft_R.weight": torch.zeros(2, 6)}, "adapter_config.json is needed"),
        ({"boft_R": torch.zeros(2, 2, 4, 4), "boft_s": torch.ones(8, 1)}, "2 butterfly factors"),
        ({"boft_R": torch.zeros(1, 2, 4, 4)}, "lacks its tensor boft_s"),
        ({"lokr_w1": torch.ones(2, 2), "lokr_w2_a": torch.ones(2, 0),
          "lokr_w2_b": torch.ones(0, 2)}, "rank 0"),
        ({"hada_w1_a": torch.ones(4, 0), "hada_w1_b": torch.ones(0, 4),
          "hada_w2_a": torch.ones(4, 0), "hada_w2_b": torch.ones(0, 4)}, "rank 0"),
        ({"lokr_w1": torch.ones(2, 2), "lokr_w2_a": torch.ones(2, 1)}, "lacks its tensor lokr_w2"),
        ({"lokr_w1": torch.ones(2, 2), "lokr_w2_a": torch.ones(2, 3),
          "lokr_w2_b": torch.ones(2, 2)}, "LoKr do not fit"),
        ({"hada_w1_a": torch.ones(4, 2), "hada_w1_b": torch.ones(3, 4),
          "hada_w2_a": torch.ones(4, 2), "hada_w2_b": torch.ones(2, 4)}, "LoHa do not fit"),
        ({"lora_down.weight": torch.ones(2, 3), "lora_up.weight": torch.ones(4, 2),
          "dora_scale": torch.ones(5, 1)}, r"magnitudes \(5, 1\)"),
    ],
)  # fmt: skip
def test_broken_modules_are_refused_in_a_sentence(tensors: dict[str, Tensor], reason: str) -> None:
    with pytest.raises(AdapterUnreadable, match=reason):
        keys.parse({f"unet.x.{end}": tensor for end, tensor in tensors.items()})


def test_a_folder_of_peft_is_read_with_its_scale(tmp_path: Path) -> None:
    """peft scales two whole Kronecker factors by alpha / r, which its config tells."""
    w1, w2 = torch.randn(2, 2), torch.randn(3, 3)
    save_file(
        {
            "base_model.model.mid_block.to_q.lokr_w1": w1,
            "base_model.model.mid_block.to_q.lokr_w2": w2,
        },
        tmp_path / "adapter_model",
    )
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LOKR", "r": 4, "alpha": 2}')
    state, _ = file.read(tmp_path / "adapter_model")
    change = state["unet"]["mid_block.to_q"].change(None)
    torch.testing.assert_close(change, torch.kron(w1, w2) / 2)
    assert isinstance(state["unet"]["mid_block.to_q"], LokrWeights)


def test_folders_of_peft_come_back_whatever_the_widths(tmp_path: Path) -> None:
    """peft decides and scales by a rank of each layer, which then differs from layer to layer."""
    net = nn.ModuleDict({"mid_block": nn.ModuleDict(
        {"to_q": nn.Linear(8, 12), "to_k": nn.Linear(16, 36), "to_v": nn.Linear(64, 64)}
    )})  # fmt: skip
    for kind in ("lokr", "loha", "lora", "dora", "oft", "boft"):
        trained = copy.deepcopy(net)
        config = AdapterConfig(type=kind, **KINDS[kind])  # type: ignore[arg-type]
        injected = lora.inject(
            trained, config, ["to_q", "to_k", "to_v"], torch.Generator().manual_seed(0)
        )
        for number, parameter in enumerate(injected.trained.values()):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
        state: AdapterState = {"unet": from_peft(trained)}
        peft_folder.write(tmp_path / kind, state, {"unet": dict(net.named_modules())})
        path = tmp_path / kind / "unet" / "adapter_model.safetensors"
        read = file.read(path)[0]["unet"]
        merged = PeftModel.from_pretrained(copy.deepcopy(net), str(path.parent)).merge_and_unload()
        for name, weights in state["unet"].items():
            base = net.get_submodule(name).weight.detach()
            torch.testing.assert_close(read[name].change(base), weights.change(base))
            theirs = merged.get_submodule(name).weight - base
            torch.testing.assert_close(theirs, weights.change(base), atol=1e-4, rtol=1e-4)


def test_a_folder_of_peft_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora_ = LoraWeights(torch.ones(1, 2), torch.ones(2, 1), 1.0)
    state: AdapterState = {"text_encoder": {"a": lora_}, "unet": {"a": lora_}}
    plain, written = peft_folder.write_synced, list[Path]()

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(path, content)

    monkeypatch.setattr(peft_folder, "write_synced", full)
    with pytest.raises(DiskFull, match="peft could not be written"):
        peft_folder.write(tmp_path / "peft", state, {"text_encoder": ["a"], "unet": ["a"]})
    assert not list(tmp_path.iterdir())
    peft_folder.write(tmp_path / "peft", state, {"text_encoder": ["a"], "unet": ["a"]})
    assert len(list(tmp_path.glob("**/*.*"))) == 4


def test_rslora_of_peft_is_read_with_its_scale(tmp_path: Path) -> None:
    down, up = torch.randn(4, 3), torch.randn(5, 4)
    save_file(
        {
            "base_model.model.mid_block.to_q.lora_A.weight": down,
            "base_model.model.mid_block.to_q.lora_B.weight": up,
        },
        tmp_path / "adapter_model",
    )
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 3, "use_rslora": true}'
    )
    weights = file.read(tmp_path / "adapter_model")[0]["unet"]["mid_block.to_q"]
    assert isinstance(weights, LoraWeights) and weights.alpha == 6.0
    torch.testing.assert_close(weights.change(None), 3 / 2 * up @ down)
