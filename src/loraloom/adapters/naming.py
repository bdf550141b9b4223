"""Which family an adapter belongs to, and with it how kohya's layout names its modules."""

from collections.abc import Mapping

from loraloom import families
from loraloom.adapters import joined
from loraloom.adapters.state import AdapterState, kind_of
from loraloom.config import AdapterType
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
        if info.named_apart and joined.known_by(paths, info.original):
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


def comfyui_names(state: AdapterState, metadata: Mapping[str, str]) -> tuple[str, joined.Table]:
    """What ComfyUI calls the transformer in files of such an adapter, and its table of modules.

    Raises AdapterKeysUnknown where it reads another layout.
    """
    found = family_of(state, metadata)
    layouts: tuple[Layout, ...] = found.layouts if found else ("comfyui",)
    if "comfyui" in layouts and "unet" not in state:
        table = found.original if found else {}
        if not joined.joins(table) or kind_of(state) == "lora":
            return "diffusion_model.", table
    # Where it names a transformer's modules by diffusers, it reads LoRA in diffusers' own files.
    elif "unet" not in state and kind_of(state) != "lora":
        return "transformer.", {}
    better = layouts[0] if "unet" not in state else "kohya"
    raise AdapterKeysUnknown(
        f"For an adapter of {_whose(found, state)} ComfyUI reads the layout {better}: convert "
        "it to that."
    )


def layouts_of(kind: AdapterType, info: FamilyInfo) -> tuple[Layout, ...]:
    """The layouts in which an adapter of such a kind has readers, the foremost first."""
    if kind == "lora":
        return info.layouts
    if kind in ("oft", "boft"):
        return ("diffusers",)  # read by this program, and through peft
    foremost: Layout = "kohya" if info.kohya else "comfyui"
    if foremost in info.layouts and joined.joins(info.original):
        return ("diffusers",)  # of joined modules ComfyUI reads LoRA alone
    return (foremost, "diffusers") if kind == "dora" else (foremost,)


def _context_width(state: AdapterState) -> int | None:
    for path, weights in state.get("unet", {}).items():
        if path.endswith((".attn2.to_k", ".attn2.to_v")):
            return weights.size[1]
    return None


def _whose(found: FamilyInfo | None, state: AdapterState) -> str:
    return found.title if found else " and ".join(sorted(state))
