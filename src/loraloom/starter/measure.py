"""Measure the shipped base and judge: `python -m loraloom.starter.measure`.

500 scenes whose descriptions were never together in training; the same seeds each time.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from PIL import Image

from loraloom.generate.session import Generator, Request
from loraloom.starter.judge import CONTEXT, READS, Judge, Score, agreement, share
from loraloom.starter.world.render import render_image
from loraloom.starter.world.scene import Scene, caption, sample_scene

IDENTITY = ("subject", "skin", "hair_colour", "hair_style", "colour")


def unseen_scenes(count: int, *, held_out: bool = False) -> list[Scene]:
    """Scenes of a random stream that no training split uses."""
    rng = random.Random(f"measure-{held_out}")
    return [sample_scene(rng, held_out=held_out) for _ in range(count)]


def print_scores(title: str, scores: dict[str, Score]) -> None:
    asked = {name: (right, of) for name, (right, of) in scores.items() if of}
    print(f"{title}: mean {share(scores):.1%}")
    for name, (right, of) in sorted(asked.items(), key=lambda item: item[1][0] / item[1][1]):
        print(f"  {name:<15} {right / of:6.1%}  of {of}")


def judge_scores(judge: Judge, count: int) -> dict[str, Score]:
    """The judge against the truth on freshly rendered pictures, held-out features included."""
    scenes = unseen_scenes(count) + unseen_scenes(count, held_out=True)
    return agreement(scenes, judge.read([render_image(scene) for scene in scenes]), list(READS))


def base_scores(
    generator: Generator, judge: Judge, count: int, sheet: Path | None
) -> dict[str, Score]:
    """How far the base's pictures show what their captions ask."""
    scenes = unseen_scenes(count)
    requests = [Request(caption(s), 5000 + i, guidance=4.0, steps=20) for i, s in enumerate(scenes)]
    images = generator.generate(requests, batch_size=16)
    if sheet:
        page = Image.new("RGB", (8 * 128, -(-min(count, 64) // 8) * 128))
        for i, image in enumerate(images[:64]):
            page.paste(image, (i % 8 * 128, i // 8 * 128))
        page.save(sheet)
    return agreement(scenes, judge.read(images), [*IDENTITY, *CONTEXT])


@torch.no_grad()
def reconstruction_db(count: int) -> float:
    """Mean PSNR of the image codec on held-out pictures, in dB."""
    from diffusers import AutoencoderKL

    from loraloom.settings import resolve_base
    from loraloom.starter.judge import to_pixels

    codec = AutoencoderKL.from_pretrained(
        resolve_base("starter") / "vae", torch_dtype=torch.float32
    )
    pixels = to_pixels([render_image(scene) for scene in unseen_scenes(count, held_out=True)])
    values: list[float] = []
    for batch in pixels.split(16):
        decoded = codec.decode(codec.encode(batch).latent_dist.mean).sample.clamp(-1, 1)
        error = ((decoded - batch) / 2).pow(2).mean(dim=(1, 2, 3))
        values += (-10 * torch.log10(error)).tolist()
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--sheet", type=Path, help="write a sheet of the first 64 pictures here")
    given = parser.parse_args()
    judge = Judge.load()
    print_scores("judge on rendered pictures", judge_scores(judge, given.count))
    print(f"reconstruction: {reconstruction_db(given.count):.1f} dB")
    print_scores(
        "base on prompts", base_scores(Generator("starter"), judge, given.count, given.sheet)
    )


if __name__ == "__main__":
    main()
