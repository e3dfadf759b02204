"""How this process asks the system for memory."""

import contextlib
import ctypes
import gc
import sys

import torch

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


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


def release_memory() -> None:
    """Give back what a step that ran out of memory left behind, on the CPU and the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
