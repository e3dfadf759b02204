"""What this machine has and how it is asked: units for half types, memory that is kept, time that callables take."""

import contextlib
import ctypes
import gc
import importlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moganet.compat import has_onednn_bf16, has_x86_bf16_units
from moganet.quota import quota_in_cores

if TYPE_CHECKING:
    import torch

SHORTEST_PAUSE = 0.1  # seconds between two looks at what is held
# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
HALF = {"bf16": "bfloat16", "f16": "float16"}  # torch's names
# What is there where a GPU may be: NVIDIA's, AMD's, and Windows' own within Linux.
GPU_NODES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def num_cores() -> int:
    """Give the number of cores that this process may use, by its affinity and by its container's quota, rounded down.

    With a thread more than the quota has cores, all would stand still for a part of the time, each at its own.
    """
    cores, quota = affinity(), quota_in_cores()
    return cores if quota is None else max(1, int(min(quota, cores)))


def affinity() -> int:
    """Give the number of cores that the system would run this process on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_others() -> int:
    """Give how many threads of other processes compute now on the whole machine, as Linux counts them; else 0.

    What is there for a moment only does not count: the least of some readings within a few milliseconds.
    """
    least = running_others()
    for _ in range(3):
        if not least:
            break
        time.sleep(0.002)
        least = min(least, running_others())
    return least


def running_others() -> int:
    """Give how many threads beside this one run at this moment, or wait for a core, as /proc/loadavg has it; else 0."""
    try:
        return max(0, int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return 0


def has_gpu() -> bool:
    """Tell whether torch has a GPU here; torch is imported for it only where one may be."""
    if "torch" not in sys.modules and sys.platform.startswith("linux") and not any(map(os.path.exists, GPU_NODES)):
        return False
    return bool(_torch().cuda.is_available())


def half_type(precision: str) -> "torch.dtype | None":
    """Give torch's type for a precision of half a float's bytes; None for others."""
    return getattr(_torch(), HALF[precision]) if precision in HALF else None


def has_fast_bf16(device: str) -> bool:
    """Tell whether bf16 is computed by units of a device's own; else it is emulated, slower than f32."""
    if device.startswith("cuda"):
        cuda = _torch().cuda
        with cuda.device(device) if ":" in device else contextlib.nullcontext():
            return bool(cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":  # Apple's, of which torch does not say
        return False
    if platform.machine() in ("x86_64", "AMD64"):  # oneDNN takes any AVX-512 for support
        return has_x86_bf16_units()
    return bool(_torch().backends.mkldnn.is_available()) and has_onednn_bf16()


def _torch() -> Any:
    return importlib.import_module("torch")


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of returning it to the system, and say whether it will.

    On a CPU each step frees and asks again for the same large tensors, and the kernel clears every page anew. Without
    that, moganet_xtiny trains 1.57 times as fast at 224 px on two cores (benchmarks/training_step.py), for 9 % more
    memory at its peak. Does nothing on other C libraries.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


@contextlib.contextmanager
def kept_below(most: int) -> Iterator[None]:
    """Give freed memory back to the system, within the block, as often as more than `most` bytes are held.

    What `keep_freed_memory` keeps grows with large photographs that several threads decode, since each has places of
    its own. Does nothing where the system does not tell what is held.
    """
    ended = threading.Event()
    watcher = threading.Thread(target=_trim, args=(most, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()


def _trim(most: int, ended: threading.Event) -> None:
    pause = SHORTEST_PAUSE
    with contextlib.suppress(OSError, AttributeError):  # no /proc, not glibc
        trim, page = ctypes.CDLL(None).malloc_trim, os.sysconf("SC_PAGESIZE")
        while not ended.wait(pause):
            held = _resident() * page
            if held > most:
                trim(0)
                # Where little of it was free, it is asked for less often.
                pause = SHORTEST_PAUSE if held - _resident() * page > held // 20 else min(2 * pause, 5.0)


def _resident() -> int:
    """Give the pages that this process holds."""
    return int(Path("/proc/self/statm").read_bytes().split()[1])


def release_memory() -> None:
    """Give back what a step that ran out of memory left behind, on the CPU and the GPU."""
    gc.collect()
    _torch().cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: its others go on waiting in circles afterwards, in the way of other runtimes.

    For what is small beside what a runtime computes next: a small network by OpenVINO loses 25 % of its rate so.
    """
    torch: Any = sys.modules["torch"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_turns(runs: Sequence[Callable[[], object]], rounds: int, seconds: float = 0.0) -> list[list[float]]:
    """Time callables in turns; give each one's seconds a call, one value a round; what slows the machine meets all.

    A first round is not counted. seconds: how long a callable is called again in a round, of which the mean counts.
    """
    times: list[list[float]] = [[] for _ in runs]
    gc.collect()
    for turn in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            start, calls = time.perf_counter(), 0
            while not calls or time.perf_counter() - start < (seconds if turn else 0.0):
                run()
                calls += 1
            if turn:
                taken.append((time.perf_counter() - start) / calls)
    return times
