"""A base's own weights by module, read from its safetensors files only as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from loraloom import families
from loraloom.adapters.state import canonical
from loraloom.errors import BaseUnknown
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import Part, part_folder
from loraloom.settings import resolve_base

_END = ".weight"


@dataclass(frozen=True)
class BaseWeights:
    """Those that an adapter can be on: of the denoiser, and of text encoders that are trained."""

    base: Path
    info: FamilyInfo
    shapes: dict[str, dict[str, tuple[int, ...]]]
    """Component ("unet") -> module path -> shape."""
    _places: dict[tuple[str, str], tuple[Path, str]]

    def weight(self, component: str, path: str) -> Tensor:
        """(out, in, …), float32."""
        file, name = self._places[component, path]
        with safe_open(file, "pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor.float()


def open_base(source: str | Path) -> BaseWeights:
    """The weights of a base given by name or folder. Raises BaseUnknown."""
    base, info = resolve_base(source), families.detect(source).info
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    places: dict[tuple[str, str], tuple[Path, str]] = {}
    for name in info.adapted:
        part = info.parts[name]
        for file in _files(base, part):
            for tensor, shape in _header(file).items():
                path = canonical(tensor.removesuffix(_END))
                if tensor.endswith(_END) and len(shape) > 1:
                    shapes.setdefault(part.folder, {}).setdefault(path, shape)
                    places.setdefault((part.folder, path), (file, tensor))
    return BaseWeights(base, info, shapes, places)


def _files(base: Path, part: Part) -> list[Path]:
    """A part's files; those of a variant ("x.fp16.safetensors") where there are no others."""
    found = sorted(part_folder(base, part).glob("*.safetensors"))
    plain = [path for path in found if path.name.count(".") == 1]
    if not found:
        raise BaseUnknown(
            f"{base / part.folder} holds no .safetensors file, from which alone weights are read."
        )
    return plain or found


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            return {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise BaseUnknown(f"{file} cannot be read: {error}. Download it again.") from error
