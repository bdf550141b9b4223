"""Does an adapter file fit a base model? Asked before a run is called done, and before loading."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from loraloom.adapters import joined
from loraloom.adapters.file import read, tensor_names
from loraloom.adapters.keys import ModuleNames, place
from loraloom.adapters.state import canonical, each
from loraloom.errors import AdapterKeysUnknown
from loraloom.families.info import Joined

ModuleShapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Component ("unet", "text_encoder") -> module path -> shape of its weight."""


def weight_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Module path -> (out, in) of each linear layer, (out, in, kh, kw) of each convolution."""
    weights = {path: getattr(m, "weight", None) for path, m in model.named_modules()}
    return {path: tuple(w.shape) for path, w in weights.items() if w is not None and w.ndim > 1}


def check_keys(path: Path, base: ModuleShapes) -> None:
    """Every tensor of the file must name a module of the base and have its widths.

    Raises AdapterKeysUnknown with how much fits and what does not, AdapterUnreadable if the file
    is broken.
    """
    names = tensor_names(path)
    known = {part: {canonical(name): s for name, s in of.items()} for part, of in base.items()}
    unknown = [name for name in names if not _fits(name, known)]
    if unknown:
        raise AdapterKeysUnknown(
            f"{path} does not fit this base model: {len(names) - len(unknown)} of its "
            f"{len(names)} tensors name a module of the base. Use the base that the adapter was "
            f"made for. Keys that nothing would read:\n  {_some(sorted(unknown))}"
        )
    misfits = _misfits(path, known)
    if misfits:
        raise AdapterKeysUnknown(
            f"{path} does not fit this base model: the names of its modules do, but the widths of "
            f"{len(misfits)} do not. Use the base that the adapter was made for. "
            f"Widths that differ:\n  {_some(misfits)}"
        )


def _fits(name: str, known: ModuleNames) -> bool:
    where = place(name, known)
    if where is None:
        return False
    modules = known.get(where.component, ())
    choices = joined.choices(where.module) or [(Joined(where.module),)]
    return any(all(part.path in modules for part in own) for own in choices)


def _misfits(path: Path, known: ModuleShapes) -> list[str]:
    found = []
    for component, module, weights in each(read(path, known)[0]):
        wanted = known[component][module]
        if not weights.fits(wanted):
            found.append(f"{component}.{module}: {weights.size} in the file, {wanted} in the base")
    return found


def _some(lines: list[str]) -> str:
    return "\n  ".join(lines[:10]) + ("\n  …" if len(lines) > 10 else "")
