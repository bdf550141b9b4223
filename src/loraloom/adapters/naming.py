"""Which family an adapter belongs to, and with it how kohya's layout names its modules."""

from collections.abc import Mapping

from loraloom import families
from loraloom.adapters.joined import Table, known_by
from loraloom.adapters.state import AdapterState
from loraloom.errors import AdapterKeysUnknown
from loraloom.families.info import FamilyInfo, KohyaNames, Layout


def family_of(state: AdapterState, metadata: Mapping[str, str]) -> FamilyInfo | None:
    """The family that the file names, or whose text is as wide as its cross attention takes, or
    whose modules are named so."""
    infos = families.all_infos()
    architecture = metadata.get("modelspec.architecture")
    version = metadata.get("ss_base_model_version")
    for info in infos:
        if architecture in info.architectures or version == info.base_version:
            return info
    width = _context_width(state)
    paths = state.get("transformer", {})
    for info in infos:
        if width and info.context_width == width:
            return info
        if info.named_apart and known_by(paths, info.comfyui):
            return info
    return None


def kohya_names(state: AdapterState, metadata: Mapping[str, str]) -> KohyaNames:
    """Names for the adapter's parts; of a file that tells no family, by the parts that it has.

    Raises AdapterKeysUnknown where kohya's layout has none.
    """
    found = family_of(state, metadata)
    if found is not None:
        fitting = [found.kohya] if found.kohya else []
    else:
        fitting = [info.kohya for info in families.all_infos() if info.kohya]
        fitting.sort(key=lambda names: len(names.prefixes))
    for names in fitting:
        if state.keys() <= names.prefixes.keys():
            return names
    raise AdapterKeysUnknown(
        f"kohya's layout has no names for an adapter of {_whose(found, state)}. "
        "Convert it to another layout."
    )


def comfyui_names(state: AdapterState, metadata: Mapping[str, str]) -> Table:
    """The family's table of ComfyUI's names.

    Raises AdapterKeysUnknown where ComfyUI reads another layout for such an adapter.
    """
    found = family_of(state, metadata)
    layouts: tuple[Layout, ...] = found.layouts if found else ("comfyui",)
    if "comfyui" not in layouts or "unet" in state:
        better = layouts[0] if "comfyui" not in layouts else "kohya"
        raise AdapterKeysUnknown(
            f"For an adapter of {_whose(found, state)} ComfyUI reads the layout {better}: convert "
            "it to that."
        )
    return found.comfyui if found else {}


def _context_width(state: AdapterState) -> int | None:
    for path, lora in state.get("unet", {}).items():
        if path.endswith((".attn2.to_k", ".attn2.to_v")):
            return int(lora.down.shape[1])
    return None


def _whose(found: FamilyInfo | None, state: AdapterState) -> str:
    return found.title if found else " and ".join(sorted(state))
