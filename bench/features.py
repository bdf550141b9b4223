"""What each type of adapter and each feature of training does to likeness, obedience and bleed.

    python -m bench.features --keep features.jsonl
    python -m bench.features --only lora,loha --keep features.jsonl

Every row trains on 30 pictures of held-out subjects of the starter world with the defaults of the
base, but for what the row changes, and is examined like the demonstration's adapter. Rows that
stand in the file of --keep are not trained again, so that a stopped table goes on.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skia
from PIL import Image

from bench.exam import Marks, examine
from loraloom.config_tree import merge, parse_assignment
from loraloom.files import write_png
from loraloom.starter.example import example_scenes, write_example
from loraloom.starter.world.backgrounds import draw_background
from loraloom.starter.world.pen import Pen
from loraloom.starter.world.people import draw_person
from loraloom.starter.world.render import UNITS, render_image
from loraloom.starter.world.scene import CHARACTERS, Identity, Scene, caption
from loraloom.train import recipe, run
from loraloom.train.events import Diagnosed, Finished

MIRA, BRAM, _ = CHARACTERS
ONE_PLACE = "beach"
FEW = 8


def told(folder: Path, subjects: Sequence[Identity]) -> None:
    """Each subject's pictures, a folder each, with true captions."""
    for subject in subjects:
        write_example(folder / subject.name, subject)


def one_place(folder: Path, subjects: Sequence[Identity], *, masked: bool = False) -> None:
    """All pictures before the same background, which no caption names."""
    for subject in subjects:
        for number, scene in enumerate(example_scenes(subject)):
            scene = scene.with_values(background=ONE_PLACE)
            path = folder / subject.name / f"{number:02d}.png"
            write_png(path, render_image(scene))
            words = caption(scene, subject.trigger).replace(f", {ONE_PLACE}", "")
            path.with_suffix(".txt").write_text(words)
            if masked:
                write_png(path.parent / "masks" / path.name, silhouette(scene))


def masked_place(folder: Path, subjects: Sequence[Identity]) -> None:
    """The same, with masks of the subject."""
    one_place(folder, subjects, masked=True)


def few(folder: Path, subjects: Sequence[Identity]) -> None:
    """Eight pictures of each subject."""
    told(folder, subjects)
    for subject in subjects:
        for path in sorted((folder / subject.name).iterdir()):
            if path.stem.isdigit() and int(path.stem) > FEW:
                path.unlink()


def silhouette(scene: Scene) -> Image.Image:
    """White where the person of the scene is."""
    rng = random.Random(scene.seed)
    surface = skia.Surface(UNITS, UNITS)
    with surface as canvas:
        pen = Pen(canvas, scene["style"], rng)
        draw_background(pen, scene["background"], rng)
        canvas.clear(skia.ColorTRANSPARENT)
        draw_person(pen, scene, rng)
    alpha = surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)[..., 3]
    return Image.fromarray(np.where(alpha > 127, 255, 0).astype(np.uint8))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    settings: dict[str, Any]
    pictures: Callable[[Path, Sequence[Identity]], None] = told
    subjects: tuple[Identity, ...] = (MIRA,)


ROWS = (
    Row("lora", {}),
    Row("dora", {"adapter": {"type": "dora"}}),
    Row("loha", {"adapter": {"type": "loha"}}),
    Row("lokr", {"adapter": {"type": "lokr"}}),
    Row("oft", {"adapter": {"type": "oft"}}),
    Row("boft", {"adapter": {"type": "boft"}}),
    Row("text encoder left alone", {"text_encoder": {"ratio": 0.0}}),
    Row("no class pictures", {"prior": {"images": 0}}),
    Row("captions never left out", {"data": {"caption_dropout": 0.0}}),
    Row("captions left out in a third of the draws", {"data": {"caption_dropout": 0.33}}),
    Row("one place in all pictures", {}, one_place),
    Row("one place and masks of the subject", {}, masked_place),
    Row("the same with mask_prior = 1", {"data": {"mask_prior": 1.0}}, masked_place),
    Row("two characters", {"schedule": {"steps": 960}}, told, (MIRA, BRAM)),
    Row("eight pictures for twice as long without class pictures", {
        "schedule": {"steps": 960}, "prior": {"images": 0}, "data": {"held_out_fraction": 0.25},
    }, few),
)  # fmt: skip


def measure(row: Row, pictures: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Train and examine one row; marks for each of its subjects."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row.pictures(folder, row.subjects)
        begun = time.monotonic()
        given = {"base": "starter", "samples": {"prompts": []}, **_places(folder, row.subjects)}
        tree = merge(given, row.settings, changes)
        events = list(run(recipe.resolve(tree), folder / "run"))
        seconds = time.monotonic() - begun
        last = events[-1]
        assert isinstance(last, Finished)
        marks = [
            examine(subject, last.adapter, pictures, [s for s in row.subjects if s != subject])
            for subject in row.subjects
        ]
        size_kib = last.adapter.stat().st_size / 1024
    return {
        "row": row.name, "marks": [asdict(mark) for mark in marks], "seconds": round(seconds),
        "kib": round(size_kib), "best_step": last.best_step,
        "told": [event.fault for event in events if isinstance(event, Diagnosed)],
    }  # fmt: skip


def _places(folder: Path, subjects: Sequence[Identity]) -> dict[str, Any]:
    if len(subjects) == 1:
        (one,) = subjects
        return {"trigger": one.trigger, "data": {"folder": str(folder / one.name)}}
    concepts = [{"folder": str(folder / s.name), "trigger": s.trigger} for s in subjects]
    return {"data": {"concepts": concepts}}


def show(found: dict[str, Any]) -> None:
    """One line a subject."""
    for marks in found["marks"]:
        mark = Marks(**marks)
        print(
            f"{found['row']:48} {mark.likeness:8.1%} {mark.obedience:9.1%} {mark.background:10.1%} "
            f"{mark.bleed:6.1%} {mark.confusion:9.1%} {found['best_step']:6} {found['seconds']:7} "
            f"{found['kib']:6} {', '.join(found['told'])}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="names of rows, by commas")
    parser.add_argument("--keep", type=Path, help="file of rows, which are added to it")
    parser.add_argument("--pictures", type=int, default=48, help="drawn with the trigger")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="settings")
    given = parser.parse_args()
    changes = merge(*map(parse_assignment, given.settings))
    known: dict[str, dict[str, Any]] = {}
    if given.keep and given.keep.exists():
        lines = given.keep.read_text().splitlines()
        known = {found["row"]: found for found in map(json.loads, lines)}
    chosen = given.only.split(",") if given.only else [row.name for row in ROWS]
    print(f"{'':48} likeness obedience background  bleed confusion   best seconds    KiB told")
    for row in ROWS:
        if row.name not in chosen:
            continue
        if row.name not in known:
            known[row.name] = measure(row, given.pictures, changes)
            if given.keep:
                with given.keep.open("a") as stream:
                    stream.write(json.dumps(known[row.name]) + "\n")
        show(known[row.name])


if __name__ == "__main__":
    main()
