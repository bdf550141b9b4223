"""What this machine has: memory, and how fast it multiplies."""

from __future__ import annotations

import sys
import time

import psutil
import torch

MIB = 2**20
_SIDE = {"cpu": 1024, "cuda": 8192}
_SHORTEST_S = 0.2


def title(device: str) -> str:
    """What the device is called."""
    return torch.cuda.get_device_name() if device == "cuda" else "this machine's memory"


def total_mib(device: str) -> int:
    """All the memory that training could have."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory // MIB)
    return int(psutil.virtual_memory().total // MIB)


def peak_mib(device: str) -> int:
    """The most that this process has held of it at once."""
    if device == "cuda":
        return int(torch.cuda.max_memory_reserved() // MIB)
    if sys.platform == "win32":  # pragma: no cover
        return int(psutil.Process().memory_info().peak_wset // MIB)
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(held // (MIB if sys.platform == "darwin" else 1024))


def is_exhausted(error: RuntimeError) -> bool:
    """Whether an error says that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def flops_per_s(device: str, dtype: torch.dtype) -> float:
    """Multiplications and additions a second in one large product, measured now."""
    side = _SIDE[device]
    left = torch.ones(side, side, dtype=dtype, device=device)
    left @ left  # the first one prepares
    count, begun = 0, _now(device)
    while (passed := _now(device) - begun) < _SHORTEST_S:
        left @ left
        count += 1
    return 2.0 * side**3 * count / passed


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()
