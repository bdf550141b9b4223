"""What a worker is called, and whether one of this machine is still there.

The name tells the machine, the process, and the world of process numbers that its number is of: two
containers may share a machine's name, and never that.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

_NAME = re.compile(r"(?P<host>.*):(?P<pid>\d+)/(?P<began>\d+)@(?P<world>.+)")


def own_name() -> str:
    """Of this process: "host:123/4567@pid:[4026531836]"."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}/{_began(pid)}@{_world()}"


def is_gone(name: str) -> bool:
    """Whether it was a process of this machine and has ended; False where that cannot be told."""
    found = _NAME.fullmatch(name)
    if found is None or (found["host"], found["world"]) != (socket.gethostname(), _world()):
        return False
    return _began(int(found["pid"])) != int(found["began"])


def title(name: str) -> str:
    """What people are told: host and process number."""
    found = _NAME.fullmatch(name)
    return f"{found['host']}:{found['pid']}" if found else name


def _began(pid: int) -> int:
    """When the process began, in ticks since the machine did; 0 for one that is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    state, *rest = fields.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(rest[18])


def _world() -> str:
    """Changes with each start of the machine, and from container to container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux: nobody is ever said to be gone
        return f"unknown-{os.getpid()}"
