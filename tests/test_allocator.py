"""The C library is told to keep memory; a run's memory then does not grow with its steps."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from loraloom.train import allocator
assert allocator.keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    bytearray(8 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_buffers_are_not_taken_anew_from_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    pages_of_one_buffer = 8 * 2**20 // 4096
    assert int(done.stdout) < 3 * pages_of_one_buffer
