"""Train, resume or export the starter base.

    python -m loraloom.starter.training WORK_FOLDER --codec-minutes 60 --judge-minutes 20 \\
        --denoiser-minutes 400

Each stage goes on from WORK_FOLDER until its minutes are used up; giving more minutes trains on.
The finished parts are written into the package (or --out). Two CPU cores are enough.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from loraloom.starter.judge import JUDGE_FILE, Judge
from loraloom.starter.training.codec import train_codec
from loraloom.starter.training.denoiser import SCHEDULER, Base, train_denoiser
from loraloom.starter.training.judging import train_judge
from loraloom.starter.training.pictures import SPLITS, pictures
from loraloom.train.allocator import keep_freed_memory

PACKAGED = Path(__file__).parent.parent / "base"


def export_base(
    out: Path, codec: AutoencoderKL, base: Base, tokenizer: object, scale: float
) -> None:
    """Write a diffusers folder in bfloat16; its loraloom.toml is kept."""
    codec.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        vae=codec,
        text_encoder=base.text_encoder,
        tokenizer=tokenizer,
        unet=base.unet,
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.bfloat16).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for pictures and the state of each stage")
    parser.add_argument("--codec-minutes", type=float, default=60)
    parser.add_argument("--judge-minutes", type=float, default=20)
    parser.add_argument("--denoiser-minutes", type=float, default=400)
    parser.add_argument("--out", type=Path, default=PACKAGED, help="where the base is written")
    given = parser.parse_args()
    keep_freed_memory()
    given.work.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        pictures(given.work, split)
    judge = train_judge(given.work, given.judge_minutes)
    state = {name: weight.contiguous() for name, weight in judge.net.half().state_dict().items()}
    judge_file = JUDGE_FILE if given.out == PACKAGED else given.out / JUDGE_FILE.name
    save_file(state, judge_file)
    codec = train_codec(given.work, Judge.load(judge_file), given.codec_minutes)
    base, tokenizer, scale = train_denoiser(given.work, codec, given.denoiser_minutes)
    export_base(given.out, codec, base, tokenizer, scale)


if __name__ == "__main__":
    main()
