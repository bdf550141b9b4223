"""Single checkpoint files: tiny ones taken apart; the shipped configuration at its real size."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests import ldm, tiny_families
from torch import Tensor

from loraloom import families
from loraloom.errors import BaseUnknown, OutputExists
from loraloom.families import checkpoint
from loraloom.families.parts import import_class
from loraloom.settings import resolve_base


def _checkpoint(parts: Any, family: str) -> dict[str, Tensor]:
    """The weights of a tiny base in one file, as its authors publish them."""
    weights = ldm.unet(parts.denoiser.state_dict()) | ldm.vae(parts.vae.state_dict(), 3)
    text = parts.text_encoder.state_dict()
    if family == "sd15":
        return weights | ldm.clip(text, "cond_stage_model.transformer.")
    if family == "sd21":
        return weights | ldm.open_clip(text, "cond_stage_model.model.", 2)
    first = ldm.clip(text, "conditioner.embedders.0.transformer.")
    second = parts.text_encoder_2.state_dict()
    return weights | first | ldm.open_clip(second, "conditioner.embedders.1.model.", 2)


@pytest.fixture(params=["sd15", "sd21", "sdxl"])
def tiny_checkpoint(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A base's folder, and a file of the same weights; the configuration is the base's own."""
    base = tiny_families.save(request.param, tmp_path / "base")
    family = families.get(request.param)
    file = tmp_path / "model.safetensors"
    tensors = _checkpoint(family.load(base), request.param)
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, file)
    monkeypatch.setattr(checkpoint, "family_of", lambda *_: family.info)
    monkeypatch.setattr(checkpoint, "_configuration", lambda *_: base)
    return base, file


def test_a_checkpoint_becomes_the_same_base(tiny_checkpoint: tuple[Path, Path]) -> None:
    base, file = tiny_checkpoint
    folder = file.parent / "taken"
    info = checkpoint.unpack(file, folder)
    family = families.detect(folder)
    assert family.info is info
    ours, theirs = family.load(folder), family.load(base)
    for part in ("denoiser", "text_encoder", "text_encoder_2", "vae"):
        if part in info.parts:
            one, two = (getattr(parts, part).state_dict() for parts in (ours, theirs))
            assert one.keys() == two.keys()
            assert all(torch.equal(one[name], two[name]) for name in two), part
    with torch.no_grad():
        texts = [family.encode_text(parts, ["a hat"])[0].tensors for parts in (ours, theirs)]
    assert all(torch.equal(texts[0][name], texts[1][name]) for name in texts[1])
    with pytest.raises(OutputExists):
        checkpoint.unpack(file, folder)


def test_what_a_file_predicts(tiny_checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    _, file = tiny_checkpoint
    checkpoint.unpack(file, tmp_path / "told", "v_prediction")
    from safetensors.torch import load_file

    empty = torch.zeros(0)
    save_file(load_file(file) | {"v_pred": empty, "ztsnr": empty}, file)
    checkpoint.unpack(file, tmp_path / "marked")
    schedulers = {}
    for name in ("told", "marked"):
        family = families.detect(tmp_path / name)
        schedulers[name] = family.load(tmp_path / name, only=("scheduler",)).scheduler.config
    assert schedulers["told"].prediction_type == "v_prediction"
    assert schedulers["marked"].prediction_type == "v_prediction"
    assert schedulers["marked"].rescale_betas_zero_snr
    assert not schedulers["told"].rescale_betas_zero_snr


def test_an_incomplete_file_leaves_nothing(tiny_checkpoint: tuple[Path, Path]) -> None:
    _, file = tiny_checkpoint
    from safetensors.torch import load_file

    tensors = load_file(file)
    for name in [name for name in tensors if "first_stage_model.decoder" in name]:
        del tensors[name]
    save_file(tensors, file)
    with pytest.raises(BaseUnknown, match=r"model\.safetensors (is not whole|cannot be taken)"):
        checkpoint.unpack(file, file.parent / "taken")
    assert not list(file.parent.glob("*taken*"))


def test_files_of_no_family_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(BaseUnknown, match=r"no whole checkpoint of Stable Diffusion 1\.5, .*XL"):
        checkpoint.unpack(file, tmp_path / "taken")
    file.write_bytes(b"PK not safetensors")
    with pytest.raises(BaseUnknown, match="no safetensors file"):
        checkpoint.unpack(file, tmp_path / "taken")
    with pytest.raises(BaseUnknown, match=r"loraloom bases add .*model\.safetensors"):
        resolve_base(file)


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        # As torch counts the published weights.
        ("sd15", {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}),
        ("sd21", {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}),
        ("sdxl", {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480,
                  "text_encoder_2": 694_659_840}),
    ],
)  # fmt: skip
def test_shipped_configurations_are_of_the_published_size(
    family: str, sizes: dict[str, int]
) -> None:
    info = families.get(family).info
    folder = Path(str(files("loraloom") / "data/checkpoints" / family))
    shapes: dict[str, tuple[int, ...]] = {}
    for part in info.parts.values():
        if part.folder not in sizes:
            continue
        cls = import_class(part.classes[0])
        with torch.device("meta"):
            if hasattr(cls, "load_config"):
                module = cls.from_config(cls.load_config(folder / part.folder))
            else:
                module = cls(cls.config_class.from_pretrained(folder / part.folder))
        assert sum(weight.numel() for weight in module.parameters()) == sizes[part.folder]
        if part.folder == "unet":
            shapes |= {n: tuple(t.shape) for n, t in ldm.unet(module.state_dict()).items()}
        if part.folder == "vae":
            shapes |= {n: tuple(t.shape) for n, t in ldm.vae(module.state_dict(), 4).items()}
    marks = {n: s for n, s in info.checkpoint.items() if n.startswith(("model.", "first_"))}
    assert marks.items() <= shapes.items() and len(marks) >= 2


def test_clips_tokenizer_is_the_published_one() -> None:
    """Ids from OpenAI's CLIP: start, a photo of a cat, end; the 49,406th is the start."""
    tokenizer = checkpoint.clip_tokenizer("!")
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (len(tokenizer), tokenizer.pad_token_id) == (49408, 0)
