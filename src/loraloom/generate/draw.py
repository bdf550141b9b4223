"""Drawing an order: the pictures that are not there yet, told as events, then its sheet."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable, MemoryExhausted
from loraloom.files import telling_failures, write_atomic, write_png
from loraloom.generate import order as orders
from loraloom.generate.order import Order, Wanted
from loraloom.generate.output import made_by, request_facts
from loraloom.generate.session import Generator, Request
from loraloom.generate.sheet import sheet
from loraloom.settings import resolve_base
from loraloom.train import machine
from loraloom.train.precision import choose_device, choose_dtype
from loraloom.train.stop import StopRequest

TOGETHER_PX = 1024 * 1024
"""Pictures of one call have so many pixels in all, or it is one picture."""
MOST_TOGETHER = 8
TELL_S = 0.5
"""Between events of denoising steps."""


Tell = Callable[[Mapping[str, Any]], None]


class Loader:
    """Loads what an order needs, or finds it loaded where it is what the last one needed."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._generator: Generator | None = None

    def open(self, order: Order, device: str) -> Generator:
        """The base with the order's adapters, which are named by their numbers in it.

        Raises what the base and the adapters raise.
        """
        files = (resolve_base(order.base), *order.adapters)
        key = (order.base, order.precision, device, *map(_signature, files))
        if self._generator is None or key != self._key:
            self._generator = None
            gc.collect()  # now, as there may not be room for both
            generator = Generator(
                order.base, dtype=choose_dtype(order.precision, device), device=device
            )
            for number, path in enumerate(order.adapters):
                _load(
                    generator, path, str(number), order.names[number] if order.names else str(path)
                )
            self._generator, self._key = generator, key
        return self._generator


def _signature(path: Path) -> Hashable:
    """Other than before where a file, or one in the folder, has been replaced."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    facts = [(str(one), one.stat()) for one in found if one.is_file()]
    return path, *((name, of.st_ino, of.st_size, of.st_mtime_ns) for name, of in facts)


def draw(
    order: Order, out: Path, stop: StopRequest, tell: Tell, loader: Loader | None = None
) -> bool:
    """Tell "started", "step", "picture" and "finished"; whether it came to that.

    Pictures that are there are kept; steps are denoising steps, of all pictures. Ends early, with
    "finished" where the request is to end, without where it is to stop. Raises what the base, the
    adapters and the disk raise, and MemoryExhausted.
    """
    with telling_failures(out):
        (out / "small").mkdir(parents=True, exist_ok=True)
    device = choose_device()
    generator = (loader or Loader()).open(order, device)
    requests = [generator.complete(_request(wanted)) for wanted in order.pictures]
    whole = {number: asdict(request) for number, request in enumerate(requests)}
    write_atomic(orders.facts_file(out), json.dumps(whole).encode(), durable=False)
    missing = [n for n in range(len(requests)) if not orders.picture_file(out, n).exists()]
    steps = sum(request.steps or 0 for request in requests)
    progress = _Progress(tell, steps - sum(requests[number].steps or 0 for number in missing))
    tell({"event": "started", "steps": steps, "pictures": len(requests), "device": device})
    for batch in _batches(order, requests, missing):
        if stop.asked or stop.ending:
            break
        if order.adapters:
            scales = order.pictures[batch[0]].scales
            generator.set_scales({str(n): scale for n, scale in enumerate(scales)})
        with _telling_exhaustion(device):
            images = generator.film([requests[n] for n in batch], len(batch), progress.add)
        for number, frames in zip(batch, images, strict=True):
            _keep(order, out, number, requests[number], frames[0])
            tell({"event": "picture", "number": number, "seed": requests[number].seed})
        progress.told()
    if stop.asked:
        return False
    if order.grid:
        _write_sheet(order, out)
    tell({"event": "finished", "step": progress.taken})
    return True


def _load(generator: Generator, path: Path, name: str, shown: str) -> None:
    """What is wrong with a file is told by what people call it."""
    try:
        generator.load_adapter(path, name)
    except (AdapterUnreadable, AdapterKeysUnknown) as error:
        raise type(error)(str(error).replace(str(path), shown)) from None


class _Progress:
    """Tells how many denoising steps were taken, now and then."""

    def __init__(self, tell: Tell, taken: int) -> None:
        self.taken = taken
        self._tell = tell
        self._since = time.monotonic()

    def add(self, count: int) -> None:
        self.taken += count
        if time.monotonic() - self._since >= TELL_S:
            self.told()

    def told(self) -> None:
        self._tell({"event": "step", "step": self.taken})
        self._since = time.monotonic()


def _request(wanted: Wanted) -> Request:
    return Request(
        wanted.prompt, wanted.seed, wanted.negative, wanted.guidance, wanted.steps,
        wanted.width_px, wanted.height_px, wanted.clip_skip,
    )  # fmt: skip


def _batches(order: Order, requests: Sequence[Request], left: Sequence[int]) -> Iterator[list[int]]:
    """Neighbours that one call can draw: of the same scales, size, steps and guidance."""
    batch: list[int] = []
    for number in left:
        if batch and not _together(order, requests, [*batch, number]):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _together(order: Order, requests: Sequence[Request], batch: Sequence[int]) -> bool:
    kinds = {
        (order.pictures[n].scales, r.width_px, r.height_px, r.steps, r.guidance)
        for n in batch
        for r in (requests[n],)
    }
    first = requests[batch[0]]
    pixels = (first.width_px or 1) * (first.height_px or 1) * len(batch)
    return len(kinds) == 1 and len(batch) <= MOST_TOGETHER and pixels <= TOGETHER_PX


@contextmanager
def _telling_exhaustion(device: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not machine.is_exhausted(error):
            raise
        raise MemoryExhausted(
            f"The memory of {machine.title(device)} was used up. Draw smaller pictures, or use "
            "fewer adapters at once."
        ) from error


def _keep(order: Order, out: Path, number: int, request: Request, image: Image.Image) -> None:
    """The small copy first: where the picture is, all is."""
    small = image.copy()
    small.thumbnail((orders.SMALL_PX, orders.SMALL_PX))
    with telling_failures(out):
        small.convert("RGB").save(orders.small_file(out, number), "WEBP", quality=85)
    names = order.names or [path.name for path in order.adapters]
    scales = zip(names, order.pictures[number].scales, strict=True)
    adapters = [{"file": name, "scale": scale} for name, scale in scales if scale]
    texts = {**request_facts(request), **made_by(Path(order.base).name, adapters)}
    write_png(orders.picture_file(out, number), image, texts=texts)


def _write_sheet(order: Order, out: Path) -> None:
    assert order.grid
    columns = len(order.grid.columns)
    images = []
    for number in range(len(order.pictures)):
        path = orders.picture_file(out, number)
        if not path.exists():
            return
        with Image.open(path) as opened:
            images.append(opened.convert("RGB"))
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    page = sheet(rows, order.grid.rows, order.grid.columns, order.grid.title)
    write_png(out / orders.SHEET, page, texts=made_by(Path(order.base).name, []))
