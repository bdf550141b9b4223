"""Estimates from shapes against real tensors, published counts, and what cards are said to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import save_file
from tests import tiny, tiny_families

import loraloom
from loraloom import families
from loraloom.cli import plan as plan_command
from loraloom.config import AdapterConfig, TrainConfig
from loraloom.dataset.buckets import Bucket
from loraloom.errors import ConfigInvalid
from loraloom.families import weights
from loraloom.families.base import Family
from loraloom.train import footprint, lora, memory, planning
from loraloom.train.footprint import Footprint
from loraloom.train.recipe import fill
from loraloom.train.streams import stream

SHIPPED = Path(loraloom.__file__).parent / "data/checkpoints"
BUCKET = Bucket(64, 64)


def _measure(
    family: Family, base: Path, *, checkpointing: bool = False, gpu: bool = False,
    dtype: torch.dtype = torch.float32, bucket: Bucket = BUCKET, latent: tuple[int, ...],
    batch_size: int = 1,
) -> Footprint:  # fmt: skip
    denoiser = weights.empty(family.info.parts["denoiser"], base, dtype)
    adapter = AdapterConfig(rank=4, alpha=4)
    with torch.device("meta"):
        lora.inject(denoiser, adapter, family.info.targets["blocks"], stream(0))
    for weight in denoiser.parameters():
        weight.data = weight.data.to(dtype)
    return footprint.measure(
        family, denoiser, bucket, batch_size, latent_shape=latent, checkpointing=checkpointing,
        gpu=gpu,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sd15", "flux"])
def test_what_is_kept_is_what_a_real_step_keeps(name: str, tmp_path: Path) -> None:
    base = tiny_families.save(name, tmp_path)
    family = families.detect(str(base))
    denoiser = family.load(base, only=["denoiser"]).denoiser
    lora.inject(denoiser, AdapterConfig(rank=4, alpha=4), family.info.targets["blocks"], stream(0))
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    texts = family.text_shapes(denoiser.config)
    condition = {n: torch.randn(2, *shape) for n, shape in texts.items()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        output = family.predict(
            denoiser, torch.randn(2, 4, 16, 16), torch.full((2,), 0.5), condition
        )
    real = sum(storage.nbytes() for storage in kept.values()) + output.nbytes
    found = _measure(family, base, latent=(4, 16, 16), batch_size=2)
    assert found.kept_bytes == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("name", sorted(tiny_families.BUILDERS))
def test_every_family_has_a_footprint(name: str, tmp_path: Path) -> None:
    base = tiny_families.save(name, tmp_path)
    family = families.detect(str(base))
    plain, less = (
        _measure(family, base, checkpointing=on, gpu=True, dtype=torch.bfloat16, latent=(4, 16, 16))
        for on in (False, True)
    )
    assert plain.block_bytes == 0 < less.block_bytes
    assert less.kept_bytes < plain.kept_bytes / 2
    assert less.forward_flops == plain.forward_flops > 0


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


def test_headers_tell_how_many_weights(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    half = {"a": torch.zeros(3, 4, dtype=torch.float16), "b": torch.zeros(5, dtype=torch.float16)}
    save_file(half, tmp_path / "model.fp16.safetensors")
    (tmp_path / "broken.x.safetensors").write_bytes(b"\x05")
    assert weights.count(tmp_path) == 17


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
    tried = memory.measures(config, profile)
    assert [m.name for m in tried] == [
        "as it is", "gradient checkpointing", "8-bit optimiser",
        "smaller batch with accumulation", "resolution of 48 px", "resolution of 32 px",
    ]  # fmt: skip
    assert tried[-1].settings == (
        "gradient_checkpointing=true", "optimiser.name=adamw8bit", "batch_size=1",
        "accumulation=4", "data.resolution_px=32",
    )  # fmt: skip
    found = [outline.estimate(measure.config) for measure in tried]
    peaks = [e.base_mib + e.adapter_mib + e.activations_mib for e in found]
    assert peaks == sorted(peaks, reverse=True) and peaks[-1] < peaks[0]
    # Computing parts twice costs half as much again; a batch of four costs what four of one do.
    flops = [e.flops_a_step for e in found]
    assert flops[1] == 1.5 * flops[0] and flops[3] == pytest.approx(flops[1], rel=0.01)


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
