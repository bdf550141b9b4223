"""What a denoiser keeps for the way back and how much it computes, from shapes alone.

The real classes run on torch's meta device, where tensors have shapes and no values: nothing is
loaded, and no family needs coefficients of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from loraloom.dataset.buckets import Bucket
from loraloom.families.base import Condition, Family, Geometry

_IN_FLOAT32 = frozenset((F.layer_norm, F.group_norm, F.softmax, F.rms_norm))
"""What autocast computes in float32 on a GPU."""
_ASKS_VALUES = frozenset((Tensor.__bool__, Tensor.__invert__, Tensor.__getitem__))
_PRODUCTS = frozenset((F.linear, F.conv2d, F.conv3d))
"""What it computes in the base's format; with attention, nearly all that is computed."""


@dataclass(frozen=True)
class Footprint:
    """Of one batch, forward and back."""

    kept_bytes: int
    """What is kept for the way back."""
    block_bytes: int
    """What the largest checkpointed part keeps while it is computed again; 0 without any."""
    largest_bytes: int
    """The largest single tensor of these."""
    forward_flops: int

    @property
    def activation_bytes(self) -> int:
        """At the turn, with the gradients of the largest tensor and its neighbours."""
        return self.kept_bytes + self.block_bytes + 3 * self.largest_bytes


@dataclass
class Ledger:
    """Storages that are kept for the way back, each once."""

    own: set[int]
    """Those of the weights."""
    kept: dict[int, Any] = field(default_factory=dict)
    block_bytes: int = 0
    largest_bytes: int = 0
    _held: list[Any] = field(default_factory=list)
    """All that were ever seen, so that none comes to stand where another stood."""

    @classmethod
    def of(cls, model: nn.Module) -> Ledger:
        """For what is computed with a model."""
        return cls({p.untyped_storage()._cdata for p in model.parameters()})

    def keeping(self) -> AbstractContextManager[None]:
        """Within, what is computed notes what it keeps."""
        return torch.autograd.graph.saved_tensors_hooks(self.keep, lambda kept: kept)

    @property
    def kept_bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.kept.values())

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own:
            self.kept[storage._cdata] = storage
            self._held.append(storage)
            self.largest_bytes = max(self.largest_bytes, storage.nbytes())
        return tensor

    def checkpoint(self, part: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Stands in for torch's checkpoint: of what the part keeps, its inputs stay."""
        before, bytes_before = dict(self.kept), self.kept_bytes
        output = part(*given, **named)
        self.block_bytes = max(self.block_bytes, self.kept_bytes - bytes_before)
        self.kept = before
        for value in (*given, *named.values()):
            if isinstance(value, Tensor):
                self.keep(value)
        return output


class Unset(TorchFunctionMode):
    """Within, single numbers are not set: peft does so with permutations, which have no values on
    the meta device."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is Tensor.__setitem__:
            return None
        return function(*args, **(kwargs or {}))


class Held(TorchDispatchMode):
    """Within, counts what all new tensors hold at once, at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._bytes = 0
        self._known: WeakSet[Any] = WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # What was there before, such as weights, is not counted where a view of it comes out.
        self._known.update(value.untyped_storage() for value in _tensors((args, kwargs)))
        output = function(*args, **(kwargs or {}))
        for value in _tensors(output):
            self._see(value.untyped_storage())
        return output

    def _see(self, storage: Any) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self._bytes += storage.nbytes()
            self.peak_bytes = max(self.peak_bytes, self._bytes)
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self._bytes -= size


class _Attention(torch.autograd.Function):
    """Keeps what flash attention keeps: no matrix of all tokens by all tokens but a mask's, which
    it takes as numbers."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any) -> Tensor:
        # Laid out as the query is, as the fast kernels do: token by token where no norm or rotation
        # has brought it into another order, and then the heads are joined without a copy.
        output = torch.empty_like(query)
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        mask = mask.to(query.dtype) if mask is not None else None
        ctx.save_for_backward(query, key, value, output, sums, mask)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, None]:
        raise AssertionError("shapes have no gradients")


class AsTrained(TorchFunctionMode):
    """Attention as the fast kernels do it, the number formats that autocast would choose, and a
    count of multiplications and additions."""

    def __init__(self, dtype: torch.dtype, autocast_on_gpu: bool) -> None:
        super().__init__()
        self.flops = 0
        self._opposites: list[Tensor] = []
        """Of masks, all of whose rows count: these pick none."""
        self._dtype = dtype
        self._float32 = autocast_on_gpu and dtype != torch.float32

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _ASKS_VALUES:
            return self._asked(function, *args)
        if function is F.scaled_dot_product_attention:
            query, key, value = args[:3] if len(args) >= 3 else (
                kwargs["query"], kwargs["key"], kwargs["value"],
            )  # fmt: skip
            pairs = query.shape[:-1].numel() * key.shape[-2]
            self.flops += 2 * pairs * (query.shape[-1] + value.shape[-1])
            mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
            return _Attention.apply(query, key, value, mask)  # type: ignore[no-untyped-call]
        if self._float32 and function in _IN_FLOAT32:
            return function(*map(_to(torch.float32), args), **_values(torch.float32, kwargs))
        if function in _PRODUCTS:
            if self._dtype != torch.float32:
                args, kwargs = tuple(map(_to(self._dtype), args)), _values(self._dtype, kwargs)
            output = function(*args, **kwargs)
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self.flops += 2 * output.numel() * weight[0].numel()
            return output
        return function(*args, **kwargs)

    def _asked(self, function: Any, tensor: Tensor, index: Any = None) -> Any:
        """What depends on values, which there are none of: yes, and each row that a mask picks."""
        if function is Tensor.__bool__:
            return True
        if function is Tensor.__invert__:
            self._opposites.append(~tensor)
            return self._opposites[-1]
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            return tensor[:0] if any(index is known for known in self._opposites) else tensor
        return tensor[index]


def measure(
    family: Family,
    denoiser: nn.Module,
    bucket: Bucket,
    batch_size: int,
    *,
    latent_shape: tuple[int, ...],
    checkpointing: bool,
    gpu: bool,
) -> Footprint:
    """Run a batch of one size through a denoiser on the meta device, with its adapter in.

    `latent_shape`: (C, …, h, w) of one picture.
    """
    dtype = next(p.dtype for p in denoiser.parameters() if not p.requires_grad)
    ledger = Ledger.of(denoiser)
    if checkpointing:
        denoiser.enable_gradient_checkpointing(ledger.checkpoint)  # type: ignore[operator]
    trained = AsTrained(dtype, gpu)
    x_t = torch.empty(batch_size, *latent_shape, dtype=dtype, device="meta")
    times = torch.empty(batch_size, device="meta")
    given = condition(family, denoiser, bucket, batch_size, dtype)
    with ledger.keeping(), trained:
        output = family.predict(denoiser, x_t, times, given)
    if checkpointing:
        denoiser.disable_gradient_checkpointing()  # type: ignore[operator]
    error = output.untyped_storage().nbytes()  # the loss keeps the difference, in float32
    kept = ledger.kept_bytes + error * (4 // output.element_size())
    return Footprint(kept, ledger.block_bytes, ledger.largest_bytes, trained.flops)


def condition(
    family: Family, denoiser: Any, bucket: Bucket, batch_size: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """A batch of texts of full length, and what the denoiser is told of the pictures' sizes."""
    side = (bucket.height_px, bucket.width_px)
    texts = family.text_shapes(denoiser.config)
    made = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in texts.items()}
    batch = family.collate([Condition(made)] * batch_size)
    sizes = family.geometry([Geometry(side, (0, 0), side)] * batch_size)
    return batch | {name: torch.empty_like(size, device="meta") for name, size in sizes.items()}


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def _to(dtype: torch.dtype) -> Callable[[Any], Any]:
    def cast(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if floating and value.dtype != dtype else value

    return cast


def _values(dtype: torch.dtype, named: dict[str, Any]) -> dict[str, Any]:
    return {name: _to(dtype)(value) for name, value in named.items()}
