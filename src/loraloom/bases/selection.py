"""Which files of a repository a base needs, and which of them are the same weights once more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loraloom.errors import BaseUnknown
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import has_weights
from loraloom.hub import RemoteFile, Repository

INDEX = "model_index.json"
_SMALL = (".json", ".txt", ".model", ".jinja")
"""Endings of configurations and tokenizers."""
_WEIGHTS = ".safetensors"
_HEAVY = (_WEIGHTS, ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx")
_PREFERRED = ("", "bf16", "fp16")
"""Variants of weights; "" is the plain one."""


@dataclass(frozen=True)
class Selection:
    """What is fetched."""

    files: tuple[RemoteFile, ...]
    variants: Mapping[str, str]
    """Folder -> the variant of its weights, where there are no plain ones."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(file.size_bytes for file in self.files)


def index_of(repository: Repository) -> RemoteFile:
    """Its model_index.json. Raises BaseUnknown where it has none."""
    found = next((file for file in repository.files if file.path == INDEX), None)
    if found is not None:
        return found
    single = [f.path for f in repository.files if f.path.endswith(_WEIGHTS) and "/" not in f.path]
    if single:
        raise BaseUnknown(
            f"{repository.hub_id} is no diffusers folder: it has no {INDEX}, but single files, "
            f"such as {single[0]}. Download one, then add it by its path."
        )
    raise BaseUnknown(
        f"{repository.hub_id} is no diffusers folder: it has no {INDEX}. Choose a repository that "
        "has one; its name often ends in -diffusers."
    )


def select(repository: Repository, info: FamilyInfo, index: Mapping[str, object]) -> Selection:
    """What a base of the family needs: no pickles, no weights twice.

    Raises BaseUnknown where a part is missing, or there only as a pickle.
    """
    files = [index_of(repository), *_licences(repository)]
    variants: dict[str, str] = {}
    parts = {part.folder: name for name, part in info.parts.items()}
    for folder, part in sorted(parts.items()):
        inside = _inside(repository, folder)
        weights = _weights(repository.hub_id, folder, inside)
        if not weights and has_weights(part):
            raise BaseUnknown(
                f"{repository.hub_id} has no weights of its {folder}: it is not complete. Choose "
                "another repository of this model."
            )
        chosen, variants[folder] = _once(weights)
        files += [*_small(inside, chosen, variants[folder]), *chosen]
    listed = [name for name, entry in index.items() if isinstance(entry, list)]
    for folder in sorted(name for name in listed if re.fullmatch(r"\w+", name)):
        inside = _inside(repository, folder)  # such as a guider, which tells what it is made for
        if folder not in parts and not any(f.path.endswith(_HEAVY) for f in inside):
            files += _small(inside, [], "")
    return Selection(tuple(files), {folder: kind for folder, kind in variants.items() if kind})


def is_weights(file: RemoteFile) -> bool:
    """Whether it is one of the large files."""
    return file.path.endswith(_WEIGHTS)


def _inside(repository: Repository, folder: str) -> list[RemoteFile]:
    return [file for file in repository.files if file.path.rpartition("/")[0] == folder]


def _licences(repository: Repository) -> list[RemoteFile]:
    """The terms, which a copy has to bring."""
    names = ("license", "licence", "notice")
    return [f for f in repository.files if "/" not in f.path and f.path.lower().startswith(names)]


def _weights(hub_id: str, folder: str, inside: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Those of a part; none of a tokenizer. Raises BaseUnknown."""
    if not inside:
        raise BaseUnknown(
            f"{hub_id} has no folder {folder!r}: it is not complete. Choose another repository of "
            "this model."
        )
    weights = [file for file in inside if is_weights(file)]
    pickle = next((file.path for file in inside if file.path.endswith(_HEAVY)), "")
    if pickle and not weights:
        raise BaseUnknown(
            f"{hub_id} has no .safetensors of its {folder}, only files such as {pickle}, which are "
            "not read: pickles can run code. Choose another repository of this model."
        )
    return weights


def _once(weights: Sequence[RemoteFile]) -> tuple[list[RemoteFile], str]:
    """The plain variant, or else one that there is; a file that is there whole without its
    pieces."""
    kinds = {_variant(file) for file in weights}
    variant = next((kind for kind in _PREFERRED if kind in kinds), min(kinds, default=""))
    chosen = [file for file in weights if _variant(file) == variant]
    whole = [file for file in chosen if "-of-" not in file.path]
    return whole or chosen, variant


def _variant(file: RemoteFile) -> str:
    """ "fp16" of "model.fp16-00001-of-00002.safetensors"; "" of a plain one."""
    name = file.path.rpartition("/")[2].removesuffix(_WEIGHTS)
    return name.partition(".")[2].partition("-")[0]


def _small(
    inside: Sequence[RemoteFile], chosen: Sequence[RemoteFile], variant: str
) -> list[RemoteFile]:
    """Configurations and tokenizers, and of the lists of pieces the one of the chosen weights."""
    in_pieces = any("-of-" in file.path for file in chosen)
    own = f"{_WEIGHTS}.index.{variant}.json" if variant else f"{_WEIGHTS}.index.json"
    return [
        file
        for file in inside
        if file.path.endswith(_SMALL)
        and (".index." not in file.path or (in_pieces and file.path.endswith(own)))
    ]
