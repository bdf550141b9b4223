"""Pictures a second of `dataset import` against decoding alone, and the memory it takes.

    python -m bench.import_speed --pictures 10000 --px 64

Draws noise pictures once, packs them as ZIP, and imports it in a process of its own. What decoding
alone takes is measured in one thread, in the same minute.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

IMPORT = """
import json, resource, sys, time
from pathlib import Path
from loraloom.dataset import intake
from loraloom.dataset.checking import Checkers
from loraloom.dataset.store import Store
from loraloom.settings import intake_limits
source, root = Path(sys.argv[1]), Path(sys.argv[2])
began = time.perf_counter()
with Checkers() as check:
    found = intake.import_into(Store(root).place("bench"), [source], check=check)
seconds = time.perf_counter() - began
usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({
    "pictures": len(found.pictures),
    "seconds": seconds,
    "cpu_s": sum(u.ru_utime + u.ru_stime for u in usage),
    "peak_mib": usage[0].ru_maxrss / 1024,
    "peak_child_mib": usage[1].ru_maxrss / 1024,
    "children": check.count,
}))
"""


def draw(count: int, side_px: int) -> list[bytes]:
    """PNG and JPEG in turn, each with other pixels."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG" if number % 2 else "PNG")
        pictures.append(buffer.getvalue())
    return pictures


def pack(path: Path, pictures: list[bytes]) -> None:
    """A ZIP with a caption beside each picture."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, data in enumerate(pictures):
            archive.writestr(f"{number:05d}.{'jpg' if number % 2 else 'png'}", data)
            archive.writestr(f"{number:05d}.txt", f"picture {number}")


def decode(pictures: list[bytes]) -> tuple[float, float]:
    """(seconds, seconds of processor) to decode them one after the other."""
    began, cpu_began = time.perf_counter(), time.process_time()
    for data in pictures:
        Image.open(io.BytesIO(data)).load()
    return time.perf_counter() - began, time.process_time() - cpu_began


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--px", type=int, default=64)
    options = parser.parse_args()
    pictures = draw(options.pictures, options.px)
    alone_s, alone_cpu_s = decode(pictures)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "pictures.zip")
        pack(archive, pictures)
        command = [sys.executable, "-c", IMPORT, str(archive), str(Path(folder, "store"))]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(run.stdout)
    found["px"] = options.px
    found["imported_per_s"] = found["pictures"] / found["seconds"]
    found["decoded_per_s"] = options.pictures / alone_s
    found["imported_per_cpu_s"] = found["pictures"] / found["cpu_s"]
    found["decoded_per_cpu_s"] = options.pictures / alone_cpu_s
    print(json.dumps({key: round(value, 1) for key, value in found.items()}))


if __name__ == "__main__":
    main()
