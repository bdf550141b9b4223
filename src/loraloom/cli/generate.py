"""`loraloom generate`."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli.bars import staged
from loraloom.cli.output import messages, print_json
from loraloom.errors import AdapterUnreadable, PromptEmpty
from loraloom.studio import handing

if TYPE_CHECKING:
    from PIL import Image

    from loraloom.generate.output import Left, Used
    from loraloom.generate.session import Generator, Request

Precision = Literal["auto", "float32", "bfloat16"]
BATCH_SIZE = 8
CLIPS_AT_ONCE = 1
"""One fills a graphics card."""
MAX_SEED = 2**63 - 1
STOPPED = 130
"""What a shell shows of a command that Ctrl-C ended."""


@dataclass(frozen=True)
class Adapter:
    """One that was asked for; the expert is for a base with several."""

    file: Path
    scale: float = 1.0
    expert: str = ""


def generate(
    prompt: Annotated[
        list[str] | None, typer.Option(help="what to draw; repeat for several")
    ] = None,
    base: Annotated[str, typer.Option(help="name or folder of the base model")] = "starter",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:SCALE][@EXPERT]",
            help="repeat for several; @EXPERT for a base with two, where the file does not tell",
        ),
    ] = None,
    negative: Annotated[str, typer.Option(help="what not to draw")] = "",
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="of the first picture; then one more each")
    ] = 0,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="pictures for each prompt")] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="denoising steps; none: the base's own")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, max=100, help="guidance scale; none: the base's own")
    ] = None,
    clip_skip: Annotated[
        int, typer.Option(min=0, max=10, help="last text encoder layers left out, as in training")
    ] = 0,
    size: Annotated[
        str | None, typer.Option(metavar="PX|WxH", help="picture size; none: the base's own")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="of a clip, on a base of video; 1: a picture; "
            "none: as long as the base's own clips",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=1, max=120, help="frames a second of a clip; none: the base's own"),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="of the base; bfloat16 takes half the memory")
    ] = "float32",
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("out/generate"),
    sheet: Annotated[
        bool, typer.Option("--sheet", help="contact sheets too, with moments of each clip")
    ] = False,
    order: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="all that is to be drawn, in place of the other options but --out; pictures that "
            "are there are kept",
        ),
    ] = None,
    handed: Annotated[
        int | None, typer.Option(hidden=True, help="orders over this open socket")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON a picture")] = False,
) -> None:
    """Draw pictures, or clips on a base of video, with any number of adapters.

    The same seed gives the same picture, however many are drawn. Nothing is overwritten. Ctrl-C
    keeps what is drawn.

    \b
    loraloom generate --prompt "a cat on a table" --count 4
    loraloom generate --base ./sd15 --adapter mine.safetensors:0.8 --prompt "ohwx woman"
    loraloom generate --base ./Wan2.1-T2V-1.3B-Diffusers --adapter dance.safetensors \\
        --prompt "zk dance, a woman in a park" --size 832x480 --frames 33 --sheet
    """  # fmt: skip
    if handed is not None:
        _draw_orders(handing.handed(handed), json=json)
        return
    if order is not None:
        _draw_orders([(order, out)], json=json)
        return
    prompt = prompt or []
    if not prompt or not all(text.strip() for text in prompt):
        raise PromptEmpty("--prompt is empty; say what to draw")
    adapters = [parse_expert(text) for text in adapter or []]
    width_px, height_px = parse_size(size)
    if frames is not None or fps is not None:
        _check_frames(base, frames, fps)

    from loraloom.generate.output import ContactSheets, Folder
    from loraloom.generate.session import Request

    requests = [
        Request(text, seed + number, negative, guidance, steps, width_px, height_px, clip_skip,
                frames, fps)
        for text in prompt
        for number in range(count)
    ]  # fmt: skip
    generator, used = _open_generator(base, adapters, precision)
    requests = [generator.complete(request) for request in requests]
    name = Path(base).name
    folder = Folder(out, name, used)
    with_what = ", ".join(one.path.stem for one in used) or "no adapter"
    contact = ContactSheets(folder, f"{name}: {with_what}")
    done = 0
    try:
        with closing(_draw(generator, requests, quiet=json)) as drawing:
            for request, drawn in drawing:
                left = folder.add(drawn, request)
                done += 1
                if sheet:
                    contact.add(drawn, request)
                if json:
                    print_json(_as_json(left, request))
        contact.close()
    except KeyboardInterrupt:
        contact.close()
        messages.print(f"Stopped: {done} of {len(requests)} are in {out}.", markup=False)
        raise typer.Exit(STOPPED) from None
    if not json:
        what = "clips" if requests[0].fps else "pictures"
        messages.print(f"{done} {what} in {out}", markup=False)


def _draw_orders(handed: Iterable[tuple[Path, Path]], *, json: bool) -> None:
    """What jobs of the studio do, one after the other; docs/jobs.md tells the events."""
    from loraloom.cli.train import telling_programs
    from loraloom.generate import order as orders
    from loraloom.generate.draw import Loader, draw
    from loraloom.train.stop import StopRequest

    loader = Loader()
    for path, out in handed:
        with telling_programs(json), StopRequest() as stop:
            order = orders.read(path)
            done = draw(order, out, stop, print_json if json else lambda event: None, loader)
        if not done:
            raise typer.Exit(STOPPED)
        if not json:
            messages.print(f"{len(order.pictures)} pictures in {out}", markup=False)


def parse_expert(text: str) -> Adapter:
    """`FILE[:SCALE][@EXPERT]`; a sign @ that a word does not end belongs to the name."""
    rest, _, expert = text.rpartition("@")
    if not rest or not expert.isidentifier() or Path(text).is_file():
        rest, expert = text, ""
    return Adapter(*parse_adapter(rest), expert)


def parse_adapter(text: str) -> tuple[Path, float]:
    """`FILE[:SCALE]`; a colon that no number follows belongs to the name. Scale is 1 if absent."""
    name, _, scale = text.rpartition(":")
    try:
        file, factor = (Path(name), float(scale)) if name else (Path(text), 1.0)
    except ValueError:
        file, factor = Path(text), 1.0
    if not file.is_file():
        raise AdapterUnreadable(f"The adapter {file} does not exist; check the path")
    if not -10 <= factor <= 10:
        raise typer.BadParameter(f"scale {factor:g} of {file.name}; from -10 to 10 is accepted")
    return file, factor


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """`512` or `512x768` as width and height in pixels."""
    if text is None:
        return None, None
    width, _, height = text.lower().partition("x")
    try:
        size_px = int(width), int(height or width)
    except ValueError:
        raise typer.BadParameter(f"--size {text}: expected 512 or 512x768") from None
    if not all(16 <= side <= 8192 for side in size_px):
        raise typer.BadParameter(f"--size {text}: each side from 16 to 8192 px is accepted")
    return size_px


def _check_frames(base: str, frames: int | None, fps: float | None) -> None:
    """Before the base is loaded, which can take minutes."""
    from loraloom import families
    from loraloom.generate.session import check_frames
    from loraloom.settings import resolve_base

    check_frames(families.detect(base).profile(resolve_base(base)), frames, fps)


def _draw(
    generator: Generator, requests: Sequence[Request], *, quiet: bool
) -> abc.Generator[tuple[Request, list[Image.Image]], None, None]:
    """Each request with its frames, with bars on the way."""
    moving = bool(requests[0].fps)
    size = CLIPS_AT_ONCE if moving else BATCH_SIZE
    steps = sum(request.steps or 0 for request in requests)
    with staged(quiet=quiet) as show:
        what = "clips" if moving else "pictures"
        taken = 0

        def on_step(together: int) -> None:
            nonlocal taken
            taken += together
            show("denoising steps", taken, steps)

        for first in range(0, len(requests), size):
            show(what, first, len(requests))
            batch = requests[first : first + size]
            yield from zip(batch, generator.film(batch, size, on_step), strict=True)
        show(what, len(requests), len(requests))


def _as_json(left: Left, request: Request) -> dict[str, object]:
    told = {"path": left.path, "prompt": request.prompt, "seed": request.seed}
    if not left.poster:
        return told
    return {**told, "poster": left.poster, "frames": request.frames, "fps": request.fps}


def _open_generator(
    base: str, adapters: Sequence[Adapter], precision: Precision
) -> tuple[Generator, list[Used]]:
    """The base with its adapters, and how they are used."""
    from loraloom.generate.output import Used
    from loraloom.generate.session import Generator
    from loraloom.train.precision import choose_device, choose_dtype

    used, device = [], choose_device()
    with messages.status("Loading the base model"):
        generator = Generator(base, dtype=choose_dtype(precision, device), device=device)
        scales = {}
        for number, adapter in enumerate(adapters):
            name = f"adapter{number}"
            experts = generator.load_adapter(adapter.file, name, adapter.expert)
            if len(experts) > 1:
                messages.print(
                    f"{adapter.file.name} names no expert, and works in {' and '.join(experts)}; "
                    f"write {adapter.file.name}@{experts[0]} for one of them.", markup=False,
                )  # fmt: skip
            scales[name] = adapter.scale
            used.append(Used(adapter.file, adapter.scale, experts))
        if scales:
            generator.set_scales(scales)
    return generator, used
