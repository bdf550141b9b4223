"""Single checkpoint files, taken apart into a diffusers folder: through diffusers' own conversion.

The configuration of each kind of checkpoint is part of the package (data/checkpoints), as is CLIP's
tokenizer, so that nothing is asked of the network.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from loraloom import families
from loraloom.errors import BaseUnknown, OutputExists
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import import_class
from loraloom.files import kind_at, sync_file, sync_folder, telling_failures

Prediction = Literal["epsilon", "v_prediction"]


def unpack(file: Path, folder: Path, prediction: Prediction | None = None) -> FamilyInfo:
    """Write a checkpoint's parts into `folder`, whole or not at all; its family.

    `prediction` is for checkpoints that do not tell, as those of Stable Diffusion 2.
    Raises BaseUnknown, OutputExists, DiskFull, OutputUnwritable.
    """
    if folder.exists():
        raise OutputExists(f"{folder} exists already; choose another name with --name.")
    shapes, metadata = _header(file)
    info = family_of(file, shapes)
    beside = folder.with_name(f".tmp-{folder.name}")
    with telling_failures(folder), tempfile.TemporaryDirectory() as scratch:
        config = _configuration(info, Path(scratch) / "config")
        pipe = _read(file, info, config)
        _set_prediction(pipe, shapes, metadata, prediction)
        shutil.rmtree(beside, ignore_errors=True)
        try:
            pipe.save_pretrained(beside)
            _sync(beside)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        sync_folder(folder.parent)
    return info


def family_of(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> FamilyInfo:
    """The family that has a checkpoint with such tensors. Raises BaseUnknown."""
    known = [info for info in families.all_infos() if info.checkpoint]
    for info in known:
        if all(shapes.get(name) == shape for name, shape in info.checkpoint.items()):
            return info
    titles = ", ".join(info.title for info in known)
    raise BaseUnknown(
        f"{file} is no whole checkpoint of {titles}: tensors that each of them has are missing or "
        "of another size. Give a checkpoint with its text encoder and VAE, made to draw from text "
        "alone, or the model's diffusers folder."
    )


def clip_tokenizer(pad_token: str) -> Any:
    """CLIP's tokenizer, of 49,408 tokens."""
    text = gzip.decompress((files("loraloom") / "data/clip/merges.txt.gz").read_bytes()).decode()
    merges = [(first, second) for first, second in map(str.split, text.splitlines())]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return import_class("transformers.CLIPTokenizer")(
        vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad_token
    )


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Name -> shape of each tensor, and the metadata; no tensor is read."""
    from safetensors import SafetensorError, safe_open

    if kind_at(file) != "file":
        raise BaseUnknown(f"{file} is not a file. Give the path of a .safetensors checkpoint.")
    try:
        with safe_open(file, "pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            return shapes, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BaseUnknown(
            f"{file} is no safetensors file, or is cut short: {error}. A .ckpt file is a pickle, "
            "which can run code when opened, and is not read."
        ) from error


def _configuration(info: FamilyInfo, folder: Path) -> Path:
    """A diffusers folder of the family's published size, without weights."""
    shutil.copytree(str(files("loraloom") / "data/checkpoints" / info.id), folder)
    for path in folder.glob("tokenizer*/tokenizer_config.json"):
        clip_tokenizer(json.loads(path.read_text())["pad_token"]).save_pretrained(path.parent)
    return folder


def _read(file: Path, info: FamilyInfo, config: Path) -> Any:
    """The pipeline in the file's own precision. Raises BaseUnknown where parts are missing."""
    import torch

    diffusers: Any = import_module("diffusers")
    import_module("transformers").utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    try:
        pipe = import_class(f"diffusers.{info.pipeline}").from_single_file(
            str(file), config=str(config), local_files_only=True, torch_dtype=_dtype(file)
        )
    except (ValueError, KeyError, RuntimeError) as error:
        raise BaseUnknown(f"{file} cannot be taken apart: {error}") from error
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    missing = sum(weight.is_meta for module in modules for weight in module.parameters())
    if missing:
        raise BaseUnknown(f"{file} is not whole: {missing} of the model's weights are not in it.")
    return pipe


def _dtype(file: Path) -> Any:
    """What most tensors of the file are."""
    import torch
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        name = next(name for name in opened.keys() if "diffusion_model" in name)  # noqa: SIM118
        stored = opened.get_slice(name).get_dtype()
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(stored, torch.float32)


def _set_prediction(
    pipe: Any,
    shapes: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, str],
    prediction: Prediction | None,
) -> None:
    """As told, or else as the file tells: v-prediction by an empty tensor `v_pred` or ModelSpec's
    metadata, zero-terminal SNR by `ztsnr`."""
    if prediction is None and ("v_pred" in shapes or _tells_v(metadata)):
        prediction = "v_prediction"
    changes: dict[str, object] = {"prediction_type": prediction} if prediction else {}
    if "ztsnr" in shapes:
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if changes:
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **changes)


def _tells_v(metadata: Mapping[str, str]) -> bool:
    return metadata.get("modelspec.prediction_type") == "v"


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            sync_file(path)
