"""Which of peft's adapters the settings stand for, on which layers."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peft import (
    BOFTConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    inject_adapter_in_model,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from loraloom.config import AdapterConfig
from loraloom.errors import ConfigInvalid, NothingToTrain
from loraloom.families.info import FamilyInfo
from loraloom.train.quick import make_quick
from loraloom.train.turning import turn_exactly, without_matrices


def insert(
    model: nn.Module, config: AdapterConfig, targets: Iterable[str], name: str = "default"
) -> None:
    """Put such an adapter into each module whose path ends in a target; see `pattern`.

    Raises NothingToTrain where no module fits, ConfigInvalid where one cannot have it.
    """
    endings = list(targets)
    paths = re.compile(pattern(endings))
    layers = {path: m for path, m in model.named_modules() if paths.fullmatch(path)}
    if config.type in ("oft", "boft"):
        _check_blocks(config, layers)
    with warnings.catch_warnings():
        # peft says of each layer that BOFT has one factor without its CUDA extension: as ours has.
        warnings.filterwarnings("ignore", module=r"peft\.tuners\.boft")
        # `check_ranks` asks all parts of the base together; PiSSA's two adapters are meant.
        warnings.filterwarnings("ignore", message=r"The following \w+_pattern keys did not match")
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        try:
            how = _peft(config, pattern(endings))
            if isinstance(how, LoraConfig):
                make_quick(how, layers.values())
            with without_matrices():
                inject_adapter_in_model(how, model, name)
            turn_exactly(model)
        except ValueError as error:
            raise NothingToTrain(
                f"No module of the base ends in any of {', '.join(endings)}: change "
                f"adapter.targets. ({error})"
            ) from error


def targets_of(config: AdapterConfig, info: FamilyInfo, denoiser: nn.Module) -> Sequence[str]:
    """Endings of the denoiser's layers that get an adapter.

    Raises NothingToTrain naming those that are the user's own and that no layer's path has.
    """
    endings = config.targets
    if isinstance(endings, str):
        return info.targets[endings]
    layers = [
        path for path, module in denoiser.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]  # fmt: skip
    absent = [
        end for end in endings if not any(re.fullmatch(pattern([end]), path) for path in layers)
    ]
    if absent or not endings:
        named = ", ".join(map(repr, absent)) or "an empty list"
        raise NothingToTrain(
            f"adapter.targets: no layer of the base ends in {named}. Name endings of its linear "
            "and convolution layers, such as to_q, or one of attention, blocks and full."
        )
    return endings


def pattern(endings: Iterable[str]) -> str:
    """A regular expression for module paths that end in any of these; "*" is any one name."""
    choices = (re.escape(ending).replace(r"\*", r"[^.]+") for ending in endings)
    return rf"(?:.*\.)?(?:{'|'.join(choices)})"


def check_ranks(config: AdapterConfig, models: Iterable[nn.Module]) -> None:
    """Each ending in adapter.ranks must be of a layer that has an adapter. Raises ConfigInvalid."""
    paths = [
        path for model in models for path, layer in model.named_modules()
        if isinstance(layer, BaseTunerLayer)
    ]  # fmt: skip
    for ending in config.ranks:
        if not any(re.fullmatch(pattern([ending]), path) for path in paths):
            raise ConfigInvalid(
                f"adapter.ranks: no layer with an adapter ends in {ending!r}. Name the end of a "
                "layer's path, such as to_q, or widen adapter.targets."
            )


def _peft(config: AdapterConfig, targets: str) -> PeftConfig:
    if config.type in ("oft", "boft"):
        assert config.block_size is not None, "see fit.check"
        if config.type == "boft":
            return BOFTConfig(
                boft_block_size=config.block_size, boft_n_butterfly_factor=1, target_modules=targets
            )
        return OFTConfig(
            r=0, oft_block_size=config.block_size, target_modules=targets, use_cayley_neumann=False
        )
    assert config.rank is not None and config.alpha is not None, "see fit.check"
    # peft multiplies by alpha / r with whatever number alpha is, though it declares int.
    alpha: Any = config.alpha
    own = {pattern([ending]): rank for ending, rank in config.ranks.items()}
    # With alpha / sqrt(rank) a higher rank is to learn as fast with the same alpha.
    alphas = {} if config.rslora else {k: r * config.alpha / config.rank for k, r in own.items()}
    if config.type == "loha":
        return LoHaConfig(
            r=config.rank, alpha=alpha, rank_pattern=own, alpha_pattern=alphas,
            target_modules=targets,
        )  # fmt: skip
    if config.type == "lokr":
        return LoKrConfig(
            r=config.rank, alpha=alpha, rank_pattern=own, alpha_pattern=alphas,
            target_modules=targets, decompose_factor=config.factor or -1,
        )  # fmt: skip
    return LoraConfig(
        r=config.rank, lora_alpha=alpha, rank_pattern=own, alpha_pattern=alphas,
        target_modules=targets, lora_dropout=config.dropout, use_rslora=config.rslora,
        use_dora=config.type == "dora",
    )  # fmt: skip


def _check_blocks(config: AdapterConfig, layers: Mapping[str, nn.Module]) -> None:
    """peft would choose another block size by itself, and turns convolutions wrongly."""
    assert config.block_size is not None, "see fit.check"
    widths = {}
    for path, layer in layers.items():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) and config.type == "oft":
            raise ConfigInvalid(
                f'adapter.type = "oft" cannot turn the inputs of {path}, a convolution of '
                f"{layer.kernel_size[0]} x {layer.kernel_size[1]}: use adapter.targets = "
                '"blocks", or adapter.type = "boft".'
            )
        weight = getattr(layer, "weight", None)
        widths[path] = math.prod(weight.shape[1:]) if weight is not None else 0
    common = math.gcd(*widths.values())
    fitting = [size for size in range(config.block_size, 1, -1) if common % size == 0]
    advice = f"use one that divides all, such as {fitting[0]}, or" if fitting else "use"
    for path, width in widths.items():
        if width % config.block_size:
            raise ConfigInvalid(
                f"adapter.block_size = {config.block_size} does not divide the {width} inputs of "
                f"{path}: {advice} other adapter.targets."
            )
