"""How each consumer names the tensors of an adapter.

kohya (A1111, Forge, ComfyUI, InvokeAI, diffusers; sd-scripts networks/lora.py): the module path
with "_" for ".", as `lora_unet_<path>.lora_down.weight`, `.lora_up.weight`, `.alpha`; for SDXL
`lora_te1_…`, `lora_te2_…`, and the UNet's paths as in sgm.py (the readers know diffusers' too).
diffusers: `unet.<path>.lora_A.weight`, `.lora_B.weight`; alpha is kept in the file's metadata as
`lora_adapter_metadata` (diffusers/loaders/lora_base.py). `transformer.…` in the same way, but with
alpha = rank and the scale taken into lora_B: ComfyUI reads these too, and not that metadata, while
diffusers refuses `.alpha` for most transformers.
comfyui: `diffusion_model.<path>.lora_A.weight`, `.lora_B.weight`, `.alpha`, for transformers. Most
modules ComfyUI (comfy/lora.py) names as diffusers does; a family tells the others.
PEFT: `base_model.model.<path>.lora_A.weight`, alpha in adapter_config.json beside the file.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loraloom.adapters.joined import Table, fits, joined, parts_of, split
from loraloom.adapters.sgm import from_sgm, to_sgm
from loraloom.adapters.state import AdapterState, LoraWeights, canonical, each, with_unit_scale
from loraloom.errors import AdapterUnreadable
from loraloom.families.info import Joined, KohyaNames

FoundLayout = Literal["kohya", "diffusers", "comfyui", "peft"]
Role = Literal["down", "up", "alpha"]
ModuleNames = Mapping[str, Collection[str]]  # component -> module paths of the base model

_KOHYA_READS = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
_ROLES: dict[str, Role] = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "alpha": "alpha",
}
_COMFYUI = "diffusion_model."
_COMPONENTS = ("unet.", "transformer.", "text_encoder.", "text_encoder_2.", "text_encoder_3.")
_UNET_MODULES = ("down_blocks.", "mid_block.", "up_blocks.", "conv_", "time_emb", "add_emb")
_OLD_ATTENTION = re.compile(r"\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
_NAMES_WITH_UNDERSCORE = (
    "down_blocks|up_blocks|mid_block|transformer_blocks|to_q|to_k|to_v|to_out|proj_in|proj_out|"
    "conv_in|conv_out|conv_norm_out|conv_shortcut|time_emb_proj|time_embedding|add_embedding|linear_1|linear_2|"
    "text_model|self_attn|q_proj|k_proj|v_proj|out_proj|text_projection"
)


@dataclass(frozen=True)
class Place:
    """Where a tensor of an adapter file belongs."""

    component: str
    module: str
    role: Role
    parts: tuple[Joined, ...] = ()
    """Where several modules stand joined in it: which, the first one being `module`."""


def to_kohya(state: AdapterState, names: KohyaNames) -> dict[str, Tensor]:
    """Tensors under kohya's names, alpha as a 0-dim tensor per module."""
    tensors: dict[str, Tensor] = {}
    for component, path, lora in each(state):
        theirs = to_sgm(path) if names.sgm and component == "unet" else path
        name = names.prefixes[component] + theirs.replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = lora.down
        tensors[f"{name}.lora_up.weight"] = lora.up
        tensors[f"{name}.alpha"] = torch.tensor(lora.alpha)
    return tensors


def to_diffusers(state: AdapterState) -> dict[str, Tensor]:
    """Tensors under diffusers' names; peft_config.py says where alpha goes."""
    tensors: dict[str, Tensor] = {}
    for component, path, lora in each(state):
        name = f"{component}.{_written(component, path)}"
        tensors[f"{name}.lora_A.weight"] = lora.down
        tensors[f"{name}.lora_B.weight"] = lora.up
    return tensors


def to_comfyui(state: AdapterState, table: Table) -> dict[str, Tensor]:
    """A transformer's tensors under ComfyUI's names, alpha as a 0-dim tensor per module.

    Where the `table` of names joins modules the scale is taken into lora_B instead: diffusers reads
    such files too, and takes no alpha there.
    """
    joins = any(len(own) > 1 for own in table.values())
    modules = (with_unit_scale(state) if joins else state)["transformer"]
    tensors: dict[str, Tensor] = {}
    for _, path, lora in each({"transformer": joined(modules, table)}):
        name = f"{_COMFYUI}{path}"
        tensors[f"{name}.lora_A.weight"] = lora.down
        tensors[f"{name}.lora_B.weight"] = lora.up
        if not joins:
            tensors[f"{name}.alpha"] = torch.tensor(lora.alpha)
    return tensors


def layout_of(names: Collection[str]) -> FoundLayout:
    """The layout that a file's tensor names show; raises AdapterUnreadable if none."""
    if any(name.startswith(tuple(_KOHYA_READS)) for name in names):
        return "kohya"
    lora = [name for name in names if place(name) is not None]
    if not lora:
        first = min(names, default="none at all")
        raise AdapterUnreadable(
            f"this is no LoRA adapter: none of its {len(names)} tensors has a LoRA name "
            f"(the first is {first[:80]!r}). Give an adapter in kohya, diffusers or PEFT layout."
        )
    if any(name.startswith(_COMFYUI) for name in lora):
        return "comfyui"
    return "diffusers" if any(name.startswith(_COMPONENTS) for name in lora) else "peft"


def place(name: str, modules: ModuleNames | None = None) -> Place | None:
    """Where tensor `name` belongs, None if it has no LoRA name.

    kohya's "_" can mean "." or "_": with the base's `modules` the path is looked up, else it is
    rebuilt from the names that UNets and CLIP models use.
    """
    name = name.replace(".processor.", ".")
    name = _OLD_ATTENTION.sub(r".to_\1.lora.\2.weight", name)
    name = name.replace(".to_out.lora.", ".to_out.0.lora.")
    ending = next((end for end in _ROLES if name.endswith("." + end)), None)
    if ending is None:
        return None
    stem = name[: -len(ending) - 1]
    for prefix, component in _KOHYA_READS.items():
        if stem.startswith(prefix):
            path = _kohya_path(stem.removeprefix(prefix), (modules or {}).get(component, ()))
            return Place(component, path, _ROLES[ending])
    component, path = _component(stem)
    parts = parts_of(path) if component == "transformer" else ()
    return Place(component, parts[0].path if parts else canonical(path), _ROLES[ending], parts)


def parse(
    tensors: Mapping[str, Tensor],
    modules: ModuleNames | None = None,
    alphas: Mapping[tuple[str, str], float] | None = None,
) -> AdapterState:
    """The adapter in `tensors`, in any of the three layouts.

    `alphas` by (component, module path) is for layouts that keep alpha outside of the tensors; a
    module without any alpha has alpha = rank, as all consumers take it.
    Raises AdapterUnreadable on foreign tensors, missing halves and shapes that do not fit.
    """
    found: dict[tuple[str, str], dict[Role, Tensor]] = {}
    wholes: dict[tuple[str, str], tuple[Joined, ...]] = {}
    foreign = []
    for name, tensor in tensors.items():
        where = place(name, modules)
        if where is None:
            foreign.append(name)
        else:
            found.setdefault((where.component, where.module), {})[where.role] = tensor
            wholes[where.component, where.module] = where.parts
    if foreign:
        raise AdapterUnreadable(
            f"{len(foreign)} of its tensors are no LoRA weights ({_some(foreign)}). Only plain "
            "LoRA is read; save LoHa, LoKr or DoRA adapters as LoRA first."
        )
    state: AdapterState = {}
    for (component, path), roles in found.items():
        alpha = (alphas or {}).get((component, path))
        lora = _weights(path, roles, alpha)
        own = wholes.get((component, path)) or (Joined(path),)
        if not fits(lora, own):
            raise AdapterUnreadable(
                f"module {path!r}: {len(lora.up)} outputs for {lora.down.shape[1]} inputs are not "
                f"those of the {len(own)} modules that stand joined there."
            )
        state.setdefault(component, {}).update(split(lora, own))
    return state


def _weights(path: str, roles: Mapping[Role, Tensor], alpha: float | None) -> LoraWeights:
    if "down" not in roles or "up" not in roles:
        raise AdapterUnreadable(f"module {path!r} has only one half of its LoRA (down and up).")
    down, up = roles["down"], roles["up"]
    if down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != down.shape[0]:
        raise AdapterUnreadable(
            f"module {path!r}: shapes {tuple(down.shape)} (down) and {tuple(up.shape)} (up) are "
            "no LoRA pair; down must be (rank, in, …) and up (out, rank, …)."
        )
    if "alpha" in roles:
        if roles["alpha"].numel() != 1:
            raise AdapterUnreadable(f"module {path!r}: alpha must be one number.")
        alpha = float(roles["alpha"])
    return LoraWeights(down, up, float(down.shape[0]) if alpha is None else alpha)


def _written(component: str, path: str) -> str:
    return f"text_model.{path}" if component.startswith("text_encoder") else path


def _kohya_path(flat: str, modules: Iterable[str]) -> str:
    flat = (from_sgm(flat) or flat).replace(".", "_")
    for module in modules:
        if canonical(module).replace(".", "_") == flat.removeprefix("text_model_"):
            return canonical(module)
    kept = re.sub(_NAMES_WITH_UNDERSCORE, lambda m: m[0].replace("_", "\0"), flat)
    return canonical(kept.replace("_", ".").replace("\0", "_"))


def _component(stem: str) -> tuple[str, str]:
    head, _, rest = stem.partition(".")
    if stem.startswith(_COMPONENTS):
        return head, rest
    bare = canonical(stem.removeprefix(_COMFYUI))
    if bare.startswith("encoder.layers."):
        return "text_encoder", bare
    sgm = from_sgm(bare.replace(".", "_"))
    if sgm is not None:
        return "unet", _kohya_path(sgm.replace(".", "_"), ())
    return ("unet" if bare.startswith(_UNET_MODULES) else "transformer"), bare


def _some(names: Collection[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in sorted(names)[:3])
    return shown + (", …" if len(names) > 3 else "")
