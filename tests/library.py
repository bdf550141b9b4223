"""Adapters in a library, without training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from loraloom.studio.adapter import Adapter
from loraloom.studio.job import Job
from loraloom.studio.leases import Leases
from loraloom.studio.studio import Studio

EMPTY: Mapping[str, str] = {}
ATTENTION = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to"


def save_adapter(
    path: Path, *, seed: int = 0, width: int = 16, rank: int = 2, told: Mapping[str, str] = EMPTY
) -> Path:
    """A LoRA in kohya's layout on one cross attention of the tiny base; `told`: more metadata."""
    draw = np.random.default_rng(seed)
    name = f"lora_unet_{ATTENTION}_k"
    tensors = {
        f"{name}.lora_down.weight": draw.normal(size=(rank, width)).astype(np.float32),
        f"{name}.lora_up.weight": draw.normal(size=(16, rank)).astype(np.float32),
        f"{name}.alpha": np.array(rank, np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "ss_base_model_version": "sd_v1", "loraloom.trigger": "zk person", "ss_steps": "6",
        "ss_output_name": path.stem, **told,
    }  # fmt: skip
    save_file(tensors, path, metadata)
    return path


def finish(studio: Studio, base: Path, pictures: Path, name: str = "cups", **more: object) -> Job:
    """A run that has ended, with its adapter, a checkpoint and a sample."""
    from tests import tiny  # which needs torch

    job = studio.jobs.add(tiny.config(base, pictures), name, **more)  # type: ignore[arg-type]
    leases = Leases(studio.database)
    held = leases.claim("test")
    assert held is not None and held.id == job.id
    save_adapter(job.run_folder / "adapter.safetensors", seed=job.id)
    save_adapter(
        job.run_folder / "adapters" / "step-000003.safetensors",
        seed=job.id + 100,
        told={"ss_steps": "3"},
    )
    samples = job.run_folder / "samples"
    samples.mkdir()
    (samples / "step-000006-0.png").write_bytes(b"png")
    leases.finish(held.lease)
    return studio.jobs.get(job.id)


def one(studio: Studio, base: Path, pictures: Path, name: str = "cups") -> Adapter:
    """The adapter of a run that has ended."""
    job = finish(studio, base, pictures, name)
    studio.library.register()
    found = studio.library.of_job(job.id)
    assert found is not None
    return found
