"""How much memory `moganet batch` takes with photographs of 24 megapixels, over time, in a process of its own.

PYTHONPATH=. python benchmarks/batch_memory.py [IMAGES] [MODEL]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from service import memory

SIZE = (6000, 4000)
DISTINCT = 4  # files that are encoded; the others are links to them


class Held(NamedTuple):
    """What a whole `moganet batch` took. seen: MB, ten times a second; most: MB, as Linux counts its peak."""

    done: int
    seconds: float
    seen: list[float]
    most: float


def make_photographs(folder: Path, number: int) -> None:
    """Write JPEGs of 24 megapixels."""
    generator = np.random.default_rng(0)
    for i in range(number):
        path = folder / f"{i:04d}.jpg"
        if i < DISTINCT:
            small = generator.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
            Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            path.symlink_to(folder / f"{i % DISTINCT:04d}.jpg")


def held(model: str, photos: Path, out: Path, *options: str) -> Held:
    """Predict a folder of photographs in a process of its own, and watch its memory."""
    command = [sys.executable, "-m", "moganet", "batch", model, str(photos), "--out", str(out), *options]
    start, seen, most = time.perf_counter(), list[float](), 0.0
    with subprocess.Popen([*command, "--json", "--quiet"], stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                seen.append(memory(process.pid))
                most = max(most, memory(process.pid, "VmHWM"))
            except (OSError, StopIteration):  # it has just ended
                break
            time.sleep(0.1)
        result = json.loads(process.communicate()[0])
    return Held(result["done"], time.perf_counter() - start, seen, most)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    model = sys.argv[2] if len(sys.argv) > 2 else "moganet_nano.cifar10"
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place, "photos")
        photos.mkdir()
        make_photographs(photos, number)
        found = held(model, photos, Path(place, "out"))
    seen, pixels = found.seen, SIZE[0] * SIZE[1] / 1e6
    quarters = [max(seen[i * len(seen) // 4 : (i + 1) * len(seen) // 4] or [0.0]) for i in range(4)]
    print(f"{found.done} photographs of {pixels:.0f} megapixels in {found.seconds:.1f} s")
    print(f"most MB held in each quarter of that time: {', '.join(f'{one:.0f}' for one in quarters)}")


if __name__ == "__main__":
    main()
