"""What a plan counts beside the step itself: trained text encoders, samples, a quantised base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny, tiny_families

from loraloom import families, train
from loraloom.config import TrainConfig
from loraloom.dataset.buckets import Bucket
from loraloom.errors import ConfigInvalid
from loraloom.families import weights
from loraloom.families.base import Family
from loraloom.train import drawing, encoders, footprint, lora, memory, planning
from loraloom.train.machine import MIB
from loraloom.train.streams import stream


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return tiny.save_pictures(tmp_path / "p")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.save_base(tmp_path / "base")


def _estimate(config: TrainConfig, device: str = "cuda") -> memory.Estimate:
    base = Path(config.base)
    family = families.detect(str(base))
    profile = family.profile(base)
    outline = memory.Outline(config, base, family, profile, device=device, dtype=torch.float32)
    return outline.estimate(config)


def test_adapters_of_text_encoders_are_counted(
    base: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_mib", lambda size: size)  # all is tiny here
    trains = {"text_encoder": {"ratio": 0.5}, "schedule": {"steps": 10}}
    alone = _estimate(tiny.config(base, pictures))
    both = _estimate(tiny.config(base, pictures, **trains))
    # Two layers of 16 with 32 between: q, k, v and out, fc1 and fc2, at rank 2 in float32 with
    # gradient and two moments.
    weights_ = 2 * (4 * 2 * (16 + 16) + 2 * 2 * (16 + 32))
    assert both.adapter_mib - alone.adapter_mib == weights_ * 16
    assert both.activations_mib > alone.activations_mib
    encoder = families.detect(str(base)).load(base, only=["text_encoder"]).text_encoder
    held = sum(p.nbytes for p in encoder.parameters())
    assert both.base_mib - alone.base_mib == held
    barely = tiny.config(base, pictures, text_encoder={"ratio": 0.01})
    assert _estimate(barely).adapter_mib == alone.adapter_mib  # no step of six trains it


@pytest.mark.parametrize(
    ("settings", "ema", "keep"),
    [({}, 0.0, 2), ({"type": "lokr"}, 0.9, 2), ({"init": "pissa"}, 0.0, 2), ({}, 0.0, 100)],
)
def test_what_a_run_writes(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any], ema: float, keep: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(memory, "_mib", lambda size: size)
    config = tiny.config(
        base, pictures, adapter={"rank": 16, "alpha": 16, **settings}, ema_decay=ema,
        schedule={"steps": 6}, validation={"every_steps": 2},
        checkpoint={"every_steps": 2, "keep": keep},
    )  # fmt: skip
    for _ in train.run(config, tmp_path / "out"):
        pass
    written = {
        path.relative_to(tmp_path / "out"): path.stat().st_size
        for path in (tmp_path / "out").rglob("*.safetensors")
        if "cache" not in path.parts
    }
    checkpoint = max(size for path, size in written.items() if path.parts[0] == "checkpoints")
    told = _estimate(config, "cpu").disk_mib
    told -= checkpoint if keep == 2 else 0  # the one that is being written
    # Headers, with the metadata, are no weights.
    assert 0 <= sum(written.values()) - told <= 30_000 * len(written)


def test_what_a_text_encoder_keeps(base: Path) -> None:
    """The same captions through real tensors."""
    family = families.detect(str(base))
    info, adapter = family.info, tiny.config(base, base).adapter
    real = family.load(base, only=["text_encoder"]).text_encoder
    lora.inject(real, adapter, info.text_encoder_targets, stream(0))
    ledger = footprint.Ledger.of(real)
    with ledger.keeping():
        real(input_ids=torch.zeros(3, 77, dtype=torch.long), output_hidden_states=True)
    empty = weights.empty(info.parts["text_encoder"], base, torch.float32)
    encoders.insert(empty, adapter, info.text_encoder_targets)
    counted = encoders.kept_bytes(empty, 3, torch.float32, gpu=False)
    assert counted == pytest.approx(ledger.kept_bytes, rel=0.05)


@pytest.mark.parametrize("name", ["sd15", "flux"])
def test_what_drawing_holds(name: str, tmp_path: Path) -> None:
    """The same through real tensors, two rows for guidance on the one that has it."""
    base = tiny_families.save(name, tmp_path / name)
    family, bucket = families.detect(str(base)), Bucket(64, 64)
    rows = 2 if family.info.negative_prompt else 1
    shapes = [weights.empty(family.info.parts[p], base, torch.float32) for p in ("denoiser", "vae")]
    counted = drawing.held_bytes(
        family, *shapes, bucket, (4, 16, 16), rows=rows, gpu=False
    )  # fmt: skip
    parts = family.load(base, only=["denoiser", "vae"])
    texts = family.text_shapes(parts.denoiser.config)
    condition = {n: torch.zeros(rows, *shape) for n, shape in texts.items()}
    with torch.no_grad():
        with footprint.Held() as denoising:
            family.predict(
                parts.denoiser, torch.zeros(rows, 4, 16, 16), torch.ones(rows), condition
            )
        with footprint.Held() as decoding:
            family.decode(parts.vae, torch.zeros(1, 4, 16, 16))
    real = max(denoising.peak_bytes, decoding.peak_bytes)
    assert counted == pytest.approx(real, rel=0.25)


def test_weights_are_not_counted_with_what_is_computed() -> None:
    layer, x = torch.nn.Linear(1000, 1000), torch.zeros(3, 1000)
    with torch.no_grad(), footprint.Held() as held:
        layer(x)
    assert held.peak_bytes == 3 * 1000 * 4


def test_a_card_decodes_large_samples_in_tiles(tmp_path: Path) -> None:
    base = tiny_families.save("sd15", tmp_path)
    family = families.detect(str(base))
    shapes = [weights.empty(family.info.parts[p], base, torch.float32) for p in ("denoiser", "vae")]

    def held(side: int, *, gpu: bool) -> int:
        bucket, latents = Bucket(side, side), (4, side // 4, side // 4)
        return drawing.held_bytes(family, *shapes, bucket, latents, rows=1, gpu=gpu)

    assert held(512, gpu=True) == pytest.approx(held(512, gpu=False), rel=0.01)
    decoded = held(1024, gpu=False)
    assert decoded > 3 * held(512, gpu=False)
    assert held(1024, gpu=True) < decoded / 2


def test_samples_load_what_training_had_freed(
    base: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_mib", lambda size: size)
    drawn: dict[str, Any] = {"prompts": ["zk person"], "every_steps": 2}
    none = _estimate(tiny.config(base, pictures))
    some = _estimate(tiny.config(base, pictures, samples=drawn))
    never = _estimate(tiny.config(base, pictures, samples={**drawn, "every_steps": 0}))
    assert none.samples_mib == never.samples_mib == 0
    parts = families.detect(str(base)).load(base, only=["vae"])
    assert some.samples_mib > sum(p.nbytes for p in parts.vae.parameters())
    trained = _estimate(tiny.config(base, pictures, text_encoder={"ratio": 0.5}, samples=drawn))
    assert trained.samples_mib == some.samples_mib
    assert some.peak_mib == some.reserve_mib + some.base_mib + some.adapter_mib + max(
        some.activations_mib, some.samples_mib
    )


@pytest.mark.parametrize("name", ["sdxl", "sd3", "wan22", "hunyuan_video", "kolors", "z_image"])
def test_families_can_be_planned_with_samples(
    name: str, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_mib", lambda size: size)
    base = tiny_families.save(name, tmp_path / name)
    expert = {"expert": "high_noise"} if name == "wan22" else {}
    drawn = {"samples": {"prompts": ["zk person"], "every_steps": 2}}
    found = _estimate(tiny.config(base, pictures, **expert, **drawn))
    assert found.samples_mib > (found.base_mib if name == "wan22" else 0)


def test_a_quantised_base_is_planned_as_small_as_it_is(pictures: Path, tmp_path: Path) -> None:
    """FLUX.1's own width with few blocks: of two bytes a weight, one in int8, 0.5625 in nf4."""
    from diffusers import FluxTransformer2DModel

    base = tiny_families.save("flux", tmp_path / "flux")
    with torch.device("meta"):
        denoiser = FluxTransformer2DModel(
            num_layers=2, num_single_layers=3, guidance_embeds=True, in_channels=16
        )
    denoiser.save_config(base / "transformer")
    count = sum(p.numel() for p in denoiser.parameters())
    blocks = sum(p.numel() for n, p in denoiser.named_parameters() if "blocks" in n)
    config = tiny.config(base, pictures, gradient_checkpointing=True)
    family = families.detect(str(base))
    profile = family.profile(base)
    made = {"device": "cuda", "dtype": torch.bfloat16}
    outline = memory.Outline(config, base, family, profile, **made)  # type: ignore[arg-type]
    found = {
        choice: outline.estimate(config.model_copy(update={"quantisation": choice}))
        for choice in ("none", "int8", "fp8", "nf4")
    }
    whole = found["none"].base_mib
    assert whole * MIB == pytest.approx(2 * count, rel=0.002)
    sizes = {choice: (2 * count - held.base_mib * MIB) / blocks for choice, held in found.items()}
    assert sizes["int8"] == sizes["fp8"] == pytest.approx(2 - 1, rel=0.002)
    assert sizes["nf4"] == pytest.approx(2 - 0.5625, rel=0.002)
    # The largest layer, of 3072 and four times as many beside 15360, while it is multiplied.
    more = found["int8"].activations_mib - found["none"].activations_mib
    assert more == pytest.approx(1.1 * 2 * 3072 * 21504 / MIB, abs=60)
    on_cpu = memory.Outline(config, base, family, profile, device="cpu", dtype=torch.bfloat16)
    small = config.model_copy(update={"quantisation": "nf4"})
    assert on_cpu.estimate(small).loading_mib == whole > outline.estimate(small).loading_mib


def test_ranks_of_no_layer_are_told_before_anything_is_loaded(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("nothing should be loaded")

    monkeypatch.setattr(Family, "load", loaded)
    wrong = tiny.config(base, pictures, adapter={"ranks": {"to_w": 4}})
    message = r"adapter.ranks: no layer with an adapter ends in 'to_w'"
    with pytest.raises(ConfigInvalid, match=message):
        planning.plan(wrong)
    with pytest.raises(ConfigInvalid, match=message):
        list(train.run(wrong, tmp_path / "run"))
    assert not (tmp_path / "run/run.json").exists()
    texts = {"ranks": {"fc1": 4}, "targets": "attention"}
    with pytest.raises(ConfigInvalid, match="'fc1'"):
        planning.plan(tiny.config(base, pictures, adapter=texts))
    planning.plan(tiny.config(base, pictures, adapter=texts, text_encoder={"ratio": 1.0}))
