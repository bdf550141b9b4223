"""Adapter files on disk: safetensors only, never a pickle."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from loraloom.adapters import header, keys, peft_config
from loraloom.adapters.keys import FoundLayout, ModuleNames
from loraloom.adapters.naming import comfyui_names, family_of, kohya_names
from loraloom.adapters.state import AdapterState, each, kind_of, with_unit_scale
from loraloom.config import AdapterType
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable
from loraloom.families.info import Layout
from loraloom.files import write_atomic


@dataclass(frozen=True)
class Inspection:
    """What an adapter file says of itself."""

    layout: FoundLayout
    components: tuple[str, ...]
    type: AdapterType  # the most frequent one
    rank: int | None  # the most frequent one; OFT and BOFT have none
    alpha: float | None  # the most frequent one
    modules: dict[str, int]  # component -> number of modules
    family: str | None  # id
    base: str | None
    trigger: str | None
    dtype: str
    size_bytes: int
    sha256: str
    metadata: dict[str, str]


def write(
    path: Path,
    state: AdapterState,
    layout: Layout,
    metadata: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `state` to `path`, whole or not at all; the same input gives the same bytes.

    Raises DiskFull when there is no room, OutputUnwritable otherwise, AdapterKeysUnknown where the
    layout has no names for the adapter.
    """
    if layout == "diffusers" and "transformer" in state:
        state = with_unit_scale(state)
    named = _named(state, layout, metadata)
    tensors = {name: t.detach().to("cpu", dtype).contiguous() for name, t in named.items()}
    own = {"format", peft_config.METADATA_KEY}  # diffusers' alone; elsewhere they would mislead
    metadata = {name: value for name, value in metadata.items() if name not in own}
    if layout == "diffusers":
        metadata |= {"format": "pt", peft_config.METADATA_KEY: peft_config.for_diffusers(state)}
    write_atomic(path, _serialise(tensors, metadata))


def _named(state: AdapterState, layout: Layout, metadata: Mapping[str, str]) -> dict[str, Tensor]:
    if kind_of(state) in ("oft", "boft") and layout != "diffusers":
        raise AdapterKeysUnknown(
            f"No program reads an adapter of type {kind_of(state)} in the layout {layout}. Keep it "
            "as it is, take it to peft's folders, or to a LoRA with `loraloom adapter resize`."
        )
    if layout == "kohya":
        return keys.to_kohya(state, kohya_names(state, metadata))
    if layout == "comfyui":
        return keys.to_comfyui(state, *comfyui_names(state, metadata))
    return keys.to_diffusers(state)


def read(
    path: Path, module_names: ModuleNames | None = None
) -> tuple[AdapterState, dict[str, str]]:
    """The adapter and the metadata of `path`; raises AdapterUnreadable with the reason.

    `module_names` of the base make kohya's module paths exact where they are ambiguous.
    """
    metadata = header.metadata(path, header.read(path))
    names = tensor_names(path)
    try:
        keys.layout_of(names)
        tensors = load_file(path)
        _check_numbers(tensors)
        alphas = peft_config.alphas(path, names, metadata)
        facts = peft_config.facts(path, names, metadata)
        return keys.parse(tensors, module_names, alphas, facts), metadata
    except SafetensorError as e:
        raise AdapterUnreadable(
            f"{path} is a broken safetensors file: {e}. Download or copy it again."
        ) from e
    except AdapterUnreadable as e:
        raise AdapterUnreadable(f"{path} cannot be used: {e}") from None


def inspect(path: Path) -> Inspection:
    """What `path` holds; raises AdapterUnreadable like `read`."""
    state, metadata = read(path)
    weights = [module for _, _, module in each(state)]
    return Inspection(
        layout=keys.layout_of(tensor_names(path)),
        components=tuple(sorted(state)),
        type=kind_of(state),
        rank=Counter(module.rank for module in weights).most_common(1)[0][0],
        alpha=Counter(module.alpha for module in weights).most_common(1)[0][0],
        modules={component: len(modules) for component, modules in sorted(state.items())},
        family=family.id if (family := family_of(state, metadata)) else None,
        base=metadata.get("ss_sd_model_name") or metadata.get("ss_base_model_version"),
        trigger=metadata.get("loraloom.trigger") or metadata.get("modelspec.trigger_phrase"),
        dtype=_dtype(path),
        size_bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        metadata=metadata,
    )


def _dtype(path: Path) -> str:
    """Of its largest tensor: alphas can be of another."""
    with safe_open(path, "pt") as opened:
        slices = [opened.get_slice(name) for name in opened.keys()]  # noqa: SIM118
        largest = max(slices, key=lambda one: math.prod(one.get_shape()))
        code = largest.get_dtype()
    return {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}.get(
        code, str(code)
    )


def tensor_names(path: Path) -> list[str]:
    """The names in the file's header, without reading tensors; AdapterUnreadable if broken."""
    return [name for name in header.read(path) if name != "__metadata__"]


def _serialise(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """safetensors bytes with the metadata in a fixed order (the library's order is random)."""
    raw = save(tensors)
    header_end = 8 + int.from_bytes(raw[:8], "little")
    data = raw[header_end:]
    digest = hashlib.sha256(data).hexdigest()
    hashes = {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
    entries = json.loads(raw[8:header_end])
    whole = {"__metadata__": dict(sorted({**metadata, **hashes}.items())), **entries}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _check_numbers(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.numel() == 1):  # alpha is whole in some files
            raise AdapterUnreadable(
                f"tensor {name!r} holds whole numbers ({tensor.dtype}), not an adapter's weights. "
                "Give the adapter as it was before it was quantised."
            )
        if not tensor.float().isfinite().all():
            raise AdapterUnreadable(
                f"tensor {name!r} holds NaN or infinite values: its training broke down. Use an "
                "earlier file of the same training."
            )
