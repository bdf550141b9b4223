"""The demonstration: a held-out subject's pictures in, a tested adapter out.

pictures -> check -> train -> generate in new contexts -> judge -> report. Every figure comes from
the judge of the starter world, which reads each attribute off each picture.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from PIL import Image

from loraloom import train
from loraloom.dataset.folder import read_folder
from loraloom.errors import OutputExists, SubjectUnknown
from loraloom.evaluate.curves import Curves, Validation, draw_curves
from loraloom.evaluate.report import PictureRow, ReportData, write_report
from loraloom.files import write_atomic, write_png
from loraloom.generate import session
from loraloom.generate.session import Request
from loraloom.generate.sheet import sheet
from loraloom.starter.example import contexts, write_example
from loraloom.starter.judge import Judge, Reading, bleed, likeness, obedience
from loraloom.starter.verdict import Scores, metrics, next_step
from loraloom.starter.world.scene import CHARACTERS, Identity, Scene, caption
from loraloom.train import machine, recipe
from loraloom.train.events import Event, Finished, Stage, Step, Validated
from loraloom.train.stop import StopRequest

MARKER = ".loraloom-demo"
PICTURES = 48
BLEED_PICTURES = 24
SHEET_ROWS = 5
SHEET_SCALES = (0.0, 0.5, 1.0)
FIRST_SEED = 1000
GUIDANCE = 3.0
STEPS = 20


@dataclass(frozen=True)
class DemoFinished(Event):
    """The demonstration is over; everything it wrote is in `out`."""

    out: Path
    scores: Scores
    seconds: float
    verdict: str
    next_step: str


@dataclass
class _Run:
    """What the phases hand on."""

    out: Path
    identity: Identity
    seconds: dict[str, float] = field(default_factory=dict)
    losses: list[tuple[int, float]] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    best_step: int = 0
    adapter: Path = Path()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begun, 2)


def run(
    out: Path, identity: Identity = CHARACTERS[0], *, stop: StopRequest | None = None
) -> Iterator[Event]:
    """Run the whole way; what an earlier demonstration left in `out` is replaced.

    `stop` ends the training, as in `train.run`. Raises OutputExists where `out` holds something
    that is not a demonstration's.
    """
    _clear(out)
    state = _Run(out, identity)
    with state.phase("pictures"):
        write_example(out / "pictures", identity)
    with state.phase("training"):
        yield from _train(state, stop)
    with state.phase("generation"):
        generator = session.Generator("starter")
        generator.load_adapter(state.adapter, identity.name)
        drawn = yield from _draw(generator, identity)
        page = _sheet(generator, identity)
    write_png(out / "sheet.png", page)
    draw_curves(out / "curves.png", Curves(state.losses, state.validations, state.best_step))
    with state.phase("judging"):
        yield Stage("judging", 0, 1)
        scores, readings = _judge(identity, drawn)
        yield Stage("judging", 1, 1)
    yield _report(state, drawn, scores, readings)


def character(name: str) -> Identity:
    """The held-out character of that name. Raises SubjectUnknown."""
    for identity in CHARACTERS:
        if identity.name.casefold() == name.casefold():
            return identity
    known = ", ".join(identity.name for identity in CHARACTERS)
    raise SubjectUnknown(f"There is no subject {name!r}; choose one of {known}.")


def read_report(out: Path) -> dict[str, object]:
    """The figures of a demonstration that has run in `out`."""
    report: dict[str, object] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def _clear(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputExists(f"{out} is a file; name a folder with --out.")
    if out.exists() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise OutputExists(f"{out} holds other files; name an empty folder with --out.")
    shutil.rmtree(out, ignore_errors=True)
    write_atomic(out / MARKER, b"This folder is written anew by each loraloom demo.\n")


def _train(state: _Run, stop: StopRequest | None) -> Iterator[Event]:
    dataset = read_folder(state.out / "pictures")
    config = recipe.resolve(
        {
            "base": "starter",
            "kind": "character",
            "trigger": state.identity.trigger,
            "data": {"folder": str(dataset.root)},
            "samples": {"prompts": []},
        }
    )
    for event in train.run(config, state.out / "run", stop=stop):
        match event:
            case Step():
                state.losses.append((event.step, event.loss))
            case Validated():
                state.validations.append(
                    Validation(event.step, event.train_loss, event.held_out_loss)
                )
            case Finished():
                state.best_step = event.best_step
                state.adapter = state.out / "adapter.safetensors"
                write_atomic(state.adapter, event.adapter.read_bytes())
        yield event


@dataclass(frozen=True)
class _Drawn:
    """Pictures of the same contexts: with the adapter, by the base, and without the trigger."""

    scenes: Sequence[Scene]
    adapted: Sequence[Image.Image]
    base: Sequence[Image.Image]
    untriggered: Sequence[Image.Image]


def requests(scenes: Sequence[Scene], subject: str) -> list[Request]:
    """What is asked for in each scene: `subject` is the trigger, or the words of its class."""
    return [
        Request(caption(scene, subject), FIRST_SEED + number, guidance=GUIDANCE, steps=STEPS)
        for number, scene in enumerate(scenes)
    ]


def _draw(generator: session.Generator, identity: Identity) -> Generator[Event, None, _Drawn]:
    scenes = contexts(identity, PICTURES, seed=1)
    asked = requests(scenes, identity.trigger)
    plain = requests(scenes, identity.class_word)
    total = len(asked) + len(plain) + BLEED_PICTURES
    drawn: list[Image.Image] = []
    for scale, batch in ((1.0, asked), (0.0, plain), (1.0, plain[:BLEED_PICTURES])):
        generator.set_scales({identity.name: scale})
        for start in range(0, len(batch), 8):
            drawn += generator.generate(batch[start : start + 8])
            yield Stage("generating", len(drawn), total)
    return _Drawn(scenes, drawn[:PICTURES], drawn[PICTURES : 2 * PICTURES], drawn[2 * PICTURES :])


def _sheet(generator: session.Generator, identity: Identity) -> Image.Image:
    scenes = contexts(identity, SHEET_ROWS, seed=2)
    asked = requests(scenes, identity.trigger)
    columns = []
    for scale in SHEET_SCALES:
        generator.set_scales({identity.name: scale})
        columns.append(generator.generate(asked))
    return sheet(
        list(zip(*columns, strict=True)),
        [request.prompt for request in asked],
        [f"scale {scale:g}" if scale else "base (scale 0)" for scale in SHEET_SCALES],
        f"{identity.name}: the base and the adapter, same seeds",
        "contexts that are not in the training set",
    )


def _judge(identity: Identity, drawn: _Drawn) -> tuple[Scores, list[Reading]]:
    judge = Judge.load()
    adapted, base = judge.read(drawn.adapted), judge.read(drawn.base)
    untriggered = judge.read(drawn.untriggered)
    scores = Scores(
        likeness=likeness(identity, drawn.scenes, adapted),
        obedience=obedience(drawn.scenes, adapted),
        obedience_base=obedience(drawn.scenes, base),
        bleed=bleed(identity, drawn.scenes[: len(untriggered)], untriggered),
    )
    return scores, adapted


def _report(state: _Run, drawn: _Drawn, scores: Scores, readings: list[Reading]) -> DemoFinished:
    out, total = state.out, sum(state.seconds.values())
    verdict = scores.verdict
    memory_mib = machine.peak_mib("cpu")
    facts = {
        **{name: round(value, 4) for name, value in asdict(scores).items()},
        "pictures": {"adapter": PICTURES, "base": PICTURES, "untriggered": BLEED_PICTURES},
        "seconds": {**state.seconds, "total": round(total, 2)},
        "peak_memory_mib": memory_mib,
        "settings": (state.out / "run" / "config.toml").read_text(encoding="utf-8"),
        "seeds": {"first": FIRST_SEED, "count": PICTURES},
        "guidance": GUIDANCE,
        "steps": STEPS,
        "best_step": state.best_step,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    write_atomic(out / "report.json", (json.dumps(facts, indent=2) + "\n").encode())
    advice = next_step(scores)
    write_report(
        out / "report.html",
        ReportData(
            title=f"{state.identity.name}, trigger “{state.identity.trigger}”",
            verdict=verdict,
            good=scores.good,
            metrics=metrics(scores),
            next_step=advice,
            sheet=out / "sheet.png",
            curves=out / "curves.png",
            pictures=_rows(out, state.identity, drawn, readings),
            settings={"best step": str(state.best_step), "guidance": f"{GUIDANCE:g}"},
            seconds_by_phase=state.seconds,
            peak_memory_mib=memory_mib,
        ),
    )
    return DemoFinished(out, scores, round(total, 1), verdict, advice)


def _rows(
    out: Path, identity: Identity, drawn: _Drawn, readings: list[Reading]
) -> list[PictureRow]:
    rows = []
    for number, (scene, image, reading) in enumerate(
        zip(drawn.scenes, drawn.adapted, readings, strict=True)
    ):
        path = out / "generated" / f"{number:02d}.png"
        write_png(path, image)
        alike, obeyed = likeness(identity, [scene], [reading]), obedience([scene], [reading])
        findings = f"likeness {alike:.0%}, obedience {obeyed:.0%}"
        rows.append(PictureRow(path, caption(scene, identity.trigger), findings))
    return rows
