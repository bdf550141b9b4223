"""Which tagger a name means: one that is shipped, a folder, or a repository of the hub."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Literal

from loraloom.captions.auto import defaults
from loraloom.captions.auto.answer import Captioner
from loraloom.errors import TaggerUnknown
from loraloom.hub import client_errors
from loraloom.settings import STARTER

Task = Literal["concise", "standard", "detailed"]
NETWORK, LABELS = "model.onnx", "selected_tags.csv"
TELLING = (LABELS, "config.json")
"""Small files that tell what a repository is."""
FLORENCE_FILES = ("*.json", "*.safetensors", "*.txt")


def open_tagger(folder: Path, name: str) -> Captioner:
    """The WD14-type tagger in a folder. Raises TaggerUnusable."""
    from loraloom.captions.auto.wd14 import Wd14

    return Wd14(folder, name)


def open_florence(folder: Path, task: Task, name: str) -> Captioner:
    """The Florence-2 in a folder, with this task. Raises TaggerUnusable."""
    from loraloom.captions.auto.florence import Florence2

    return Florence2(folder, task, name)


def find_tagger(name: str) -> Path:
    """The folder of a tagger; one of the hub is fetched unless it is there already.

    Raises TaggerUnknown.
    """
    if name == STARTER:
        return Path(str(files("loraloom") / "starter" / "tagger"))
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not _is_whole(folder):
            raise TaggerUnknown(
                f"{folder} holds no tagger: expected {NETWORK} and {LABELS}, or the config.json "
                "and safetensors of a Florence-2."
            )
        return folder
    hub_id = defaults.models().get(name, name)
    if hub_id.count("/") != 1 or hub_id.startswith(("/", ".", "~")):
        known = ", ".join((STARTER, *defaults.models()))
        raise TaggerUnknown(
            f"There is no tagger {name!r}, neither by name nor as a folder. Known: {known}; or a "
            "repository of the hub, such as SmilingWolf/wd-vit-tagger-v3."
        )
    return _from_hub(hub_id)


def is_tagger(folder: Path) -> bool:
    """Whether the folder holds a WD14-type tagger."""
    return (folder / NETWORK).is_file() and (folder / LABELS).is_file()


def read_config(folder: Path) -> dict[str, object]:
    """What a model's config.json says; nothing where there is none."""
    try:
        tree = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def is_here(name: str) -> bool:
    """Whether the tagger can be opened without the hub, or not at all."""
    from huggingface_hub.errors import HFValidationError

    if name == STARTER or Path(name).expanduser().is_dir():
        return True
    try:
        return _cached(defaults.models().get(name, name)) is not None
    except HFValidationError:
        return True


def _from_hub(hub_id: str) -> Path:
    """The repository's files, from the local cache where they are; nothing of it is run."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    refusals: tuple[type[Exception], ...] = (HfHubHTTPError, OSError, *client_errors())
    try:
        if cached := _cached(hub_id):
            return cached
        folder = Path(snapshot_download(hub_id, allow_patterns=list(TELLING)))
        wanted = [NETWORK, LABELS] if (folder / LABELS).is_file() else list(FLORENCE_FILES)
        if LABELS in wanted or _is_florence(folder):
            folder = Path(snapshot_download(hub_id, allow_patterns=wanted))
    except HFValidationError as error:
        raise TaggerUnknown(f"{hub_id!r} cannot be a repository of the hub ({error}).") from error
    except refusals as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise TaggerUnknown(
            f"{hub_id} could not be fetched from the hub ({reason}). Check the name and the "
            f"connection, or name a folder that holds its {NETWORK} and {LABELS}."
        ) from error
    if not _is_whole(folder):
        raise TaggerUnknown(
            f"{hub_id} is no tagger: it holds neither {NETWORK} with {LABELS}, nor a Florence-2 "
            "as safetensors."
        )
    return folder


def _cached(hub_id: str) -> Path | None:
    """Where the hub's client keeps the repository, when all that is needed is there."""
    from huggingface_hub import try_to_load_from_cache

    known = (try_to_load_from_cache(hub_id, name) for name in TELLING)
    folders = (Path(path).parent for path in known if isinstance(path, str))
    return next(filter(_is_whole, folders), None)


def _is_whole(folder: Path) -> bool:
    return is_tagger(folder) or (_is_florence(folder) and any(folder.glob("*.safetensors")))


def _is_florence(folder: Path) -> bool:
    return read_config(folder).get("model_type") == "florence2"
