"""Sets of pictures with planted faults, and how many of them `dataset check` finds.

    python -m bench.planted_faults
    python -m bench.planted_faults --clean 200 --side 768 --seed 5

Two worlds: pictures of the starter world (flat drawings), and synthetic photographs with texture,
depth, grain and light. Recall is counted over planted faults, false alarms over pictures without
that fault. Among those are a quarter of all photographs with a soft background (bokeh), and people
by themselves. Then faults of whole sets, each in sets of its own, and how often they are found.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from bench.photographs import Draw, gain, photograph, with_faces
from loraloom.dataset.readiness.check import Readiness, check
from loraloom.kinds import Kind
from loraloom.starter.world.render import render_image
from loraloom.starter.world.scene import ATTRIBUTES, CHARACTERS, caption, identity_scene

CODES = ("near-duplicate", "blur", "exposure", "jpeg-quality", "faces")


@dataclass
class Planted:
    """What was planted: code -> names, and pairs of copies."""

    faults: dict[str, set[str]] = field(default_factory=lambda: {code: set() for code in CODES})
    copies: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bokeh: set[str] = field(default_factory=set)
    """Pictures with a soft background, which are not to be called blurred."""
    alone: set[str] = field(default_factory=set)
    """Photographs of one person, all of the same two."""


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
            # Up to a tenth at each of the four edges; of every fourth the whole tenth everywhere.
            most = rng.random() < 0.25
            left, top, right, bottom = (0.1 if most else rng.uniform(0, 0.1) for _ in range(4))
            w, h = picture.size
            box = (left * w, top * h, w - right * w, h - bottom * h)
            return picture.crop(tuple(round(edge) for edge in box))  # type: ignore[arg-type]
        case "mirrored":
            return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case "recoloured":
            hsv = np.array(picture.convert("HSV"))
            hsv[..., 0] += np.uint8(rng.randrange(30, 226))
            return Image.fromarray(hsv, "HSV").convert("RGB")
        case "warmer":
            warm = np.asarray(picture) * np.array([1.08, 0.97, 0.82])
            return Image.fromarray(np.clip(warm, 0, 255).astype(np.uint8))
        case "adjusted":
            picture = gain(picture, rng.uniform(-0.4, 0.4))
            picture = ImageEnhance.Contrast(picture).enhance(rng.uniform(0.85, 1.2))
            return ImageEnhance.Color(picture).enhance(rng.uniform(0.7, 1.3))
        case "grey":
            return picture.convert("L").convert("RGB")
        case _:
            return picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))


COPIES = ("re-encoded", "cropped", "mirrored", "recoloured", "warmer", "adjusted", "grey",
          "resized")  # fmt: skip


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
        planted.bokeh |= {name} if words.endswith(", bokeh") else set()
        return name

    originals = []
    for number in range(clean):
        picture, words = draw(rng)
        originals.append((save(picture, words, quality=97 if number % 3 else 0), picture, words))
    for how in COPIES:
        for name, picture, words in rng.sample(originals, each):
            planted.copies.append((name, save(copy_of(picture, how, rng), words)))
    for _ in range(each):
        for code, change in _changes(side_px, rng):
            picture, words = draw(rng)
            name = save(change(picture), words)
            planted.faults[code].add(name)
            planted.bokeh -= {name}
        picture, words = draw(rng)
        planted.faults["jpeg-quality"].add(save(picture, words, quality=40))
        planted.faults["faces"].add(save(with_faces(side_px, rng, 2), "ohwx woman"))
        planted.alone.add(save(with_faces(side_px, rng, 1), "ohwx woman"))
    return planted


def _changes(
    side_px: int, rng: random.Random
) -> Iterator[tuple[str, Callable[[Image.Image], Image.Image]]]:
    """A fault and what makes it."""
    radius = max(3.0, side_px / 200) * rng.uniform(1, 2)
    yield "blur", lambda picture: picture.filter(ImageFilter.GaussianBlur(radius))
    dark, above = rng.uniform(-5, -4), rng.uniform(0.75, 2)
    yield "exposure", lambda picture: gain(picture, dark)
    yield "exposure", lambda picture: burnt(picture, above)


def burnt(picture: Image.Image, stops: float) -> Image.Image:
    """So much light that more than half of what is not white paper loses a colour.

    The median of the strongest colours comes to lie `stops` above the brightest that is kept.
    """
    strongest = np.asarray(picture).max(axis=2)
    thing = strongest[strongest < 240]
    median = np.median(thing if thing.size > strongest.size / 50 else strongest) / 255
    return gain(picture, stops - 2.2 * float(np.log2(max(median, 0.05))))


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
    for title, code, spared in (("soft background", "blur", planted.bokeh),
                                ("one person", "faces", planted.alone)):  # fmt: skip
        if spared:
            wrong = named[code] & spared
            scores[f"  {title}"] = Score(0, 0, len(spared), len(wrong), (), tuple(sorted(wrong)))
    return scores


def _score_copies(named: set[str], planted: Planted) -> Score:
    """A copy is found when all of its group but one are named."""
    group: dict[str, set[str]] = {}
    for first, second in planted.copies:
        group.setdefault(first, {first}).add(second)
    spared = [sorted(members - named) for members in group.values()]
    missed = [name for members in spared for name in members[1:]]
    copied = {name for members in group.values() for name in members}
    people = planted.faults["faces"] | planted.alone  # the same portraits again and again
    wrong = tuple(sorted(named - copied - people))
    innocent = len(planted.names) - len(copied | people)
    count = len(planted.copies) - len(missed)
    return Score(len(planted.copies), count, innocent, len(wrong), tuple(missed), wrong)


def run(world: str, clean: int, each: int, side_px: int, seed: int) -> dict[str, Score]:
    """Plant, check and score one world."""
    draw = drawing(side_px) if world == "drawings" else photograph(side_px)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        planted = plant(folder, draw, clean, each, seed, side_px)
        return score(check(folder, Kind.CHARACTER, "sd15", "ohwx"), planted)


def run_sets(side_px: int, seed: int, sets: int) -> dict[str, Score]:
    """Code -> in how many of its `sets` it was found, and in how many others it was told.

    A set has one fault: one outfit, one background, one tint, too few, too many, or two concepts
    of which one has a picture and a trigger of the other.
    """
    reported: list[tuple[str, set[str]]] = []
    for number in range(sets):
        for planted in SET_CODES:
            with tempfile.TemporaryDirectory() as work:
                plant_set(Path(work), planted, side_px, seed * 1000 + number)
                found = check(Path(work), Kind.CHARACTER, "sd15")
                reported.append((planted, {finding.code for finding in found.findings}))
    return {code: _score_sets(code, reported) for code in SET_CODES}


def _score_sets(code: str, reported: Sequence[tuple[str, set[str]]]) -> Score:
    own = [code in told for planted, told in reported if planted == code]
    others = [code in told for planted, told in reported if planted != code]
    return Score(len(own), sum(own), len(others), sum(others))


SET_CODES = ("outfit-dominant", "background-dominant", "colour-cast", "too-few", "too-many",
             "concept-overlap")  # fmt: skip


def plant_set(folder: Path, code: str, side_px: int, seed: int) -> None:
    """A set of 28 pictures of the starter world with one fault of the whole set.

    Backgrounds go round, for by chance alone one may come up often; of one outfit or background
    are half of the pictures.
    """
    rng = random.Random(seed)
    backgrounds = [str(value) for value in ATTRIBUTES["background"]]
    rng.shuffle(backgrounds)
    count = {"too-few": 12, "too-many": 60}.get(code, 28)
    for number in range(count):
        scene = identity_scene(CHARACTERS[0], rng).with_values(
            lighting="natural lighting", background=backgrounds[number % len(backgrounds)]
        )
        if code == "outfit-dominant" and number % 2:
            scene = scene.with_values(garment="hoodie", garment_colour="red")
        if code == "background-dominant" and number % 2:
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
    parser.add_argument("--sets", type=int, default=2, help="sets of every fault of whole sets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--names", action="store_true", help="name what went wrong")
    given = parser.parse_args()
    for world in ("drawings", "photographs"):
        print(f"\n{world:20} planted   found  innocent  accused")
        scores = run(world, given.clean, given.each, given.side, given.seed)
        for code, one in scores.items():
            recall = f"{one.recall:7.1%}" if one.planted else f"{'-':>7}"
            told = f"{one.planted:7} {recall} {one.innocent:9} {one.false_alarms:8.1%}"
            print(f"{code:20} {told}", flush=True)
            if given.names:
                print("  missed", *one.missed_names, "| accused", *one.accused_names)
    print("\nwhole sets           planted   found  innocent  accused")
    for code, one in run_sets(min(given.side, 512), given.seed, given.sets).items():
        told = f"{one.planted:7} {one.recall:7.1%} {one.innocent:9} {one.false_alarms:8.1%}"
        print(f"{code:20} {told}")


if __name__ == "__main__":
    main()
