"""What an adapter does to the weight of one module, kind by kind.

Each has the same few words: `kind`, `rank` and `alpha` as far as it has them, `fits` a weight's
shape, `tensors` under the names that files give them, and `change`, what it adds to the weight.
Names and scales: KohakuBlueleaf/LyCORIS (hada_…, lokr_…, dora_scale), huggingface/peft (oft_R,
boft_R, boft_s).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloom.config import AdapterType


@dataclass(frozen=True)
class LoraWeights:
    """Adds `alpha / rank * up @ down`; with a magnitude it is DoRA, arXiv:2402.09353: the sum's
    rows are then brought to that length."""

    down: Tensor  # (rank, in) or (rank, in, kh, kw)
    up: Tensor  # (out, rank) or (out, rank, 1, 1)
    alpha: float
    magnitude: Tensor | None = None  # (out, 1, …), or (1, in, …) where columns are brought to it

    @property
    def kind(self) -> AdapterType:
        return "lora" if self.magnitude is None else "dora"

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def size(self) -> tuple[int, ...]:
        return len(self.up), *self.down.shape[1:]

    def fits(self, shape: tuple[int, ...]) -> bool:
        return self.size == shape

    def tensors(self) -> dict[str, Tensor]:
        """Only the magnitude: the names of the halves differ from layout to layout."""
        return {} if self.magnitude is None else {"dora_scale": self.magnitude}

    def change(self, base: Tensor | None) -> Tensor:
        """(out, in, …), float32; a DoRA needs the base's weight."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        added = (self.alpha / self.rank * product).reshape(self.size)
        if self.magnitude is None:
            return added
        weight = _needed(base)
        merged = weight + added.to(weight.device)
        magnitude = self.magnitude.float().to(weight.device)
        along = [dim for dim, count in enumerate(magnitude.shape) if count == 1]
        length: Tensor = torch.linalg.vector_norm(merged, dim=along, keepdim=True)
        return merged * (magnitude / length) - weight


@dataclass(frozen=True)
class LohaWeights:
    """Adds `alpha / rank * (w1_a @ w1_b) * (w2_a @ w2_b)`, FedPara, arXiv:2108.06098.

    A convolution is flattened to (out, in * kh * kw); with t1 and t2 (rank, rank, kh, kw) it is
    not, and w1_a, w2_a are (rank, out).
    """

    w1_a: Tensor  # (out, rank)
    w1_b: Tensor  # (rank, in)
    w2_a: Tensor
    w2_b: Tensor
    alpha: float
    t1: Tensor | None = None
    t2: Tensor | None = None
    kind: AdapterType = "loha"

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    @property
    def size(self) -> tuple[int, ...]:
        if self.t1 is None:
            return self.w1_a.shape[0], self.w1_b.shape[1]
        return self.w1_a.shape[1], self.w1_b.shape[1], *self.t1.shape[2:]

    def fits(self, shape: tuple[int, ...]) -> bool:
        return _flat(self.size) == _flat(shape)

    def tensors(self) -> dict[str, Tensor]:
        named = {
            "hada_w1_a": self.w1_a, "hada_w1_b": self.w1_b, "hada_w2_a": self.w2_a,
            "hada_w2_b": self.w2_b, "hada_t1": self.t1, "hada_t2": self.t2,
        }  # fmt: skip
        return _present(named, self.alpha)

    def change(self, base: Tensor | None) -> Tensor:
        """As wide as the base's weight where that is given; float32."""
        one = _tucker(self.w1_a, self.w1_b, self.t1)
        two = _tucker(self.w2_a, self.w2_b, self.t2)
        added = one * two * (self.alpha / self.rank)
        return added if base is None else added.reshape(base.shape)


@dataclass(frozen=True)
class LokrWeights:
    """Adds the Kronecker product of w1 and w2, LyCORIS, arXiv:2309.14859.

    Each factor is whole, or the product of a and b; with one in parts the scale is alpha / rank,
    otherwise 1. A convolution's w2 is (out, in, kh, kw), or (out, in * kh * kw) as a product.
    """

    w1: Tensor | None
    w1_a: Tensor | None
    w1_b: Tensor | None
    w2: Tensor | None
    w2_a: Tensor | None
    w2_b: Tensor | None
    alpha: float
    t2: Tensor | None = None
    kind: AdapterType = "lokr"

    @property
    def rank(self) -> int | None:
        parts = self.w1_b if self.w2_b is None else self.w2_b
        return None if parts is None else parts.shape[0]

    @property
    def size(self) -> tuple[int, ...]:
        small, large = self._factors()
        return small.shape[0] * large.shape[0], small.shape[1] * large.shape[1], *large.shape[2:]

    def fits(self, shape: tuple[int, ...]) -> bool:
        return _flat(self.size) == _flat(shape)

    def tensors(self) -> dict[str, Tensor]:
        named = {
            "lokr_w1": self.w1, "lokr_w1_a": self.w1_a, "lokr_w1_b": self.w1_b,
            "lokr_w2": self.w2, "lokr_w2_a": self.w2_a, "lokr_w2_b": self.w2_b,
            "lokr_t2": self.t2,
        }  # fmt: skip
        return _present(named, self.alpha)

    def change(self, base: Tensor | None) -> Tensor:
        """As wide as the base's weight where that is given; float32."""
        small, large = self._factors()
        scale = self.alpha / self.rank if self.rank else 1.0
        added = scale * torch.kron(small.reshape(*small.shape, *[1] * (large.ndim - 2)), large)
        return added if base is None else added.reshape(base.shape)

    def _factors(self) -> tuple[Tensor, Tensor]:
        small = self.w1 if self.w1_a is None else _tucker(self.w1_a, self.w1_b, None)
        large = self.w2 if self.w2_a is None else _tucker(self.w2_a, self.w2_b, self.t2)
        assert small is not None and large is not None
        return small.float().contiguous(), large.float().contiguous()


@dataclass(frozen=True)
class OftWeights:
    """Turns blocks of a module's inputs by the Cayley transform of skew matrices, given by what
    stands above their diagonal: OFT, arXiv:2306.07280, as peft has it."""

    blocks: Tensor  # (number, size * (size - 1) / 2)
    terms: int = 0  # of peft's series in place of the exact transform; 0: exact
    kind: AdapterType = "oft"
    rank: None = None
    alpha: None = None

    @property
    def block_size(self) -> int:
        return (1 + math.isqrt(1 + 8 * self.blocks.shape[1])) // 2

    @property
    def size(self) -> tuple[int | None, int]:
        return None, self.blocks.shape[0] * self.block_size

    def fits(self, shape: tuple[int, ...]) -> bool:
        return _flat(shape)[1] == self.size[1]

    def tensors(self) -> dict[str, Tensor]:
        return {"oft_R.weight": self.blocks}

    def change(self, base: Tensor | None) -> Tensor:
        """As wide as the base's weight, which is needed; float32."""
        weight, b = _needed(base), self.block_size
        skew = torch.zeros(len(self.blocks), b, b, device=weight.device)
        rows, columns = torch.triu_indices(b, b, 1)
        skew[:, rows, columns] = self.blocks.float().to(weight.device)
        skew = skew - skew.transpose(1, 2)
        turn = _cayley(skew) if not self.terms else _series(skew, self.terms)
        return _turned(weight, turn) - weight


@dataclass(frozen=True)
class BoftWeights:
    """Turns blocks of inputs and scales each output: BOFT, arXiv:2311.06243, of one factor."""

    blocks: Tensor  # (1, number, size, size), of which the skew part counts
    scales: Tensor  # as many as outputs
    kind: AdapterType = "boft"
    rank: None = None
    alpha: None = None

    @property
    def block_size(self) -> int:
        return self.blocks.shape[-1]

    @property
    def size(self) -> tuple[int, int]:
        return self.scales.numel(), self.blocks.shape[1] * self.block_size

    def fits(self, shape: tuple[int, ...]) -> bool:
        return _flat(shape) == self.size

    def tensors(self) -> dict[str, Tensor]:
        return {"boft_R": self.blocks, "boft_s": self.scales}

    def change(self, base: Tensor | None) -> Tensor:
        """As wide as the base's weight, which is needed; float32."""
        weight = _needed(base)
        blocks = self.blocks[0].float().to(weight.device)
        turned = _turned(weight, _cayley((blocks - blocks.transpose(1, 2)) / 2))
        scales = self.scales.float().to(weight.device)
        return turned * scales.reshape(-1, *[1] * (weight.ndim - 1)) - weight


Weights = LoraWeights | LohaWeights | LokrWeights | OftWeights | BoftWeights


def _needed(base: Tensor | None) -> Tensor:
    assert base is not None, "this kind changes a weight by what that is"
    return base.float()


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _present(named: dict[str, Tensor | None], alpha: float) -> dict[str, Tensor]:
    given = {name: tensor for name, tensor in named.items() if tensor is not None}
    return {**given, "alpha": torch.tensor(alpha)}


def _tucker(a: Tensor, b: Tensor | None, t: Tensor | None) -> Tensor:
    assert b is not None
    if t is None:
        return a.float() @ b.float()
    return torch.einsum("ijkl,ip,jr->prkl", t.float(), a.float(), b.float())


def _cayley(skew: Tensor) -> Tensor:
    """(I - S)(I + S)^-1 of each (n, b, b)."""
    one = torch.eye(skew.shape[-1], device=skew.device).expand_as(skew)
    turn: Tensor = torch.linalg.solve(one + skew, one - skew, left=False)
    return turn


def _series(skew: Tensor, terms: int) -> Tensor:
    """The transform's Neumann series as peft cuts it: I + 2 S + 2 S² + … + Sᵗ⁻¹."""
    turn = torch.eye(skew.shape[-1], device=skew.device).expand_as(skew).clone()
    power = turn
    for number in range(1, terms):
        power = power @ skew
        turn = turn + power * (1 if number == terms - 1 and terms > 2 else 2)
    return turn


def _turned(weight: Tensor, turn: Tensor) -> Tensor:
    """The weight of a layer whose inputs are turned first."""
    blocks = weight.reshape(len(weight), *turn.shape[:2])
    return torch.einsum("onb,ncb->onc", blocks, turn).reshape(weight.shape)
