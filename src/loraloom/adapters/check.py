"""Does an adapter file fit a base model? Asked before a run is called done, and before loading."""

from pathlib import Path

from loraloom.adapters.file import tensor_names
from loraloom.adapters.keys import ModuleNames, place
from loraloom.adapters.state import canonical
from loraloom.errors import AdapterKeysUnknown


def check_keys(path: Path, module_names: ModuleNames) -> None:
    """Every tensor of the file must name a module of the base.

    `module_names`: component ("unet", "text_encoder") -> the names of its `named_modules()`.
    Raises AdapterKeysUnknown with how many tensors fit and the keys that nothing would read,
    AdapterUnreadable if the file is broken.
    """
    names = tensor_names(path)
    known = {part: {canonical(name) for name in names_} for part, names_ in module_names.items()}
    unknown = [name for name in names if not _fits(name, known)]
    if not unknown:
        return
    shown = "\n  ".join(sorted(unknown)[:10]) + ("\n  …" if len(unknown) > 10 else "")
    raise AdapterKeysUnknown(
        f"{path} does not fit this base model: {len(names) - len(unknown)} of its {len(names)} "
        "tensors name a module of the base. Use the base that the adapter was made for. "
        f"Keys that nothing would read:\n  {shown}"
    )


def _fits(name: str, known: ModuleNames) -> bool:
    where = place(name, known)
    return where is not None and where.module in known.get(where.component, ())
