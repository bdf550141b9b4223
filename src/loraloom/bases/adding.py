"""Taking in a base from wherever it is; as a process of its own too, for a studio.

python -m loraloom.bases.adding   # the wish as a line of JSON on standard input
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from loraloom import hub
from loraloom.bases import fetching, place
from loraloom.bases.fetching import Progress
from loraloom.dataset.lock import locked
from loraloom.errors import BaseUnknown, ConfigInvalid, LoraloomError
from loraloom.families import checkpoint
from loraloom.files import expanded, kind_at

_TELL_S = 0.3


class Wish(BaseModel):
    """What base is to be added."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field(min_length=1, max_length=1000)
    """OWNER/NAME on the hub, or the path of a diffusers folder or a .safetensors checkpoint."""
    name: str | None = Field(default=None, max_length=100)
    """What to call it; none: as the source is called."""
    revision: str | None = Field(default=None, max_length=200)
    """Branch, tag or commit on the hub; none: main."""
    prediction: Literal["epsilon", "v_prediction"] | None = None
    """What the model predicts, for a checkpoint file that does not tell."""


def add(wish: Wish, progress: Progress = lambda done, total: None) -> tuple[str, str]:
    """The name of the new base, and what it is. Raises what each way raises.

    What is there on the disk goes before a repository of the same name.
    """
    path = expanded(wish.source)
    kind = kind_of(wish)
    if kind == "folder":
        folder, info = place.link(path, wish.name)
        return folder.name, f"{info.title}, linked to {folder.readlink()}"
    if kind == "file":
        folder = place.free_folder(wish.name or path.stem)
        with locked(folder.with_name(".partial") / f"{folder.name}.lock", folder.name, wait_s=0):
            info = checkpoint.unpack(path, folder, wish.prediction)
        return folder.name, f"{info.title}, in {folder}"
    got = fetching.fetch(wish.source, wish.name, wish.revision, progress)
    only = f"; there are only {' and '.join(got.variants)} weights" if got.variants else ""
    return got.folder.name, f"{got.info.title}, in {got.folder}{only}"


def kind_of(wish: Wish) -> Literal["folder", "file", "hub"]:
    """Where it comes from. Raises BaseUnknown, ConfigInvalid."""
    path = expanded(wish.source)
    there = kind_at(path)
    on_hub = not there and hub.is_hub_id(wish.source)
    is_file = there == "file" or path.suffix in (".safetensors", ".ckpt")
    if wish.revision and not on_hub:
        raise ConfigInvalid("A revision is for a model of the hub, and this is a path.")
    if wish.prediction and not is_file:
        raise ConfigInvalid("A prediction is for single checkpoint files; a folder tells its own.")
    if there == "folder":
        return "folder"
    if is_file:
        return "file"
    if on_hub:
        return "hub"
    raise BaseUnknown(
        f"{wish.source!r} is neither a folder nor a file that can be looked at here, nor a model "
        "of the hub: those are called OWNER/NAME."
    )


def main() -> None:
    """Add, and tell how far it is, line by line as JSON; the last has "end"."""
    signal.signal(signal.SIGTERM, _stop)
    wish = Wish.model_validate_json(sys.stdin.readline())
    told_s = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told_s
        if done == total or time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            _tell(done=done, total=total)

    try:
        name, _ = add(wish, progress)
        _tell(end=True, name=name)
    except LoraloomError as error:
        _tell(end=True, message=str(error))


def _tell(**told: object) -> None:
    print(json.dumps(told), flush=True)


def _stop(number: int, frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
