"""Why a trainer ended."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloom.studio.job import Reason

_STOPPED = 130
_REASONS = {
    "MemoryExhausted": Reason.MEMORY,
    "LossNotFinite": Reason.NOT_FINITE,
    "DiskFull": Reason.DISK,
    "OutputUnwritable": Reason.DISK,
}
"""Errors by name; all others that the trainer tells are of pictures, settings or base."""
_LOG_TAIL_BYTES = 8192


@dataclass(frozen=True)
class Failure:
    """Why a run came to no end."""

    reason: Reason
    message: str


def failure(status: int, last: Mapping[str, Any], log: Path, oom_kills_before: int) -> Failure:
    """What the last event, the exit status and the log say; `status` as subprocess gives it."""
    if last.get("event") == "failed":
        return Failure(_REASONS.get(str(last["error"]), Reason.DATA), str(last["message"]))
    if status == -signal.SIGKILL:
        if oom_kills() > oom_kills_before:
            return Failure(
                Reason.MEMORY,
                "The system ended the trainer because its memory was used up. `loraloom plan` "
                "tells what a run needs and what to change to need less.",
            )
        return Failure(Reason.LOST, "The trainer was ended from outside (SIGKILL).")
    if status == _STOPPED:
        return Failure(Reason.LOST, "The trainer was asked to stop from outside.")
    line = _last_line(log)
    if "OutOfMemoryError" in line or "MemoryError" in line or "DefaultCPUAllocator" in line:
        return Failure(Reason.MEMORY, line)
    if status < 0:
        return Failure(Reason.BUG, f"The trainer crashed ({_signal_name(-status)}). {line}".strip())
    return Failure(Reason.BUG, line or f"The trainer ended with status {status} without a word.")


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _last_line(log: Path) -> str:
    """The last line of this attempt that says something; NUL, which databases refuse, left out."""
    with log.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(stream.tell() - _LOG_TAIL_BYTES, 0))
        text = stream.read().decode(errors="replace").replace("\0", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines and not lines[-1].startswith("--- attempt") else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
