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
LyCORIS: `lycoris_<path>.…` with "_" for "." from its own wrapper, kohya's prefixes otherwise.
original: the modules of the base's authors' own code, with the prefixes of any of these; joined.py.
The ends of LoHa's, LoKr's, DoRA's, OFT's and BOFT's names are in roles.py.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from loraloom.adapters import joined, roles
from loraloom.adapters.sgm import from_sgm, to_sgm
from loraloom.adapters.state import AdapterState, canonical, each, with_unit_scale
from loraloom.adapters.weights import LoraWeights, Weights
from loraloom.errors import AdapterUnreadable
from loraloom.families.info import KohyaNames

FoundLayout = Literal["kohya", "lycoris", "diffusers", "comfyui", "peft", "original"]
"""original: by the names in the base's authors' own code."""
ModuleNames = Mapping[str, Collection[str]]  # component -> module paths of the base model

_KOHYA_READS = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
_LYCORIS = "lycoris_"
_COMFYUI = "diffusion_model."
_PREFIXES = re.compile(
    r"^(lora_unet_|lycoris_|diffusion_model\.|transformer\.|base_model\.model\.)"
)
_COMPONENTS = ("unet.", "transformer.", "text_encoder.", "text_encoder_2.", "text_encoder_3.")
_UNET_MODULES = ("down_blocks.", "mid_block.", "up_blocks.", "conv_", "time_emb", "add_emb")
_OLD_ATTENTION = re.compile(r"\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
_NAMES_WITH_UNDERSCORE = (
    "down_blocks|up_blocks|mid_block|single_transformer_blocks|transformer_blocks|add_q_proj|"
    "add_k_proj|add_v_proj|to_add_out|ff_context|proj_mlp|norm1_context|img_mlp|txt_mlp|"
    "to_qkv_mlp_proj|linear_in|linear_out|to_q|to_k|to_v|to_out|proj_in|proj_out|"
    "conv_in|conv_out|conv_norm_out|conv_shortcut|time_emb_proj|time_embedding|add_embedding|linear_1|linear_2|"
    "text_model|self_attn|q_proj|k_proj|v_proj|out_proj|text_projection"
)


@dataclass(frozen=True)
class Place:
    """Where a tensor of an adapter file belongs."""

    component: str
    module: str
    role: str
    """See roles.py."""


def to_kohya(state: AdapterState, names: KohyaNames) -> dict[str, Tensor]:
    """Tensors under kohya's names, alpha as a 0-dim tensor per module."""
    tensors: dict[str, Tensor] = {}
    for component, path, weights in each(state):
        theirs = to_sgm(path) if names.sgm and component == "unet" else path
        name = names.prefixes[component] + theirs.replace(".", "_")
        tensors |= _tensors(name, weights, ("lora_down", "lora_up"))
    return tensors


def to_diffusers(state: AdapterState) -> dict[str, Tensor]:
    """Tensors under diffusers' names, and peft's; peft_config.py says where alpha goes."""
    tensors: dict[str, Tensor] = {}
    for component, path, weights in each(state):
        own = to_peft(f"{component}.{_written(component, path)}", weights)
        # transformers, which loads the text encoders' part, takes no shorter name.
        end = ".weight" if component.startswith("text_encoder") else ""
        tensors |= {n + end * n.endswith("lora_magnitude_vector"): t for n, t in own.items()}
    return tensors


def to_peft(name: str, weights: Weights) -> dict[str, Tensor]:
    """One module's tensors under peft's names."""
    if not isinstance(weights, LoraWeights):
        own = {key: t for key, t in weights.tensors().items() if key != "alpha"}
        return {f"{name}.{key}": tensor for key, tensor in own.items()}
    tensors = {f"{name}.lora_A.weight": weights.down, f"{name}.lora_B.weight": weights.up}
    if weights.magnitude is not None:
        lengths = weights.magnitude.flatten()
        if weights.down.ndim > 2:
            lengths = lengths.reshape(1, -1, *[1] * (weights.down.ndim - 2))
        tensors[f"{name}.lora_magnitude_vector"] = lengths
    return tensors


def to_comfyui(
    state: AdapterState, prefix: str = _COMFYUI, table: joined.Table = MappingProxyType({})
) -> dict[str, Tensor]:
    """Tensors under ComfyUI's names, alpha as a 0-dim tensor per module.

    `prefix`: of the transformer's modules. With another than ComfyUI's own the text encoders go
    with it, under diffusers' names. Where the `table` of names joins modules the scale is taken
    into lora_B instead of alpha: diffusers reads such files too, and takes no alpha there.
    """
    joins = joined.joins(table)
    tensors: dict[str, Tensor] = {}
    taken = with_unit_scale(state) if joins else state
    theirs = {"transformer": joined.joined(taken["transformer"], table)}
    for component, path, weights in each(theirs if prefix == _COMFYUI else {**taken, **theirs}):
        begin = prefix if component == "transformer" else f"{component}."
        tensors |= _tensors(begin + _written(component, path), weights, ("lora_A", "lora_B"))
    return {n: t for n, t in tensors.items() if not (joins and n.endswith(".alpha"))}


def _tensors(name: str, weights: Weights, halves: tuple[str, str]) -> dict[str, Tensor]:
    """One module's tensors; `halves`: what LoRA's down and up are called."""
    own = {f"{name}.{key}": tensor for key, tensor in weights.tensors().items()}
    if isinstance(weights, LoraWeights):
        own[f"{name}.{halves[0]}.weight"] = weights.down
        own[f"{name}.{halves[1]}.weight"] = weights.up
        own[f"{name}.alpha"] = torch.tensor(weights.alpha)
    return own


def layout_of(names: Collection[str]) -> FoundLayout:
    """The layout that a file's tensor names show; raises AdapterUnreadable if none."""
    lora = [name for name in names if place(name) is not None]
    called = roles.unreadable(sorted(names))
    if called:
        raise AdapterUnreadable(f"this is {called}, which is not read here.")
    if not lora:
        first = min(names, default="none at all")
        raise AdapterUnreadable(
            f"this is no LoRA adapter: none of its {len(names)} tensors has the name of one, nor "
            f"of a LoHa, LoKr, DoRA, OFT or BOFT (the first is {first[:80]!r}). Give an adapter in "
            "kohya, LyCORIS, diffusers, ComfyUI or PEFT layout."
        )
    if any(name.startswith(tuple(_KOHYA_READS)) for name in names):
        return "kohya"
    if any(name.startswith(_LYCORIS) for name in lora):
        return "lycoris"
    if any(name.startswith(_COMFYUI) for name in lora):
        return "comfyui"
    if any((where := place(name)) and joined.choices(where.module) for name in lora):
        return "original"
    return "diffusers" if any(name.startswith(_COMPONENTS) for name in lora) else "peft"


def place(name: str, modules: ModuleNames | None = None) -> Place | None:
    """Where tensor `name` belongs, None if it has no LoRA name.

    kohya's "_" can mean "." or "_": with the base's `modules` the path is looked up, else it is
    rebuilt from the names that UNets and CLIP models use.
    """
    name = name.replace(".processor.", ".")
    name = _OLD_ATTENTION.sub(r".to_\1.lora.\2.weight", name)
    name = name.replace(".to_out.lora.", ".to_out.0.lora.")
    found = roles.role_of(name)
    if found is None:
        return None
    stem, role = found
    theirs = joined.original(_PREFIXES.sub("", stem))
    if theirs is not None:
        return Place("transformer", theirs, role)
    for prefix, component in _KOHYA_READS.items():
        if stem.startswith(prefix):
            path = _kohya_path(stem.removeprefix(prefix), (modules or {}).get(component, ()))
            return Place(component, path, role)
    if stem.startswith(_LYCORIS):
        rest = stem.removeprefix(_LYCORIS)
        unet = rest.startswith(("down_blocks_", "mid_block_", "up_blocks_"))
        component = "unet" if unet else "transformer"
        return Place(component, _kohya_path(rest, (modules or {}).get(component, ())), role)
    component, path = _component(stem)
    return Place(component, canonical(path), role)


def parse(
    tensors: Mapping[str, Tensor],
    modules: ModuleNames | None = None,
    alphas: Mapping[tuple[str, str], float] | None = None,
    facts: Mapping[tuple[str, str], Mapping[str, object]] | None = None,
) -> AdapterState:
    """The adapter in `tensors`, in any of the layouts.

    `alphas` by (component, module path) is for layouts that keep alpha outside of the tensors; a
    module without any alpha has alpha = rank, as all consumers take it. `facts` by the same: what
    peft's config says beside.
    Raises AdapterUnreadable on foreign tensors, missing halves and shapes that do not fit.
    """
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    foreign = []
    for name, tensor in tensors.items():
        where = place(name, modules)
        if where is None:
            foreign.append(name)
        else:
            found.setdefault((where.component, where.module), {})[where.role] = tensor
    if foreign:
        raise AdapterUnreadable(
            f"{len(foreign)} of its tensors are no adapter's weights ({_some(foreign)})."
        )
    state: AdapterState = {}
    for (component, path), own in found.items():
        alpha = (alphas or {}).get((component, path))
        told = (facts or {}).get((component, path), {})
        weights = roles.build(path, own, alpha, told)
        state.setdefault(component, {}).update(joined.split(path, weights))
    return state


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
