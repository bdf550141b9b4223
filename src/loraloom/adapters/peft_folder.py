"""An adapter as peft's own folders, one for each part of the base.

`PeftModel.from_pretrained(pipe.unet, FOLDER/unet)` puts any kind into any pipeline of diffusers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from loraloom.adapters.keys import to_peft
from loraloom.adapters.peft_config import BESIDE, of_component
from loraloom.adapters.state import AdapterState, canonical, kind_of
from loraloom.adapters.weights import Weights
from loraloom.files import sync_folder, telling_failures, write_synced

WEIGHTS = "adapter_model.safetensors"


def write(
    folder: Path,
    state: AdapterState,
    paths: Mapping[str, Iterable[str]],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `folder`/<part>/, all of it or nothing.

    `paths`: the modules of each part as it is loaded, whose names peft goes by. Raises DiskFull,
    OutputUnwritable, and AdapterKeysUnknown where peft cannot make the adapter.
    """
    kind = "lora" if kind_of(state) == "dora" else kind_of(state)
    named = {component: _as_loaded(state[component], paths[component]) for component in state}
    configs = {component: of_component(modules) for component, modules in named.items()}
    contents: dict[Path, bytes] = {}
    for component, modules in sorted(named.items()):
        tensors = {
            name: tensor.detach().to("cpu", dtype).contiguous()
            for path, weights in sorted(modules.items())
            for name, tensor in to_peft(f"base_model.model.{path}", weights).items()
        }
        config = {"peft_type": kind.upper(), "inference_mode": True, **configs[component]}
        contents[Path(component, WEIGHTS)] = save(tensors, {"format": "pt"})
        contents[Path(component, BESIDE)] = json.dumps(config, indent=1, sort_keys=True).encode()
    _put(folder, contents)


def _put(folder: Path, contents: Mapping[Path, bytes]) -> None:
    """Write beside, then in the place of what is there."""
    beside = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)
    with telling_failures(folder):
        try:
            for path, content in contents.items():
                (beside / path).parent.mkdir(parents=True, exist_ok=True)
                write_synced(beside / path, content)
                sync_folder((beside / path).parent)
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def _as_loaded(modules: Mapping[str, Weights], paths: Iterable[str]) -> dict[str, Weights]:
    loaded = {canonical(path): path for path in paths}
    return {loaded[path]: weights for path, weights in modules.items()}
