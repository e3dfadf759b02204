"""Private names of other packages, each behind a function with a test of its own, which alone imports the package."""

import importlib
import multiprocessing
import os
import pickle
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from torchmetrics import Metric

CPUINFO = Path("/proc/cpuinfo")  # of Linux
# What torch asks an x86 processor for (aten/src/ATen/native/DispatchStub.cpp), by the kernel's names.
CAPABILITIES = {"AVX512": {"avx512vl", "avx512bw", "avx512dq", "fma"}, "AVX2": {"avx2", "fma"}}
# The unpickler in Python, whose steps can be counted; the one in C can't be changed.
PythonUnpickler = pickle._Unpickler


def cpu_capability() -> str:
    """Give the widest instructions that torch uses on this processor, by its own name for them ("AVX512")."""
    is_known = platform.machine() in ("x86_64", "AMD64") and CPUINFO.is_file()
    if "torch" not in sys.modules and is_known and "ATEN_CPU_CAPABILITY" not in os.environ:  # which tells torch to
        flags = set(CPUINFO.read_text().split())
        return next((name for name, needed in CAPABILITIES.items() if needed <= flags), "DEFAULT")
    import torch

    return torch.backends.cpu.get_cpu_capability()


def has_x86_bf16_units() -> bool:
    """Tell whether an x86 processor has units for bf16 (AVX-512 BF16 or AMX)."""
    if "torch" not in sys.modules and CPUINFO.is_file():  # the kernel says the same, at once
        return bool({"avx512_bf16", "amx_tile"} & set(CPUINFO.read_text().split()))
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def has_onednn_bf16() -> bool:
    """Tell whether oneDNN computes in bf16 on this processor."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def import_openvino() -> Any:
    """Import OpenVINO without its converter of models, a third of the time; who asks for that has it nonetheless."""
    if "openvino" in sys.modules or "openvino.tools.ovc" in sys.modules:
        return importlib.import_module("openvino")
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]  # to Python, one that can't be imported
    try:
        openvino = importlib.import_module("openvino")
    finally:
        del sys.modules["openvino.tools.ovc"]
    openvino.__getattr__ = _tool_of_openvino  # type: ignore[method-assign]
    return openvino


def _tool_of_openvino(name: str) -> Any:
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    return importlib.import_module("openvino.tools.ovc").convert_model


def has_hooks(module: "torch.nn.Module") -> bool:
    """Tell whether somebody wants to see what goes into a module, or comes out of it."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def compile_ahead(program: "torch.export.ExportedProgram", file: IO[bytes]) -> None:
    """Compile a program to a library for this machine (AOTInductor) and write it to a file."""
    from torch._inductor import aoti_compile_and_package

    aoti_compile_and_package(program, package_path=file)


def load_compiled(path: str) -> Any:
    """Load what `compile_ahead` wrote, as a callable."""
    from torch._inductor import aoti_load_package

    return aoti_load_package(path)


def take_indices(number: int, indices: int | Sequence[int] | None) -> tuple[list[int], int]:
    """Give the indices of features, from 0, that timm's `indices` stands for, and the largest of them."""
    from timm.models._features import feature_take_indices

    taken: tuple[list[int], int] = feature_take_indices(number, indices)
    return taken


def set_update_count(metric: "Metric", count: int) -> None:
    """Let a metric count that many updates, so that one whose state is put back is not taken for unused."""
    metric._update_count = count


def restart_within_epochs(trainer: "pl.Trainer") -> None:
    """Let a run of max_steps go on as one of max_epochs does: Lightning's own way loses the place in the epoch."""
    assert callable(trainer.fit_loop._iteration_based_training)  # else nothing would change, and nobody see it
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def is_being_started() -> bool:
    """Tell whether this process is one of multiprocessing's that still reads the main script (spawn)."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def hush_ray() -> None:
    """Let Ray print nothing of what it hears of its processes, which it would on stdout, even told not to."""
    worker = importlib.import_module("ray._private.worker")
    assert hasattr(worker, "_worker_logs_enabled")  # else nothing would change, and nobody see it
    worker._worker_logs_enabled = False  # type: ignore[attr-defined]
