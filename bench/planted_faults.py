"""Sets of pictures with planted faults, and how many of them `dataset check` finds.

    python -m bench.planted_faults
    python -m bench.planted_faults --clean 200 --side 768

Two worlds: pictures of the starter world (flat drawings), and synthetic photographs with texture,
depth, grain and light. Recall is counted over planted faults, false alarms over pictures without
that fault; then faults of whole sets, each in a set of its own, and how often they are found.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from bench.photographs import Draw, gain, photograph, two_faces
from loraloom.dataset.readiness.check import Readiness, check
from loraloom.kinds import Kind
from loraloom.starter.world.render import render_image
from loraloom.starter.world.scene import CHARACTERS, caption, identity_scene

CODES = ("near-duplicate", "blur", "exposure", "jpeg-quality", "faces")


@dataclass
class Planted:
    """What was planted: code -> names, and pairs of copies."""

    faults: dict[str, set[str]] = field(default_factory=lambda: {code: set() for code in CODES})
    copies: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def drawing(side_px: int) -> Draw:
    """Pictures of one character of the starter world."""

    def draw(rng: random.Random) -> tuple[Image.Image, str]:
        scene = identity_scene(CHARACTERS[0], rng)
        return render_image(scene, side_px), caption(scene, CHARACTERS[0].trigger)

    return draw


def copy_of(picture: Image.Image, how: str, rng: random.Random) -> Image.Image:
    """The picture as people come by it twice."""
    match how:
        case "re-encoded":
            return Image.open(io.BytesIO(_encoded(picture, "WEBP", quality=70))).convert("RGB")
        case "cropped":
            shares = [rng.random() for _ in range(2)]
            cut = [0.1 * share for share in shares] + [0.1 * (1 - share) for share in shares]
            w, h = picture.size
            left, top, right, bottom = cut[0] * w, cut[1] * h, cut[2] * w, cut[3] * h
            return picture.crop((round(left), round(top), round(w - right), round(h - bottom)))
        case "mirrored":
            return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case "recoloured":
            hsv = np.array(picture.convert("HSV"))
            hsv[..., 0] += np.uint8(rng.randrange(30, 226))
            return Image.fromarray(hsv, "HSV").convert("RGB")
        case "warmer":
            warm = np.asarray(picture) * np.array([1.08, 0.97, 0.82])
            return Image.fromarray(np.clip(warm, 0, 255).astype(np.uint8))
        case "grey":
            return picture.convert("L").convert("RGB")
        case _:
            return picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))


COPIES = ("re-encoded", "cropped", "mirrored", "recoloured", "warmer", "grey", "resized")


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plant(folder: Path, draw: Draw, clean: int, each: int, seed: int, side_px: int) -> Planted:
    """Write `clean` pictures, then `each` of every fault made of further ones."""
    rng, planted = random.Random(seed), Planted()

    def save(picture: Image.Image, words: str, quality: int = 0) -> str:
        suffix = "jpg" if quality else "png"
        name = f"{len(planted.names):05d}.{suffix}"
        content = (
            _encoded(picture, "JPEG", quality=quality) if quality else _encoded(picture, "PNG")
        )
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text(words)
        planted.names.append(name)
        return name

    originals = []
    for number in range(clean):
        picture, words = draw(rng)
        originals.append((save(picture, words, quality=97 if number % 3 else 0), picture, words))
    for how in COPIES:
        for name, picture, words in rng.sample(originals, each):
            planted.copies.append((name, save(copy_of(picture, how, rng), words)))
    for _ in range(each):
        for code, change in _changes(side_px).items():
            picture, words = draw(rng)
            planted.faults[code].add(save(change(picture), words))
        picture, words = draw(rng)
        planted.faults["jpeg-quality"].add(save(picture, words, quality=40))
        planted.faults["faces"].add(save(two_faces(side_px, rng), "ohwx woman"))
    return planted


def _changes(side_px: int) -> dict[str, Callable[[Image.Image], Image.Image]]:
    radius = max(3.0, side_px / 200)
    return {
        "blur": lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)),
        "exposure": lambda picture: gain(picture, -4),
    }


@dataclass(frozen=True)
class Score:
    """Of one code."""

    planted: int
    found: int
    innocent: int
    accused: int
    missed_names: tuple[str, ...] = ()
    accused_names: tuple[str, ...] = ()

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def false_alarms(self) -> float:
        return self.accused / self.innocent if self.innocent else 0.0


def score(found: Readiness, planted: Planted) -> dict[str, Score]:
    """Recall and false alarms of every code that is about single pictures."""
    named: dict[str, set[str]] = {code: set() for code in CODES}
    for finding in found.findings:
        if finding.item and finding.code in named:
            named[finding.code].add(finding.item)
    scores = {"near-duplicate": _score_copies(named["near-duplicate"], planted)}
    for code in CODES[1:]:
        guilty = planted.faults[code]
        if guilty:
            missed = guilty - named[code]
            wrong = named[code] - guilty
            innocent = len(planted.names) - len(guilty)
            count = len(guilty) - len(missed)
            scores[code] = Score(
                len(guilty),
                count,
                innocent,
                len(wrong),
                tuple(sorted(missed)),
                tuple(sorted(wrong)),
            )
    return scores


def _score_copies(named: set[str], planted: Planted) -> Score:
    """A copy is found when all of its group but one are named."""
    group: dict[str, set[str]] = {}
    for first, second in planted.copies:
        group.setdefault(first, {first}).add(second)
    spared = [sorted(members - named) for members in group.values()]
    missed = [name for members in spared for name in members[1:]]
    copied = {name for members in group.values() for name in members}
    wrong = tuple(sorted(named - copied - planted.faults["faces"]))  # faces: one portrait
    innocent = len(planted.names) - len(copied) - len(planted.faults["faces"])
    count = len(planted.copies) - len(missed)
    return Score(len(planted.copies), count, innocent, len(wrong), tuple(missed), wrong)


def run(world: str, clean: int, each: int, side_px: int, seed: int) -> dict[str, Score]:
    """Plant, check and score one world."""
    draw = drawing(side_px) if world == "drawings" else photograph(side_px)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        planted = plant(folder, draw, clean, each, seed, side_px)
        return score(check(folder, Kind.CHARACTER, "sd15", "ohwx"), planted)


SETS = 6


def run_sets(side_px: int, seed: int) -> dict[str, tuple[int, int]]:
    """Code -> whether it was found where it was planted, and in how many other sets it was told.

    One set a fault: one outfit, one background, one tint, too few, too many, and two concepts of
    which one has a picture and a trigger of the other.
    """
    reported: dict[str, set[str]] = {}
    for planted in SET_CODES:
        with tempfile.TemporaryDirectory() as work:
            plant_set(Path(work), planted, side_px, seed)
            found = check(Path(work), Kind.CHARACTER, "sd15")
            reported[planted] = {finding.code for finding in found.findings}
    return {
        code: (
            int(code in reported[code]),
            sum(code in others for name, others in reported.items() if name != code),
        )
        for code in SET_CODES
    }


SET_CODES = ("outfit-dominant", "background-dominant", "colour-cast", "too-few", "too-many",
             "concept-overlap")  # fmt: skip


def plant_set(folder: Path, code: str, side_px: int, seed: int) -> None:
    """A set of 28 pictures of the starter world with one fault of the whole set."""
    rng = random.Random(seed)
    count = {"too-few": 12, "too-many": 60}.get(code, 28)
    for number in range(count):
        scene = identity_scene(CHARACTERS[0], rng).with_values(lighting="natural lighting")
        if code == "outfit-dominant":
            scene = scene.with_values(garment="hoodie", garment_colour="red")
        if code == "background-dominant":
            scene = scene.with_values(background="beach")
        picture = render_image(scene, side_px)
        if code == "colour-cast":
            tinted = np.asarray(picture) * np.array([1.0, 0.86, 0.62])
            picture = Image.fromarray(tinted.astype(np.uint8))
        inside = folder / "10_mira" if code == "concept-overlap" else folder
        write_captioned(inside / f"{number:02d}.png", picture, caption(scene, "ohwx woman"))
    if code == "concept-overlap":
        _plant_concept(folder, side_px, rng)


def _plant_concept(folder: Path, side_px: int, rng: random.Random) -> None:
    """A second concept, with a copy of a picture of the first one and with the first's trigger."""
    for number in range(26):
        scene = identity_scene(CHARACTERS[1], rng)
        words = caption(scene, "zvkr man")
        path = folder / "10_bram" / f"{number:02d}.png"
        write_captioned(path, render_image(scene, side_px), words)
    path.with_suffix(".txt").write_text(f"{words}, ohwx woman")
    with Image.open(folder / "10_mira" / "03.png") as stolen:
        write_captioned(folder / "10_bram" / "99.png", copy_of(stolen, "cropped", rng), words)


def write_captioned(path: Path, picture: Image.Image, words: str) -> None:
    """A PNG and the text file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    path.with_suffix(".txt").write_text(words)


def main() -> None:
    """Print one table a world."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clean", type=int, default=120)
    parser.add_argument("--each", type=int, default=20, help="of every fault")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--names", action="store_true", help="name what went wrong")
    given = parser.parse_args()
    for world in ("drawings", "photographs"):
        print(f"\n{world:20} planted   found  innocent  accused")
        scores = run(world, given.clean, given.each, given.side, given.seed)
        for code, one in scores.items():
            told = f"{one.planted:7} {one.recall:7.1%} {one.innocent:9} {one.false_alarms:8.1%}"
            print(f"{code:20} {told}", flush=True)
            if given.names:
                print("  missed", *one.missed_names, "| accused", *one.accused_names)
    print("\nwhole sets           planted   found  innocent  accused")
    for code, (found, accused) in run_sets(min(given.side, 512), given.seed).items():
        print(f"{code:20} {1:7} {found:7.1%} {SETS - 1:9} {accused / (SETS - 1):8.1%}")


if __name__ == "__main__":
    main()
