"""What each tensor of an adapter file is by the end of its name, and one module's weights from it.

Names: kohya-ss/sd-scripts and diffusers (LoRA), KohakuBlueleaf/LyCORIS (LoHa, LoKr, dora_scale,
lora_mid), huggingface/peft (lora_magnitude_vector, OFT, BOFT).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loraloom.adapters.weights import (
    BoftWeights,
    LohaWeights,
    LokrWeights,
    LoraWeights,
    OftWeights,
    Weights,
)
from loraloom.errors import AdapterUnreadable

ROLES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "alpha": "alpha",
    "dora_scale": "dora_scale",
    "lora_magnitude_vector": "lengths",
    "lora_magnitude_vector.weight": "lengths",
    "lora_magnitude_vector.default.weight": "lengths",
    **{f"hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{
        f"lokr_{name}": f"lokr_{name}"
        for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    },
    "oft_R.weight": "oft_R",
    "oft_R.default.weight": "oft_R",
    "boft_R": "boft_R",
    "boft_s": "boft_s",
}
"""End of a tensor's name -> what it is."""
_UNREADABLE = {
    "oft_blocks": "OFT or BOFT as LyCORIS and kohya have it, which turns a layer's outputs",
    "a1.weight": "GLoRA",
    "on_input": "(IA)³",
    "diff": "whole differences of weights",
    "w_norm": "trained norms",
    "lora_B.bias": "LoRA with trained biases",
    "lora_linear_layer.up.bias": "LoRA with trained biases",
    "qkv_lora1.down.weight": "XLabs' own layout",
}
"""End of a tensor's name -> what such a file is called."""


def role_of(name: str) -> tuple[str, str] | None:
    """(module, role) of a tensor's name, None where it is no adapter's."""
    ending = next((end for end in ROLES if name.endswith("." + end)), None)
    return None if ending is None else (name[: -len(ending) - 1], ROLES[ending])


def unreadable(names: list[str]) -> str | None:
    """What the file is called, where it is of a kind that is known and not read."""
    ends = (kind for end, kind in _UNREADABLE.items() for n in names if n.endswith("." + end))
    return next(ends, None)


def build(
    path: str, roles: Mapping[str, Tensor], alpha: float | None, facts: Mapping[str, object]
) -> Weights:
    """The weights of the module at `path` from its tensors.

    `alpha` counts where no tensor tells it; without either it is the rank. `facts`: what peft's
    config says beside, by its own names. Raises AdapterUnreadable on missing and misshapen tensors.
    """
    if "alpha" in roles and len(roles) > 1:
        if roles["alpha"].numel() != 1:
            raise AdapterUnreadable(f"module {path!r}: alpha must be one number.")
        alpha = float(roles["alpha"])
    try:
        if any(role.startswith("hada_") for role in roles):
            return _loha(path, roles, alpha)
        if any(role.startswith("lokr_") for role in roles):
            return _lokr(path, roles, alpha, facts)
        if "oft_R" in roles:
            return _oft(path, roles, facts)
        if "boft_R" in roles or "boft_s" in roles:
            return _boft(path, roles)
        return _lora(path, roles, alpha, facts)
    except KeyError as e:
        raise AdapterUnreadable(f"module {path!r} lacks its tensor {e.args[0]}.") from e


def _lora(
    path: str, roles: Mapping[str, Tensor], alpha: float | None, facts: Mapping[str, object]
) -> LoraWeights:
    if "down" not in roles or "up" not in roles:
        raise AdapterUnreadable(f"module {path!r} has only one half of its LoRA (down and up).")
    down, up = roles["down"], roles["up"]
    if down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != down.shape[0]:
        raise AdapterUnreadable(
            f"module {path!r}: shapes {tuple(down.shape)} (down) and {tuple(up.shape)} (up) are "
            "no LoRA pair; down must be (rank, in, …) and up (out, rank, …)."
        )
    rank = down.shape[0]
    _refuse_empty(path, rank)
    if "mid" in roles:  # the core of a Tucker decomposition, between the two
        down = torch.einsum("abkl,bi->aikl", roles["mid"].float(), down.float().flatten(1))
    alpha = float(rank) if alpha is None else alpha
    if facts.get("use_rslora") and "alpha" not in roles:
        alpha *= rank**0.5
    return LoraWeights(down, up, alpha, _magnitude(path, roles, (len(up), *down.shape[1:])))


def _magnitude(path: str, roles: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor | None:
    """One length for each row, or in dora_scale for each column, in as many dimensions."""
    ones = [1] * (len(shape) - 2)
    if "lengths" in roles:
        lengths = roles["lengths"]
        if lengths.numel() == shape[0]:
            return lengths.reshape(-1, 1, *ones)
    elif "dora_scale" in roles:
        lengths = roles["dora_scale"]
        if lengths.shape[:2] in ((shape[0], 1), (1, shape[1])):
            return lengths.reshape(*lengths.shape[:2], *ones)
    else:
        return None
    raise AdapterUnreadable(
        f"module {path!r}: the magnitudes {tuple(lengths.shape)} of its DoRA do not fit its "
        f"weight {shape}."
    )


def _loha(path: str, roles: Mapping[str, Tensor], alpha: float | None) -> LohaWeights:
    _refuse_dora(path, roles, "LoHa")
    w1_a, w1_b, w2_a, w2_b = (roles[f"hada_{n}"] for n in ("w1_a", "w1_b", "w2_a", "w2_b"))
    t1, t2 = roles.get("hada_t1"), roles.get("hada_t2")
    rank = w1_b.shape[0]
    inner = 0 if t1 is not None else 1
    if (
        any(w.ndim != 2 for w in (w1_a, w1_b, w2_a, w2_b))
        or (t1 is None) != (t2 is None)
        or not w1_a.shape[inner] == rank == w2_a.shape[inner] == w2_b.shape[0]
        or w1_b.shape != w2_b.shape
        or w1_a.shape != w2_a.shape
    ):
        raise AdapterUnreadable(f"module {path!r}: the tensors of its LoHa do not fit together.")
    _refuse_empty(path, rank)
    return LohaWeights(w1_a, w1_b, w2_a, w2_b, float(rank) if alpha is None else alpha, t1, t2)


def _lokr(
    path: str, roles: Mapping[str, Tensor], alpha: float | None, facts: Mapping[str, object]
) -> LokrWeights:
    _refuse_dora(path, roles, "LoKr")
    w1, w1_a, w1_b, w2, w2_a, w2_b, t2 = (
        roles.get(f"lokr_{n}") for n in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    )
    halves = [("w1", w1, w1_a, w1_b), ("w2", w2, w2_a, w2_b)]
    for name, whole, a, b in halves:
        if whole is None and (a is None or b is None):
            raise KeyError(f"lokr_{name}")
    weights = LokrWeights(w1, w1_a, w1_b, w2, w2_a, w2_b, 1.0, t2)
    rank, r = weights.rank, facts.get("r")
    _refuse_empty(path, rank)
    if alpha is None:
        alpha = float(rank or 1)
    if "alpha" not in roles and rank is None and isinstance(r, int) and w1 is not None:
        # peft scales whole factors too; files of the other layouts do not.
        weights = LokrWeights(w1 * (alpha / r), None, None, w2, None, None, 1.0)
        alpha = 1.0
    found = LokrWeights(weights.w1, w1_a, w1_b, w2, w2_a, w2_b, alpha, t2)
    try:
        _ = found.size
    except RuntimeError as e:
        raise AdapterUnreadable(
            f"module {path!r}: the tensors of its LoKr do not fit together."
        ) from e
    return found


def _oft(path: str, roles: Mapping[str, Tensor], facts: Mapping[str, object]) -> OftWeights:
    terms = facts.get("num_cayley_neumann_terms", 5)
    if not facts or facts.get("coft") or facts.get("block_share") or not isinstance(terms, int):
        raise AdapterUnreadable(
            f"module {path!r} is an OFT of peft, whose tensors do not tell how they turn: its "
            "adapter_config.json is needed beside the file, without coft and block_share."
        )
    weights = OftWeights(roles["oft_R"], terms if facts.get("use_cayley_neumann", True) else 0)
    b = weights.block_size
    if weights.blocks.ndim != 2 or weights.blocks.shape[1] * 2 != b * (b - 1):
        raise AdapterUnreadable(f"module {path!r}: {tuple(weights.blocks.shape)} is no OFT.")
    return weights


def _boft(path: str, roles: Mapping[str, Tensor]) -> BoftWeights:
    blocks = roles["boft_R"]
    if blocks.ndim != 4 or blocks.shape[2] != blocks.shape[3]:
        raise AdapterUnreadable(f"module {path!r}: {tuple(blocks.shape)} is no BOFT of peft.")
    if blocks.shape[0] != 1:
        raise AdapterUnreadable(
            f"module {path!r} is a BOFT of {blocks.shape[0]} butterfly factors; of one it is read."
        )
    return BoftWeights(blocks, roles["boft_s"])


def _refuse_empty(path: str, rank: int | None) -> None:
    if rank == 0:
        raise AdapterUnreadable(f"module {path!r} has rank 0: there is nothing in it.")


def _refuse_dora(path: str, roles: Mapping[str, Tensor], kind: str) -> None:
    if "dora_scale" in roles:
        raise AdapterUnreadable(
            f"module {path!r} is a {kind} with dora_scale; DoRA is read of LoRA only."
        )
