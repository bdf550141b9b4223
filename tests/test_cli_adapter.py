"""`loraloom adapter …`: files in, files out, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import PeftModel
from safetensors.torch import load_file
from tests import tiny
from transformers import CLIPTextModel
from typer.testing import CliRunner, Result

from loraloom import cli
from loraloom.adapters import file
from loraloom.adapters.base_weights import open_base
from loraloom.adapters.state import AdapterState
from loraloom.adapters.weights import LohaWeights, LoraWeights
from loraloom.errors import AdapterEditInvalid, AdapterKeysUnknown, LoraloomError, OutputExists

PATH = "mid_block.attentions.0.proj_in"
CLIP = "encoder.layers.0.mlp.fc1"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["adapter", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.exception
    return " ".join(result.output.split())


def refused(*arguments: object) -> LoraloomError:
    error = invoke(*arguments).exception
    assert isinstance(error, LoraloomError)
    return error


def _size(base: Path) -> tuple[int, ...]:
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    return tuple(unet.get_submodule(PATH).weight.shape)


def _write(path: Path, state: AdapterState, **metadata: str) -> Path:
    facts = {"ss_base_model_version": "sd_v1", "loraloom.trigger": path.stem, **metadata}
    file.write(path, state, "kohya", facts, torch.float16)
    return path


@pytest.fixture
def loras(base: Path, tmp_path: Path) -> list[Path]:
    """Two of ranks 2 and 3, alpha 1."""
    high, wide, *kernel = _size(base)
    found = []
    for rank in (2, 3):
        lora = LoraWeights(torch.randn(rank, wide, *kernel), torch.randn(high, rank, *kernel), 1.0)
        found.append(_write(tmp_path / f"r{rank}.safetensors", {"unet": {PATH: lora}}))
    return found


def test_merge_then_resize(loras: list[Path], tmp_path: Path) -> None:
    both = tmp_path / "both.safetensors"
    assert "a LoRA of rank 5; nothing was left out." in done(
        "merge", f"{loras[0]}:0.5", loras[1], "--out", both
    )
    changes = [file.read(path)[0]["unet"][PATH].change(None) for path in (*loras, both)]
    torch.testing.assert_close(changes[2], 0.5 * changes[0] + changes[1], atol=0.02, rtol=0.02)
    found = file.inspect(both)
    assert (found.rank, found.alpha, found.dtype, found.layout) == (5, 5.0, "float16", "kohya")
    assert found.trigger == "r2, r3" and found.metadata["ss_network_dim"] == "5"
    made = json.loads(found.metadata["loraloom.made"])
    assert [(one["file"], one["weight"]) for one in made["of"]] == [
        ("r2.safetensors", 0.5), ("r3.safetensors", 1.0)
    ]  # fmt: skip

    small = tmp_path / "small.safetensors"
    said = done("resize", both, "--rank", "1", "--out", small, "--dtype", "float32")
    assert "rank 1; " in said and f"% kept, least of unet.{PATH}, " in said
    assert (file.inspect(small).rank, file.inspect(small).dtype) == (1, "float32")


def test_other_types_become_loras_with_the_base(base: Path, tmp_path: Path) -> None:
    high, wide, *_ = _size(base)
    halves = [torch.randn(high, 2), torch.randn(2, wide)] * 2
    loha = _write(tmp_path / "loha.safetensors", {"unet": {PATH: LohaWeights(*halves, 2.0)}})
    out = tmp_path / "x.safetensors"
    assert "--base" in str(refused("resize", loha, "--rank", "8", "--out", out))
    assert not out.exists()
    done("resize", loha, "--rank", "8", "--out", out, "--base", base)
    assert file.inspect(out).type == "lora"
    done("check", out, "--base", base)


def test_check_says_what_fits(base: Path, loras: list[Path], tmp_path: Path) -> None:
    said = done("check", loras[0], "--base", base)
    assert said.endswith(f"fits {base}: all of its 1 modules are there. Type lora.")
    other = _write(
        tmp_path / "o.safetensors",
        {"unet": {"mid_block.no": LoraWeights(torch.ones(1, 2), torch.ones(2, 1), 1.0)}},
    )
    assert isinstance(refused("check", other, "--base", base), AdapterKeysUnknown)


def test_extract(base: Path, tmp_path: Path) -> None:
    tuned = tiny.save_base(tmp_path / "tuned")
    unet = UNet2DConditionModel.from_pretrained(tuned / "unet")
    with torch.no_grad():
        unet.get_submodule(PATH).weight[0] += 1
    unet.save_pretrained(tuned / "unet")
    out = tmp_path / "x.safetensors"
    said = done("extract", "--base", base, "--tuned", tuned, "--rank", "1", "--out", out)
    assert "100.0% kept" in said
    state, metadata = file.read(out)
    assert {c: set(m) for c, m in state.items()} == {"unet": {PATH}}
    assert json.loads(metadata["loraloom.made"])["tuned"] == "tuned"
    assert metadata["ss_base_model_version"] == "sd_v1"


def test_convert_keeps_the_number_format(loras: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    done("convert", loras[0], "--to", "diffusers", "--out", out)
    assert {t.dtype for t in load_file(out).values()} == {torch.float16}
    error = refused("convert", loras[0], "--to", "diffusers", "--out", out)
    assert isinstance(error, OutputExists)


def test_convert_to_folders_of_peft(base: Path, tmp_path: Path) -> None:
    """Text encoders need the base, which alone tells the names that peft goes by."""
    high, wide = open_base(base).shapes["text_encoder"][CLIP]
    lora = LoraWeights(torch.randn(2, wide), torch.randn(high, 2), 3.0)
    source = _write(tmp_path / "te.safetensors", {"text_encoder": {CLIP: lora}})
    out = tmp_path / "peft"
    error = refused("convert", source, "--to", "peft", "--out", out)
    assert isinstance(error, AdapterEditInvalid) and "--base" in str(error)
    assert not out.exists()
    done("convert", source, "--to", "peft", "--out", out, "--base", base)
    encoder = CLIPTextModel.from_pretrained(base / "text_encoder")
    paths = set(load_file(out / "text_encoder" / "adapter_model.safetensors"))
    (path,) = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in paths}
    assert path.endswith(CLIP) and encoder.get_submodule(path)


def test_a_folder_of_peft_changes_the_unet(base: Path, loras: list[Path], tmp_path: Path) -> None:
    done("convert", loras[0], "--to", "peft", "--out", tmp_path / "peft", "--dtype", "float32")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    before = unet.get_submodule(PATH).weight.detach().clone()
    model = PeftModel.from_pretrained(unet, str(tmp_path / "peft" / "unet")).merge_and_unload()
    change = file.read(loras[0])[0]["unet"][PATH].change(None)
    torch.testing.assert_close(model.get_submodule(PATH).weight - before, change, atol=1e-5, rtol=0)


def test_adapters_of_two_families_are_not_merged(loras: list[Path], tmp_path: Path) -> None:
    lora = LoraWeights(torch.ones(1, 2), torch.ones(2, 1), 1.0)
    flux = tmp_path / "flux.safetensors"
    file.write(flux, {"transformer": {"x": lora}}, "diffusers", {"ss_base_model_version": "flux1"})
    message = str(refused("merge", loras[0], flux, "--out", tmp_path / "x.safetensors"))
    assert "r2.safetensors is for Stable Diffusion 1.5, flux.safetensors is for FLUX.1" in message
