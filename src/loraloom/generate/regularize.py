"""Class pictures in a folder: what the base draws of the subject's class, to train beside it.

Ruiz et al. 2022 (DreamBooth, arXiv:2208.12242), section 3.3, in numbers of document 003: one to
five for each training picture, of a general prompt ("a woman"), for characters and objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loraloom import families, kinds
from loraloom.dataset import images, reference
from loraloom.dataset.buckets import Bucket, choose_bucket
from loraloom.dataset.readiness.listing import list_pictures
from loraloom.errors import ClassPicturesUnneeded, ConfigInvalid, FolderEmpty, OutputExists
from loraloom.files import write_atomic, write_png
from loraloom.generate.session import Generator, Request, batches
from loraloom.kinds import Kind
from loraloom.settings import resolve_base
from loraloom.train.recipe import class_words

MOST_TIMES = 5
RECORD = "class-pictures.json"
AT_ONCE = 8
VOWELS = tuple("aeiouAEIOU")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Order:
    """What is to be drawn. Picture number n has the n-th size, round and round, and seed + n."""

    base: str
    prompt: str
    count: int
    sizes: tuple[Bucket, ...]
    seed: int = 0
    steps: int = 20
    guidance: float = 5.0


@dataclass(frozen=True)
class Drawn:
    """What a run left in the folder."""

    folder: Path
    prompt: str
    count: int
    new: int


def order(
    source: str | Path,
    base: str,
    kind: Kind,
    *,
    trigger: str = "",
    class_prompt: str = "",
    count: int | None = None,
    times: int | None = None,
    resolution_px: int | None = None,
    seed: int = 0,
    steps: int = 20,
    guidance: float = 5.0,
    anyway: bool = False,
) -> Order:
    """Class pictures for the set `source`: a folder, NAME or NAME@SNAPSHOT.

    `count` pictures, or `times` as many as the set has; by default as many as the kind wants.
    Raises ClassPicturesUnneeded (for a kind that wants none, without `anyway`), ConfigInvalid
    (more than five for each picture), BaseUnknown, and what is wrong with the set.
    """
    wanted = kinds.info(kind).prior_per_image
    if not wanted and not anyway:
        raise ClassPicturesUnneeded(
            f"A {kind} seldom needs class pictures: they keep the words for a subject from "
            f"drifting, and a {kind} has no such subject. Add --anyway to draw them all the same."
        )
    profile = families.detect(base).profile(resolve_base(base))
    sizes = _sizes(source)
    most = MOST_TIMES * len(sizes)
    number = count if count is not None else (times or wanted or 1) * len(sizes)
    if number > most:
        raise ConfigInvalid(
            f"{number} class pictures are too many for {len(sizes)} pictures: at most "
            f"{MOST_TIMES} for each, {most} in all. Lower --count or --times."
        )
    words = class_words(trigger or _trigger(source), kind, profile)
    buckets = [
        choose_bucket(
            *size,
            resolution_px=resolution_px or profile.native_px,
            multiple=profile.size_multiple_px,
            max_aspect=profile.max_aspect,
        )
        for size in sizes
    ]
    prompt = class_prompt.strip() or with_article(words)
    return Order(base, prompt, number, tuple(buckets), seed, steps, guidance)


def draw(wanted: Order, folder: Path, progress: Progress | None = None) -> Drawn:
    """Draw into `folder` what is missing there: NNNN.png, and its prompt in NNNN.txt.

    RECORD beside them tells the base, the prompt, and the seed and size of each. Killed, the same
    order goes on; a higher count adds. Raises OutputExists where the folder holds something else,
    BaseUnknown, DiskFull, OutputUnwritable.
    """
    requests = _claim(wanted, folder)
    missing = [name for name in requests if not _is_there(folder, name)]
    if missing:
        generator = Generator(wanted.base)
        done = len(requests) - len(missing)
        sizes = [(requests[name].width_px, requests[name].height_px) for name in missing]
        for places in batches(sizes, AT_ONCE):
            batch = [missing[place] for place in places]
            pictures = generator.generate([requests[name] for name in batch], AT_ONCE)
            for name, picture in zip(batch, pictures, strict=True):
                write_png(folder / f"{name}.png", picture, durable=True)
                write_atomic(folder / f"{name}.txt", f"{wanted.prompt}\n".encode())
            done += len(batch)
            if progress:
                progress("Class pictures", done, len(requests))
    return Drawn(folder, wanted.prompt, len(requests), len(missing))


def with_article(words: str) -> str:
    """ "woman" -> "a woman"; as it is where it has one, or is Chinese."""
    if re.match(r"(?:an?|the)\s", words, re.IGNORECASE) or not words.isascii():
        return words
    return f"{'an' if words.startswith(VOWELS) else 'a'} {words}"


def _sizes(source: str | Path) -> list[tuple[int, int]]:
    """Width and height of every picture of the set, as it is used."""
    if reference.is_stored(source):
        pictures = reference.open_contents(source)[1].pictures
        found = [
            picture.crop[2:] if picture.crop else (picture.width_px, picture.height_px)
            for picture in pictures
            if not picture.is_clip
        ]
    else:
        found = [images.open_rgb(picture.path).size for picture in list_pictures(Path(source))]
    if not found:
        raise FolderEmpty(f"{source} holds no picture; class pictures are drawn in their sizes.")
    return found


def _trigger(source: str | Path) -> str:
    """That of a stored set's only concept."""
    if not reference.is_stored(source):
        return ""
    concepts = reference.open_contents(source)[1].concepts
    return concepts[0].trigger if len(concepts) == 1 else ""


def _claim(wanted: Order, folder: Path) -> dict[str, Request]:
    """Write the record, and return what each picture is drawn by.

    Refuses a folder with other things in it, or with pictures that were drawn otherwise.
    """
    path, how = folder / RECORD, _how(wanted)
    told: dict[str, Mapping[str, int]] = {}
    if path.is_file():
        told = _told_before(path, how)
    elif folder.is_dir() and any(folder.iterdir()):
        raise OutputExists(
            f"{folder} is not empty, and what it holds was not drawn here. Choose another --out."
        )
    for number in range(wanted.count):
        size = wanted.sizes[number % len(wanted.sizes)]
        entry = {"seed": wanted.seed + number, "width_px": size.width_px}
        told.setdefault(f"{number:04d}", {**entry, "height_px": size.height_px})
    record = {**how, "pictures": told}
    write_atomic(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    return {name: _request(wanted, entry) for name, entry in told.items()}


def _told_before(path: Path, how: Mapping[str, object]) -> dict[str, Mapping[str, int]]:
    """The pictures of an earlier record. Raises OutputExists where they were drawn otherwise."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name in how if before[name] != how[name]]
        pictures: dict[str, Mapping[str, int]] = before["pictures"]
        for entry in pictures.values():
            _ = entry["seed"], entry["width_px"], entry["height_px"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputExists(
            f"{path} cannot be read; choose another --out, or remove the folder."
        ) from error
    if changed:
        told = ", ".join(f"{name} {before[name]!r}" for name in changed)
        raise OutputExists(
            f"{path.parent} holds class pictures that were drawn otherwise ({told}). Choose "
            "another --out, or remove the folder."
        )
    return pictures


def _how(wanted: Order) -> dict[str, object]:
    """What decides every picture, as the record has it."""
    base = resolve_base(wanted.base)
    return {
        "prompt": wanted.prompt,
        "base": wanted.base,
        "base_sha256": families.detect(base).fingerprint(base, "denoiser"),
        "first_seed": wanted.seed,
        "steps": wanted.steps,
        "guidance": wanted.guidance,
    }


def _request(wanted: Order, entry: Mapping[str, int]) -> Request:
    return Request(
        wanted.prompt,
        entry["seed"],
        guidance=wanted.guidance,
        steps=wanted.steps,
        width_px=entry["width_px"],
        height_px=entry["height_px"],
    )


def _is_there(folder: Path, name: str) -> bool:
    return all((folder / f"{name}{end}").is_file() for end in (".png", ".txt"))
