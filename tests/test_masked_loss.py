"""Masks weigh the loss cell by cell, however the picture was cropped or mirrored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny

from loraloom import train
from loraloom.config import ObjectiveConfig, TrainConfig
from loraloom.dataset.buckets import Bucket, plan_crop
from loraloom.dataset.folder import Item, count_pictures, read_folder
from loraloom.errors import DatasetProblems
from loraloom.train import loss, masking, model, validation
from loraloom.train.batches import Example
from loraloom.train.cache import TensorCache, load_mask, load_pixels
from loraloom.train.events import Stage, Validated
from loraloom.train.forward import batch_loss
from loraloom.train.inputs import prepare as prepare_inputs
from loraloom.train.setup import Setup, prepare


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Each but the first has a mask: the left half counts."""
    folder = tiny.save_pictures(tmp_path / "pictures")
    (folder / "masks").mkdir()
    for number in range(1, 6):
        mask = Image.new("L", (40, 40), 0)
        mask.paste(255, (0, 0, 20, 40))
        mask.save(folder / f"masks/{number}.png")
    return folder


def _ready(config: TrainConfig, out: Path) -> tuple[Setup, TensorCache, model.Model]:
    setup, tensors = prepare(config, out), TensorCache(out / "cache")
    for _ in prepare_inputs(setup, tensors):
        pass
    return setup, tensors, model.load(setup, tensors)


def _gradients(
    setup: Setup, tensors: TensorCache, live: model.Model, batch: tuple[Example, ...]
) -> torch.Tensor:
    """What the loss asks of each predicted value (B, C, h, w)."""
    caught: list[torch.Tensor] = []

    def catch(_: object, __: object, output: tuple[torch.Tensor, ...]) -> None:
        output[0].retain_grad()
        caught.append(output[0])

    handle = live.parts.denoiser.register_forward_hook(catch)
    batch_loss(setup, live, tensors, batch, 3, 0).backward()  # type: ignore[no-untyped-call]
    handle.remove()
    gradient = caught[0].grad
    assert gradient is not None
    return gradient


def test_nothing_is_asked_outside_a_mask(base: Path, pictures: Path, tmp_path: Path) -> None:
    setup, tensors, live = _ready(tiny.config(base, pictures), tmp_path / "out")
    masked = next(e for e in setup.examples if e.mask)
    plain = replace(masked, mask=None, mask_sha256="")
    gradient = _gradients(setup, tensors, live, (masked, plain))
    width = gradient.shape[-1]
    assert not gradient[0, ..., width // 2 :].any()
    assert gradient[0, ..., : width // 2].all() and gradient[1].all()


@pytest.mark.parametrize("floor", [0.25, 1.0])
def test_the_floor_is_the_weight_outside(
    base: Path, pictures: Path, tmp_path: Path, floor: float
) -> None:
    config = tiny.config(base, pictures, data={"mask_floor": floor})
    setup, tensors, live = _ready(config, tmp_path / "out")
    masked = next(e for e in setup.examples if e.mask)
    plain = replace(masked, mask=None, mask_sha256="")
    half = _gradients(setup, tensors, live, (masked,))
    whole = _gradients(setup, tensors, live, (plain,))
    # The weights 1 and `floor` over halves of equal size, divided by their mean.
    edge, mean = whole.shape[-1] // 2, (1 + floor) / 2
    torch.testing.assert_close(half[..., :edge], whole[..., :edge] / mean)
    torch.testing.assert_close(half[..., edge:], whole[..., edge:] * floor / mean)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_outside_a_mask_the_base_is_asked_for(
    base: Path, pictures: Path, tmp_path: Path, ratio: float
) -> None:
    config = tiny.config(base, pictures, data={"mask_prior": 0.5}, text_encoder={"ratio": ratio})
    setup, tensors, live = _ready(config, tmp_path / "out")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in live.trained.values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    masked = next(e for e in setup.examples if e.mask)
    inputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    outputs: list[torch.Tensor] = []

    def catch(_: object, given: tuple[torch.Tensor, ...], out: tuple[torch.Tensor, ...]) -> None:
        inputs.append((given[0], given[1]))
        outputs.append(out[0])
        if out[0].requires_grad:
            out[0].retain_grad()

    live.parts.denoiser.register_forward_hook(catch)
    batch_loss(setup, live, tensors, (masked,), 3, 0).backward()  # type: ignore[no-untyped-call]
    (x, t), (again, _) = inputs
    predicted, of_base = outputs
    assert torch.equal(x, again)
    fresh = setup.family.load(base)
    with torch.no_grad():
        texts = setup.family.encode_text(fresh, [masked.caption])
        context = setup.family.collate(texts)["context"]
        alone = fresh.denoiser(x, t, context, return_dict=False)[0]
        own = setup.family.collate(live.texts([masked.caption], trained=False))["context"]
    assert torch.allclose(own, context, atol=1e-4) == (ratio == 0)  # its own is not lost
    torch.testing.assert_close(of_base, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(predicted, of_base, atol=1e-3)
    edge, gradient = predicted.shape[-1] // 2, predicted.grad
    assert gradient is not None
    # The mean of squares over the half outside, times the weight.
    wanted = 0.5 * 2 * (predicted - of_base) / (predicted.numel() / 2)
    torch.testing.assert_close(gradient[..., edge:], wanted.detach()[..., edge:])


def test_mirrored_pictures_have_mirrored_masks(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, data={"mirror": True})
    setup, tensors, _ = _ready(config, tmp_path / "out")
    example = next(e for e in setup.examples if e.mask)
    latent = torch.zeros(4, 8, 8)
    sides = [masking.weights(setup, tensors, example, side, latent) for side in (False, True)]
    assert sides[0] is not None and sides[1] is not None
    torch.testing.assert_close(sides[0].flip(-1), sides[1])
    assert not torch.equal(sides[0], sides[1])


def test_a_mask_is_cropped_as_its_picture(tmp_path: Path) -> None:
    """A picture that is its own mask: white stays on white."""
    grey = np.zeros((60, 100), np.uint8)
    grey[20:50, 30:60] = 255
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "m.png")
    crop = replace(plan_crop(80, 50, Bucket(32, 32)), region=(10, 5, 80, 50))
    example = Example(tmp_path / "a.png", "a", "", crop, mask=tmp_path / "m.png", mask_sha256="m")
    for mirrored in (False, True):
        pixels = load_pixels(example, mirrored)[0] / 2 + 0.5
        mask = load_mask(example, mirrored)
        assert mask.shape == (32, 32) and (mask - pixels).abs().mean() < 0.02
        assert mask.min() == 0 and mask.max() == 1


def test_cells_hold_the_share_that_is_covered(base: Path, tmp_path: Path) -> None:
    folder = tiny.save_pictures(tmp_path / "p", 1, size=(32, 32))
    (folder / "masks").mkdir()
    mask = np.zeros((32, 32), np.uint8)
    mask[:4, :4] = 255
    mask[4:8, :1] = 255  # a quarter of the cell below
    Image.fromarray(mask).save(folder / "masks/0.png")
    config = tiny.config(base, folder, data={"held_out_fraction": 0.0, "resolution_px": 64})
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"resolution_px": 32})}
    )
    setup, tensors, _ = _ready(config, tmp_path / "out")
    cells = masking.weights(setup, tensors, setup.examples[0], False, torch.zeros(4, 8, 8))
    assert cells is not None and cells.shape == (1, 8, 8)
    assert cells[0, 0, 0] == 1 and cells[0, 1, 0] == pytest.approx(0.25, abs=0.01)
    assert cells.sum() == pytest.approx(1.25, abs=0.02)


def test_a_black_mask_learns_nothing() -> None:
    ones = torch.ones(2, 4, 3, 3)
    mask = torch.stack([torch.zeros(1, 3, 3), torch.ones(1, 3, 3)])
    config = ObjectiveConfig(loss="mse")
    found = loss.of_pictures(config, ones, torch.zeros_like(ones), torch.ones(2), mask)
    assert found.tolist() == [0.0, 1.0]


def test_validation_measures_inside_the_mask(base: Path, pictures: Path, tmp_path: Path) -> None:
    setup, tensors, live = _ready(tiny.config(base, pictures), tmp_path / "out")
    masked = next(e for e in setup.examples if e.mask)
    ruler = validation.ruler(setup, live, tensors)
    inside = ruler.measure(live.parts.denoiser, [masked])
    whole = ruler.measure(live.parts.denoiser, [replace(masked, mask=None)])
    outside_free = replace(ruler, mask=lambda _: None).measure(live.parts.denoiser, [masked])
    assert inside != whole and whole == outside_free


def test_a_run_with_masks(base: Path, pictures: Path, tmp_path: Path) -> None:
    plain = tiny.save_pictures(tmp_path / "plain")
    events = list(train.run(tiny.config(base, pictures, schedule={"steps": 2}), tmp_path / "out"))
    assert any(
        isinstance(e, Stage) and e.name == "masks" and e.total == 1 for e in events
    )  # all alike
    assert any(isinstance(e, Validated) for e in events)
    others = list(train.run(tiny.config(base, plain, schedule={"steps": 2}), tmp_path / "other"))
    assert not any(isinstance(e, Stage) and e.name == "masks" for e in others)


def _by_name(items: tuple[Item, ...]) -> dict[str, str]:
    return {item.path.name: item.mask.name if item.mask else "" for item in items}


def test_masks_of_a_folder_are_found(pictures: Path) -> None:
    (pictures / "masks/0.png").unlink(missing_ok=True)
    Image.new("L", (40, 40), 9).save(pictures / "0-masklabel.png")
    dataset = read_folder(pictures)
    assert _by_name(dataset.items) == {
        "0.png": "0-masklabel.png", **{f"{n}.png": f"{n}.png" for n in range(1, 6)}
    }  # fmt: skip
    assert dataset.notes == () and count_pictures(pictures) == 6
    before = dataset.hash
    Image.new("L", (40, 40), 10).save(pictures / "0-masklabel.png")
    assert read_folder(pictures).hash != before


def test_masks_that_do_not_fit_are_told(pictures: Path) -> None:
    Image.new("L", (40, 40)).save(pictures / "masks/other.png")
    assert read_folder(pictures).notes == ("masks/other.png: a mask without a picture.",)
    Image.new("L", (41, 40)).save(pictures / "masks/1.png")
    (pictures / "masks/2.png").write_bytes(b"no picture")
    with pytest.raises(DatasetProblems, match=r"masks/1.png: is 41 × 40 px, its picture 40 × 40"):
        read_folder(pictures)
    with pytest.raises(DatasetProblems, match=r"masks/2.png"):
        read_folder(pictures)
