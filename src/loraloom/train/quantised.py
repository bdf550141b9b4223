"""The frozen base's linear layers held in fewer bits, and multiplied in its own number format.

int8 and fp8 keep one scale for each row of a weight and are torch's own number formats; nf4, four
bits for weights that are spread like a bell (Dettmers et al. 2023, QLoRA, arXiv:2305.14314), comes
from bitsandbytes. A layer is unpacked anew in each product, forward and back, and never kept so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loraloom.config import Quantisation
from loraloom.errors import ConfigInvalid
from loraloom.families.base import Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import PartName, Parts

_BLOCK = 64
"""Weights that share a scale in nf4, as in the paper."""
_LARGEST = {"int8": 127.0, "fp8": 448.0}


class _Codes(Protocol):
    """A weight (out, in) in fewer bits."""

    def unpacked(self) -> Tensor:
        """In the number format that it had."""
        ...

    @property
    def nbytes(self) -> int: ...


class _Scaled:
    """int8 or fp8 (e4m3), with a scale a row, so that each row's largest is the largest code."""

    def __init__(self, weight: Tensor, quantisation: Quantisation) -> None:
        largest = _LARGEST[quantisation]
        top = weight.float().abs().amax(dim=1, keepdim=True)
        # Rounded as it will be used, so that the codes make up for it.
        self._scale = (top / largest).to(weight.dtype).clamp_min(torch.finfo(weight.dtype).tiny)
        ratio = (weight.float() / self._scale.float()).clamp(-largest, largest)
        if quantisation == "int8":
            self._codes = ratio.round().to(torch.int8)
        else:
            self._codes = ratio.to(torch.float8_e4m3fn)

    def unpacked(self) -> Tensor:
        return self._codes.to(self._scale.dtype).mul_(self._scale)

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._scale.nbytes


class _Nf4:
    """Two codes a byte, with a float32 scale for each block."""

    def __init__(self, weight: Tensor) -> None:
        from bitsandbytes import functional

        self._unpack = functional.dequantize_4bit
        self._codes, self._state = functional.quantize_4bit(
            weight.contiguous(), quant_type="nf4", blocksize=_BLOCK
        )

    def unpacked(self) -> Tensor:
        weight: Tensor = self._unpack(self._codes, self._state)
        return weight

    @property
    def nbytes(self) -> int:
        return int(self._codes.nbytes + self._state.absmax.nbytes)


class _Multiply(torch.autograd.Function):
    """Keeps neither input nor unpacked weight: the weight is frozen, and unpacked again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.weight, None


class QuantisedLinear(nn.Linear):
    """Stands in for a frozen nn.Linear; x (…, in) is cast to the weight's number format.

    It stays where it was made: its codes do not follow the model to another device.
    """

    def __init__(self, linear: nn.Linear, quantisation: Quantisation, device: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        weight = linear.weight.detach().to(device)
        self.codes: _Codes = (
            _Nf4(weight) if quantisation == "nf4" else _Scaled(weight, quantisation)
        )
        self._dtype = weight.dtype

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight (out, in) as its codes tell it, made anew: for those that ask for it, such as
        DoRA."""
        return self.codes.unpacked()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Multiply.apply(x.to(self._dtype), self)  # type: ignore[no-untyped-call]
        return out


def load(
    family: Family,
    base: Path,
    only: Collection[PartName] | None,
    *,
    dtype: torch.dtype | None,
    device: str,
    quantisation: Quantisation,
) -> Parts:
    """As `Family.load`; layer by layer on the way to the device, so that this never has to hold the
    whole."""
    if quantisation == "none":
        return family.load(base, only=only, dtype=dtype, device=device)
    parts = family.load(base, only=only, dtype=dtype)
    for name in family.info.parts:
        module = getattr(parts, name)
        if isinstance(module, nn.Module):
            if name in quantised_parts(family.info):
                quantise(module, quantisation, device)
            module.to(device)
    return parts


def quantised_parts(info: FamilyInfo) -> tuple[PartName, ...]:
    """The denoisers, and the text encoders that are too large to be trained."""
    texts = set(info.parts) - set(info.trained_encoders) if info.large_texts else set()
    return tuple(
        name for name in info.parts
        if name.startswith("denoiser") or (name in texts and name.startswith("text_encoder"))
    )  # fmt: skip


def quantise(model: nn.Module, quantisation: Quantisation, device: str) -> int:
    """Replace the linear layers of the model's repeated blocks; returns how many.

    What comes before and after the blocks stays as it is: little memory, and all passes through.
    """
    parents = dict(model.named_modules())
    linear = {p: m for p, m in parents.items() if type(m) is nn.Linear and _in_blocks(p)}
    parents = {path: parents[path.rpartition(".")[0]] for path in linear}
    for path, parent in parents.items():
        layer = QuantisedLinear(linear.pop(path), quantisation, device)
        setattr(parent, path.rpartition(".")[2], layer)
    return len(parents)


def held_bytes(
    shapes: Mapping[str, tuple[int, ...]], quantisation: Quantisation, dtype: torch.dtype
) -> int:
    """What weights of these names and shapes take when they are loaded so."""
    packed = dict(_packed(shapes)) if quantisation != "none" else {}
    plain = sum(prod(shape) for name, shape in shapes.items() if name not in packed)
    return plain * dtype.itemsize + sum(
        _packed_bytes(rows, width, quantisation, dtype) for rows, width in packed.values()
    )


def unpacked_bytes(
    shapes: Mapping[str, tuple[int, ...]], quantisation: Quantisation, dtype: torch.dtype
) -> int:
    """What the largest layer takes while it is multiplied; 0 where none is packed."""
    if quantisation == "none":
        return 0
    return max((prod(shape) for _, shape in _packed(shapes)), default=0) * dtype.itemsize


def check(quantisation: Quantisation, device: str) -> None:
    """Raise ConfigInvalid where it cannot be done here."""
    if quantisation == "nf4" and find_spec("bitsandbytes") is None:
        raise ConfigInvalid(
            'quantisation = "nf4" needs the package bitsandbytes, which is not installed: '
            'pip install "loraloom[quantised]", or take int8, which needs no other package.'
        )
    if quantisation == "none":
        return
    try:
        trial = nn.Linear(_BLOCK, 1, bias=False, dtype=torch.bfloat16)
        QuantisedLinear(trial, quantisation, device).codes.unpacked()
    except (RuntimeError, NotImplementedError, AttributeError, OSError) as error:
        others = "int8" if quantisation == "fp8" else "int8 or fp8"
        raise ConfigInvalid(
            f'quantisation = "{quantisation}" cannot be done on this device ({device}): {error}. '
            f"Take {others}, or none."
        ) from error


def _packed(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, shape in shapes.items():
        path, _, kind = name.rpartition(".")
        if kind == "weight" and len(shape) == 2 and _in_blocks(path):
            yield name, (shape[0], shape[1])


def _packed_bytes(rows: int, width: int, quantisation: Quantisation, dtype: torch.dtype) -> int:
    count = rows * width
    if quantisation == "nf4":
        return (count + 1) // 2 + (count + _BLOCK - 1) // _BLOCK * torch.float32.itemsize
    return count + rows * dtype.itemsize


def _in_blocks(path: str) -> bool:
    """Whether a module is in one of several alike, which have numbers in their paths."""
    return any(name.isdigit() for name in path.split("."))
