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

from loraloom.adapters import keys, peft_config
from loraloom.adapters.keys import FoundLayout, ModuleNames
from loraloom.adapters.naming import comfyui_names, kohya_names
from loraloom.adapters.state import AdapterState, each, kind_of, with_unit_scale
from loraloom.config import AdapterType
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable
from loraloom.families.info import Layout
from loraloom.files import write_atomic

_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


@dataclass(frozen=True)
class Inspection:
    """What an adapter file says of itself."""

    layout: FoundLayout
    components: tuple[str, ...]
    type: AdapterType  # the most frequent one
    rank: int | None  # the most frequent one; OFT and BOFT have none
    alpha: float | None  # the most frequent one
    modules: dict[str, int]  # component -> number of modules
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
    header = _header(path)
    metadata = _metadata(path, header)
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
    return [name for name in _header(path) if name != "__metadata__"]


def _serialise(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """safetensors bytes with the metadata in a fixed order (the library's order is random)."""
    raw = save(tensors)
    header_end = 8 + int.from_bytes(raw[:8], "little")
    data = raw[header_end:]
    digest = hashlib.sha256(data).hexdigest()
    hashes = {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
    entries = json.loads(raw[8:header_end])
    header = {"__metadata__": dict(sorted({**metadata, **hashes}.items())), **entries}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _header(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise AdapterUnreadable(f"{path} is not a file. Give the path of a .safetensors file.")
    with path.open("rb") as file:
        start = file.read(8)
        size, whole = int.from_bytes(start, "little"), path.stat().st_size
        if len(start) < 8 or size > min(_MAX_HEADER_BYTES, whole - 8):
            # Not before: the sizes of some headers begin as a pickle does.
            if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                raise AdapterUnreadable(
                    f"{path} is a pickle (.pt, .ckpt, .bin), which can run code when opened, so "
                    "it is not read. Convert it to safetensors first."
                )
            told = f"it has {whole:,} bytes and begins with {start!r}" if whole else "it is empty"
            raise AdapterUnreadable(
                f"{path} is not a safetensors file, or was cut short: {told}. Give a .safetensors "
                "file; if this was one, download or copy it again."
            )
        text = file.read(size)
    return _parse_header(path, text)


def _parse_header(path: Path, text: bytes) -> dict[str, object]:
    try:
        pairs = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise AdapterUnreadable(f"{path} has a broken safetensors header: {e}.") from e
    if not isinstance(pairs, dict):
        raise AdapterUnreadable(f"{path} has a broken safetensors header: not a table of tensors.")
    return pairs


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} stands in it twice")
    return dict(pairs)


def _metadata(path: Path, header: Mapping[str, object]) -> dict[str, str]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise AdapterUnreadable(f"{path} has broken metadata: it must map text to text.")
    return metadata


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
