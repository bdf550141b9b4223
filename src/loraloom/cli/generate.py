"""`loraloom generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json
from loraloom.errors import AdapterUnreadable, OutputUnwritable, PromptEmpty

if TYPE_CHECKING:
    from PIL import Image

    from loraloom.generate.session import Generator, Request

BATCH_SIZE = 8
MAX_SEED = 2**63 - 1


def generate(
    prompt: Annotated[list[str], typer.Option(help="what to draw; repeat for several")],
    base: Annotated[str, typer.Option(help="name or folder of the base model")] = "starter",
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="FILE[:SCALE]", help="repeat for several")
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
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("out/generate"),
    json: Annotated[bool, typer.Option("--json", help="one line of JSON a picture")] = False,
) -> None:
    """Draw pictures with a base model and any number of adapters.

    The same seed gives the same picture, however many are drawn. Nothing is overwritten.

    \b
    loraloom generate --prompt "a cat on a table" --count 4
    loraloom generate --base ./sd15 --adapter mine.safetensors:0.8 --prompt "ohwx woman"
    """
    if not all(text.strip() for text in prompt):
        raise PromptEmpty("--prompt is empty; say what to draw")
    adapters = [parse_adapter(text) for text in adapter or []]
    width_px, height_px = parse_size(size)

    from loraloom.generate.session import Request

    requests = [
        Request(text, seed + number, negative, guidance, steps, width_px, height_px, clip_skip)
        for text in prompt
        for number in range(count)
    ]
    generator = _open_generator(base, adapters)
    requests = [generator.complete(request) for request in requests]
    with messages.status("Drawing") as status:
        for first in range(0, len(requests), BATCH_SIZE):
            status.update(f"Drawing {first + 1} of {len(requests)}")
            batch = requests[first : first + BATCH_SIZE]
            pictures = generator.generate(batch, batch_size=BATCH_SIZE)
            for request, picture in zip(batch, pictures, strict=True):
                path = save_picture(picture, out, request)
                if json:
                    print_json({"path": path, "prompt": request.prompt, "seed": request.seed})
    if not json:
        messages.print(f"{len(requests)} pictures in {out}")


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


def save_picture(picture: Image.Image, folder: Path, request: Request) -> Path:
    """Write a PNG, whole or not at all, under the next free number; its text tells how it came."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_itxt("prompt", request.prompt)
    text.add_itxt("negative_prompt", request.negative_prompt)
    text.add_text("seed", str(request.seed))
    text.add_text("steps", str(request.steps))
    text.add_text("guidance", str(request.guidance))
    text.add_text("clip_skip", str(request.clip_skip))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name[:5]) for path in folder.glob("[0-9]" * 5 + "-*.png")]
        path = folder / f"{max(taken, default=0) + 1:05d}-seed{request.seed}.png"
        part = path.with_suffix(".part")
        try:
            picture.save(part, "PNG", pnginfo=text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"Nothing can be written to {folder} ({error.strerror})") from error
    return path


def _open_generator(base: str, adapters: list[tuple[Path, float]]) -> Generator:
    from loraloom.generate.session import Generator

    with messages.status("Loading the base model"):
        generator = Generator(base)
        scales = {}
        for number, (file, scale) in enumerate(adapters):
            name = f"adapter{number}"
            generator.load_adapter(file, name)
            scales[name] = scale
        if scales:
            generator.set_scales(scales)
    return generator
