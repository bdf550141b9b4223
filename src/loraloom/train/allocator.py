"""Keep freed memory in the process while training on a CPU.

A training step frees and asks again for the same large buffers. glibc gives each back to the
system (munmap) and takes it anew with its pages to be zeroed.
"""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h: parameter numbers of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Whether the C library could be told to; on others than glibc nothing happens."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wishes = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    heeded = [mallopt(parameter, value) == 1 for parameter, value in wishes]
    return all(heeded)


def return_freed_memory() -> None:
    """Give back once what is free now: after the encoders are let go."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
