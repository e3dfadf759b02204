"""What this machine has: units for half types, and how this process asks the system for memory."""

import contextlib
import ctypes
import gc
import platform
import sys

import torch

from moganet.compat import has_onednn_bf16, has_x86_bf16_units

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
HALF = {"bf16": torch.bfloat16, "f16": torch.float16}


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether bf16 is computed by units of its own; elsewhere it is emulated, slower than f32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in ("x86_64", "AMD64"):  # oneDNN takes any AVX-512 for support
        return has_x86_bf16_units()
    return torch.backends.mkldnn.is_available() and has_onednn_bf16()  # type: ignore[no-untyped-call]


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
