"""The parts of a base model, and loading them: once for all families.

A diffusers folder says in its model_index.json which class each part is of. Only a class that the
family names is used, from the library that the family names; no code of the folder is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from loraloom.errors import BaseUnknown

if TYPE_CHECKING:
    import torch

PartName = Literal[
    "denoiser", "denoiser_2", "text_encoder", "text_encoder_2", "text_encoder_3",
    "tokenizer", "tokenizer_2", "tokenizer_3", "vae", "scheduler",
]  # fmt: skip
ALL_PARTS: tuple[PartName, ...] = get_args(PartName)


@dataclass(frozen=True)
class Part:
    """Where one part of a family's bases lies, and what it may be."""

    folder: str
    """Its folder in a diffusers folder; the name in adapter files and pipelines too."""
    classes: tuple[str, ...]
    """Classes that it may be of, with the module to import them from; () for a scheduler, whose
    class its own config names."""
    always_float32: bool = False
    """Whether lower precision gives wrong results."""
    component: str = ""
    """Its name in adapter files, where that is not its folder's."""
    loaded_as: str = ""
    """Class that takes from the folder what the family needs of it, where that is not all."""

    def accepts(self, index: Mapping[str, object]) -> str | None:
        """The class that a model_index.json states for the part, if it may be of that class."""
        entry = index.get(self.folder)
        stated = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        return next((name for name in self.classes if name.rpartition(".")[2] == stated), None)


SCHEDULER = Part("scheduler", ())


@dataclass
class Parts:
    """A loaded base. A part that was not asked for, was freed, or that the family has none of, is
    None (typed loosely: the libraries ship no types)."""

    denoiser: Any = None
    denoiser_2: Any = None
    text_encoder: Any = None
    text_encoder_2: Any = None
    text_encoder_3: Any = None
    tokenizer: Any = None
    tokenizer_2: Any = None
    tokenizer_3: Any = None
    vae: Any = None
    scheduler: Any = None
    options: Mapping[str, object] = field(default_factory=dict)
    """What model_index.json says beside the parts, such as `force_zeros_for_empty_prompt`."""

    def take(self, others: Parts) -> None:
        """Fill what is missing here with what the others have."""
        for part in fields(self):
            if not getattr(self, part.name):
                setattr(self, part.name, getattr(others, part.name))


def has_weights(name: PartName) -> bool:
    """Whether a part is a network."""
    return not name.startswith(("tokenizer", "scheduler"))


def text_parts(names: Collection[PartName]) -> tuple[PartName, ...]:
    """Those that texts are encoded with, text encoders first."""
    return tuple(p for p in ALL_PARTS if p in names and p.startswith(("text_", "tokenizer")))


def load_parts(
    parts: Mapping[PartName, Part],
    base: Path,
    *,
    only: Collection[PartName] | None = None,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> Parts:
    """Load parts from a diffusers folder, in eval mode without gradients. Raises BaseUnknown."""
    import torch
    from safetensors import SafetensorError

    wanted = [name for name in parts if only is None or name in only]
    for name in wanted:
        part_folder(base, parts[name])
    index = read_model_index(base)
    loaded = Parts(options=dict(_options(index)))
    transformers: Any = import_module("transformers")
    # transformers draws a bar for every load, even of a file of a few kB.
    transformers.utils.logging.disable_progress_bar()
    try:
        for name in wanted:
            exact = dtype is None or parts[name].always_float32
            module = _load(parts[name], base, index, torch.float32 if exact else dtype)
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval().to(device)
            setattr(loaded, name, module)
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseUnknown(f"The base {base} cannot be loaded: {error}") from error
    return loaded


def part_folder(base: Path, part: Part) -> Path:
    """Where a part lies. Raises BaseUnknown where it is missing."""
    folder = base / part.folder
    if not folder.is_dir():
        raise BaseUnknown(
            f"The base {base} has no folder {folder.name!r}: it is not complete. Download it again."
        )
    return folder


def read_model_index(base: Path) -> dict[str, object]:
    """The folder's model_index.json. Raises BaseUnknown where there is none that can be read."""
    path = base / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseUnknown(
            f"{base} is not a diffusers folder: its model_index.json cannot be read."
        ) from error
    if not isinstance(index, dict):
        raise BaseUnknown(f"{path} should hold a JSON object.")
    return index


def read_config(base: Path, folder: str, name: str = "config.json") -> dict[str, Any]:
    """A part's config; empty where there is none that can be read."""
    try:
        config = json.loads((base / folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def import_class(name: str) -> Any:
    """The class of a full name such as "diffusers.AutoencoderKL"."""
    module, _, cls = name.rpartition(".")
    return getattr(import_module(module), cls)


def _load(part: Part, base: Path, index: Mapping[str, object], dtype: torch.dtype | None) -> Any:
    if not part.classes:
        return _load_scheduler(base / part.folder)
    name = part.accepts(index)
    if name is None:
        allowed = " or ".join(cls.rpartition(".")[2] for cls in part.classes)
        raise BaseUnknown(
            f"The {part.folder} of {base} is {index.get(part.folder)!r}, and {allowed} is expected."
        )
    cls, folder = import_class(part.loaded_as or name), base / part.folder
    if not hasattr(cls, "forward"):  # a tokenizer
        careful = {"trust_remote_code": False} if part.loaded_as else {}
        return cls.from_pretrained(folder, local_files_only=True, **careful)
    own = issubclass(cls, import_class("diffusers.ModelMixin"))
    given = {"torch_dtype" if own else "dtype": dtype, **_variant(folder)}
    return cls.from_pretrained(folder, local_files_only=True, **given)


def _variant(folder: Path) -> dict[str, str]:
    """`variant` where the folder has weights of one kind only, as "x.fp16.safetensors"."""
    kinds = {path.name.split(".")[1].partition("-")[0] for path in folder.glob("*.*.safetensors")}
    plain = any(path.name.count(".") == 1 for path in folder.glob("*.safetensors"))
    return {} if plain or len(kinds) != 1 else {"variant": kinds.pop()}


def _load_scheduler(folder: Path) -> Any:
    """The scheduler class that the base's own config names."""
    diffusers: Any = import_module("diffusers")
    config = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
    name = config.get("_class_name", "")
    if not name.endswith("Scheduler") or not hasattr(diffusers, name):
        raise BaseUnknown(f"{folder} names no scheduler that diffusers has: {name!r}.")
    return getattr(diffusers, name).from_config(config)


def _options(index: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in index.items():
        if not key.startswith("_") and not isinstance(value, list):
            yield key, value
