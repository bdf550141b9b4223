"""Estimates from shapes against real tensors, published counts, and what cards are said to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import save_file
from tests import tiny, tiny_families

import loraloom
from loraloom import families
from loraloom.cli import plan as plan_command
from loraloom.config import AdapterConfig, AdapterType, TrainConfig
from loraloom.dataset.buckets import Bucket
from loraloom.errors import ConfigInvalid
from loraloom.families import weights
from loraloom.families.base import Condition, Family
from loraloom.families.info import BaseProfile, FrameRule
from loraloom.families.parts import read_config, text_parts
from loraloom.train import footprint, lora, measures, memory, planning
from loraloom.train.cache import in_groups
from loraloom.train.footprint import Footprint
from loraloom.train.recipe import fill
from loraloom.train.streams import stream

SHIPPED = Path(loraloom.__file__).parent / "data/checkpoints"
BUCKET = Bucket(64, 64)
ADAPTER = AdapterConfig(rank=4, alpha=4)
TYPES: dict[AdapterType, dict[str, Any]] = {
    "lora": {"rank": 4, "alpha": 4.0},
    "dora": {"rank": 4, "alpha": 4.0},
    "loha": {"rank": 4, "alpha": 4.0},
    "lokr": {"rank": 4, "alpha": 4.0},
    "oft": {"block_size": 4},
    "boft": {"block_size": 4},
}
LIKE_OTHERS = ("flux_schnell", "wan_5b", "wan22", "cogvideox_5b", "cogvideox_15")
"""Of the same text encoders as another."""
VIDEO = ("wan", "wan_5b", "wan22", "hunyuan_video", "hunyuan_video15", "cogvideox",
         "cogvideox_5b", "cogvideox_15")  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny base of a family."""
    return cache(lambda name: tiny_families.save(name, tmp_path_factory.mktemp(name)))


def _measure(
    family: Family, base: Path, adapter: AdapterConfig = ADAPTER, *,
    checkpointing: bool = False, gpu: bool = False, dtype: torch.dtype = torch.float32,
    bucket: Bucket = BUCKET, latent: tuple[int, ...], batch_size: int = 1,
) -> Footprint:  # fmt: skip
    denoiser = weights.empty(family.info.parts["denoiser"], base, dtype)
    with torch.device("meta"), footprint.Unset():
        lora.inject(denoiser, adapter, family.info.targets["blocks"], stream(0))
    for weight in denoiser.parameters():
        weight.data = weight.data.to(dtype)
    return footprint.measure(
        family, denoiser, bucket, batch_size, latent_shape=latent, checkpointing=checkpointing,
        gpu=gpu,
    )  # fmt: skip


def _latent(name: str) -> tuple[int, ...]:
    """Of a square of 64 px; CogVideoX 1.5 knows no places beyond those that it was trained on."""
    if name == "cogvideox_15":
        return (4, 2, 4, 6)
    return (4, 2, 16, 16) if name in VIDEO else (4, 16, 16)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, "lora")
        for name in ("flux", "flux2", "wan", "hunyuan_video", "hunyuan_video15", "cogvideox_5b")
    ]
    + [("sd15", kind) for kind in TYPES],
)
def test_what_is_kept_is_what_a_real_step_keeps(
    name: str, kind: AdapterType, saved: Callable[[str], Path]
) -> None:
    base, adapter = saved(name), AdapterConfig(type=kind, **TYPES[kind])
    family = families.detect(str(base))
    denoiser = family.load(base, only=["denoiser"]).denoiser
    lora.inject(denoiser, adapter, family.info.targets["blocks"], stream(0))
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    texts = family.text_shapes(denoiser.config)
    one = Condition({n: torch.randn(shape) for n, shape in texts.items()})
    condition, x_t = family.collate([one, one]), torch.randn(2, *_latent(name))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        output = family.predict(denoiser, x_t, torch.full((2,), 0.5), condition)
    real = sum(storage.nbytes() for storage in kept.values()) + output.nbytes
    found = _measure(family, base, adapter, latent=_latent(name), batch_size=2)
    assert found.kept_bytes == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("name", sorted(tiny_families.BUILDERS))
def test_every_family_has_a_footprint_and_a_plan(name: str, saved: Callable[[str], Path]) -> None:
    base = saved(name)
    family = families.detect(str(base))
    latent = _latent(name)
    plain, less = (
        _measure(family, base, checkpointing=on, gpu=True, dtype=torch.bfloat16, latent=latent)
        for on in (False, True)
    )
    given = {"base": str(base), "data": {"folder": "."}}
    (first, *_) = planning.plan(
        fill(given, family.info, family.profile(base), 20), "A100 80 GB"
    ).steps
    assert first.fits and first.estimate.flops_a_step > 0
    assert plain.block_bytes == 0 < less.block_bytes
    assert less.kept_bytes < plain.kept_bytes / 2
    assert less.forward_flops == plain.forward_flops > 0


@pytest.mark.each_time("lora", "boft")
@pytest.mark.parametrize("kind", TYPES)
def test_every_kind_of_adapter_can_be_planned_in_bfloat16(
    kind: AdapterType, saved: Callable[[str], Path]
) -> None:
    base, adapter = saved("sd15"), AdapterConfig(type=kind, **TYPES[kind])
    family, own = families.detect(str(base)), {"latent": (4, 16, 16), "gpu": True}
    exact, half = (
        _measure(family, base, adapter, dtype=dtype, **own)  # type: ignore[arg-type]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert exact.kept_bytes / 2 < half.kept_bytes < exact.kept_bytes


def test_a_start_at_the_bases_weights_is_planned_without_them(tmp_path: Path) -> None:
    """PiSSA keeps its start beside what is trained: four bytes more for each weight."""
    base = _real_size("sd15", tmp_path)
    family = families.get("sd15")
    profile = family.profile(base)
    sizes = []
    for start in ("zero", "pissa"):
        given = {"data": {"folder": "."}, "adapter": {"rank": 16, "init": start}}
        plan = fill(given, family.info, profile, 20)
        outline = memory.Outline(plan, base, family, profile, device="cuda", dtype=torch.bfloat16)
        sizes.append(outline.estimate(plan).adapter_mib)
    assert sizes[1] / sizes[0] == pytest.approx(20 / 16, rel=0.01)


@pytest.mark.parametrize("name", [n for n in tiny_families.BUILDERS if n not in LIKE_OTHERS])
def test_texts_at_full_length_are_planned_with(name: str, saved: Callable[[str], Path]) -> None:
    base = saved(name)
    family = families.detect(str(base))
    texts = family.load(base, only=text_parts(family.info.parts))
    caption = "a" if family.info.chunked else "many words " * 300
    with torch.no_grad():
        (condition,) = family.encode_text(texts, [caption])
    denoiser = read_config(base, family.info.folders["denoiser"])
    real = {name: tuple(tensor.shape) for name, tensor in condition.tensors.items()}
    assert family.text_shapes(denoiser) == real


@pytest.mark.parametrize("name", VIDEO)
def test_clips_are_planned_with_as_many_latents_as_they_have(
    name: str, saved: Callable[[str], Path]
) -> None:
    base = saved(name)
    family = families.detect(str(base))
    profile = family.profile(base)
    assert profile.frames
    given = {"base": str(base), "data": {"folder": ".", "frames": 17}}
    plan = fill(given, family.info, profile, 20)
    outline = memory.Outline(plan, base, family, profile, device="cpu", dtype=torch.float32)
    with torch.no_grad():
        vae = family.load(base, only=["vae"]).vae
        mean, _ = family.encode_image(vae, torch.zeros(1, 3, 17, 32, 32))
    real = in_groups(mean, profile.frames.group)[0]
    shape, held_bytes = outline.encoded(Bucket(32, 32, 17))
    assert shape == real.shape and held_bytes > 17 * 3 * 32 * 32 * 4
    still = outline.estimate(memory.with_data(plan, frames=1))
    assert outline.estimate(plan).flops_a_step > still.flops_a_step


def test_what_is_held_at_once_is_counted() -> None:
    """1000 + 4000 numbers, then 4000 more; when these take the first's place, no more than that."""
    with torch.device("meta"), footprint.Held() as held:
        first, second = torch.empty(1000), torch.empty(4000)
        third = second * 2
        del second
        fourth = third.view(40, 100) + 1
        del third
    assert held.peak_bytes == (1000 + 4000 + 4000) * 4
    assert len(first) + fourth.numel() == 5000


def test_published_sizes_of_stable_diffusion() -> None:
    """859.5 M weights, and 339 G multiply-adds of layers with weights at 512 px (Kim et al. 2023,
    arXiv:2305.15798); with attention's own two products, over tokens and over the 77 of the text.
    """
    base, family = SHIPPED / "sd15", families.get("sd15")
    found = _measure(family, base, bucket=Bucket(512, 512), latent=(4, 64, 64))
    layers = {(4096, 320): 5, (1024, 640): 5, (256, 1280): 5, (64, 1280): 1}
    attention = sum(n * 2 * c * t * (t + 77) for (t, c), n in layers.items())
    assert found.forward_flops / 2e9 == pytest.approx(339 + attention / 1e9, rel=0.01)
    denoiser = weights.empty(family.info.parts["denoiser"], base, torch.float32)
    assert sum(p.numel() for p in denoiser.parameters()) == 859_520_964


def test_headers_tell_the_weights_shapes(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    half = {"a": torch.zeros(3, 4, dtype=torch.float16), "b": torch.zeros(5, dtype=torch.float16)}
    save_file(half, tmp_path / "model.fp16.safetensors")
    (tmp_path / "broken.x.safetensors").write_bytes(b"\x05")
    assert weights.shapes(tmp_path) == {"a": (3, 4), "b": (5,)}
    assert weights.shapes(tmp_path / "missing") == {}


def _real_size(name: str, folder: Path) -> Path:
    """A base of configs only, as published."""
    if (SHIPPED / name).is_dir():
        return SHIPPED / name
    with torch.device("meta"):
        if name == "flux":  # the class's defaults are FLUX.1's
            denoiser = FluxTransformer2DModel(guidance_embeds=True)
        else:
            denoiser = SD3Transformer2DModel(
                num_layers=24, num_attention_heads=24, caption_projection_dim=1536,
                pooled_projection_dim=2048, pos_embed_max_size=192,
            )  # fmt: skip
        vae = AutoencoderKL(
            latent_channels=16, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            scaling_factor=0.3611, shift_factor=0.1159,
        )  # fmt: skip
    denoiser.save_config(folder / "transformer")
    vae.save_config(folder / "vae")
    index = {
        "transformer": ["diffusers", type(denoiser).__name__],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.each_time("sd15")
@pytest.mark.parametrize("name", ["sd15", "sdxl", "flux", "sd3"])
def test_cards_train_what_they_are_said_to(name: str, tmp_path: Path) -> None:
    """With gradient checkpointing and 8-bit AdamW at most; and not at all without these where a
    card is not recommended."""
    base, family = _real_size(name, tmp_path), families.get(name)
    profile = family.profile(base)
    rank = max(row.get("rank", 0) for row in family.info.cards.values())
    given = {
        "data": {"folder": "."}, "adapter": {"rank": rank}, "text_encoder": {"ratio": 0.0},
        "optimiser": {"name": "adamw8bit"}, "gradient_checkpointing": True,
    }  # fmt: skip
    config = fill(given, family.info, profile, 20)
    outline = memory.Outline(config, base, family, profile, device="cuda", dtype=torch.bfloat16)
    for card, row in family.info.cards.items():
        available = planning.cards()[card] * 1024
        if row.get("recommended", True):
            needed = outline.estimate(config.model_copy(update={"batch_size": row["batch_size"]}))
            if needed.base_mib < available * 0.9:  # a 12 B base in bfloat16 fills 24 GiB by itself
                # An adapter grows with its rank; `needed` is of the highest.
                spared = needed.adapter_mib * (1 - row["rank"] / rank)
                assert needed.peak_mib - spared <= available, (card, needed)
        else:
            plain = {"gradient_checkpointing": False, "batch_size": 1}
            assert outline.estimate(config.model_copy(update=plain)).peak_mib > available


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    base = tiny.save_base(tmp_path / "base")
    return tiny.config(base, tiny.save_pictures(tmp_path / "p"), data={"resolution_px": 64})


def test_measures_each_need_less(config: TrainConfig) -> None:
    base = Path(config.base)
    family = families.detect(str(base))
    profile = family.profile(base)
    config = config.model_copy(update={"batch_size": 4})
    outline = memory.Outline(config, base, family, profile, device="cpu", dtype=torch.float32)
    tried = measures.measures(config, profile, elsewhere=True)
    assert [m.name for m in tried] == [
        "as it is", "gradient checkpointing", "8-bit optimiser", "base in int8", "base in nf4",
        "smaller batch with accumulation", "resolution of 48 px", "resolution of 32 px",
    ]  # fmt: skip
    assert tried[-1].settings == (
        "gradient_checkpointing=true", "optimiser.name=adamw8bit", "quantisation=nf4",
        "batch_size=1", "accumulation=4", "data.resolution_px=32",
    )  # fmt: skip
    found = [outline.estimate(measure.config) for measure in tried]
    peaks = [e.base_mib + e.adapter_mib + e.activations_mib for e in found]
    assert peaks == sorted(peaks, reverse=True) and peaks[-1] < peaks[0]
    # Computing parts twice costs half as much again; a batch of four costs what four of one do.
    flops = [e.flops_a_step for e in found]
    assert flops[1] == 1.5 * flops[0] and flops[5] == pytest.approx(flops[1], rel=0.01)


def test_measures_need_nothing_that_is_not_installed(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "find_spec", lambda _: None)
    base = Path(config.base)
    profile = families.detect(str(base)).profile(base)
    needing = {"8-bit optimiser", "base in nf4"}
    assert not needing & {one.name for one in measures.measures(config, profile)}
    assert "bitsandbytes" not in measures.advice(config, profile)
    monkeypatch.setattr(planning, "_memory_of", lambda _: 1)
    there = planning.plan(config, "RTX 3060")
    assert needing <= {step.measure.name for step in there.steps}  # the card is elsewhere


def test_clips_are_shortened_before_they_are_made_small() -> None:
    family = families.get("wan")
    rule = FrameRule(least=16, most=81, step=4, fps=16)
    profile = BaseProfile("Any", 640, 16, 2.0, frames=rule)
    config = fill({"data": {"folder": "."}}, family.info, profile, 20)
    found = {m.name: m.config.data for m in measures.measures(config, profile)}
    assert list(found)[-3:] == [
        "clips of 17 frames",
        "resolution of 480 px",
        "resolution of 320 px",
    ]
    assert found["clips of 17 frames"].frames == found["resolution of 320 px"].frames == 17
    short = memory.with_data(config, frames=17)
    assert not [m for m in measures.measures(short, profile) if "frames" in m.name]


def test_cards_that_nobody_knows_are_refused(config: TrainConfig) -> None:
    with pytest.raises(ConfigInvalid, match=r"No card 'GTX' is known. There are: RTX 3060, "):
        planning.plan(config, "GTX")


def test_the_command_tells_memory_and_time(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.data.folder
    plan_command.plan(folder, base=config.base, assignments=["text_encoder.ratio=0"], json=True)
    told = json.loads(capsys.readouterr().out)
    (first, *_) = told["measures"]
    assert first["name"] == "as it is" and first["fits"] and first["peak_mib"] > 0
    assert first["seconds_a_step"] > 0
    plan_command.plan(None, base=config.base, card="RTX 3060")
    output = capsys.readouterr().out
    assert "RTX 3060: 12.0 GiB" in output and "It fits as it is." in output
    with pytest.raises(ConfigInvalid, match="Name pictures or settings, or a base with --base"):
        plan_command.plan(None)


def test_what_does_not_fit_is_told(
    config: TrainConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.machine, "total_mib", lambda _: 100)
    plan_command.plan(config.data.folder, base=config.base)
    output = capsys.readouterr().out
    assert "too much" in output and "It does not fit: take a smaller base" in output
