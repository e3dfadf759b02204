"""Where a network computes: on the processor, or on an accelerator that torch finds here."""

import importlib
import os
import platform
import re
import sys
from typing import NamedTuple

from moganet.config import DEVICE, DEVICES
from moganet.errors import ConfigError
from moganet.machine import GPU_NODES, has_gpu


class Where(NamedTuple):
    """On which device a network computes, and with how many threads; None is as many as hold for the process."""

    device: str = "auto"
    threads: int | None = None


ANYWHERE = Where()


def choose_device(asked: object = "auto") -> str:
    """Give torch's name for a device: "auto" is a GPU where torch has one, else the processor.

    asked: also a torch.device. Raises ConfigError, naming what is here, for one that does not exist, or not here.
    """
    name = str(asked)
    if name == "auto":
        return "cuda" if has_gpu() else "cpu"
    if re.fullmatch(DEVICE, name) is None:
        raise ConfigError(f"there is no device {name!r}; say {DEVICES}{_meant(name)}; here {_are()}")
    if name == "cpu" or (name == "mps" and has_mps()):
        return name
    if name != "mps" and int(name.partition(":")[2] or 0) < _num_gpus():
        return name
    raise ConfigError(f"there is no {name} here; {_are()}{_why(name)}")


def gpus() -> list[str]:
    """Name the GPUs that torch has here, in their order."""
    return [importlib.import_module("torch").cuda.get_device_name(number) for number in range(_num_gpus())]


def _num_gpus() -> int:
    """Count them, which starts none of them; asking for a name does."""
    return int(importlib.import_module("torch").cuda.device_count()) if has_gpu() else 0


def has_mps() -> bool:
    """Tell whether torch has Apple's GPU here; torch is imported for it on such a machine only."""
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return False
    return bool(importlib.import_module("torch").backends.mps.is_available())


def devices() -> list[str]:
    """Name what may be asked for here, the processor first."""
    return ["cpu", *(f"cuda:{number}" for number in range(_num_gpus())), *["mps"] * has_mps()]


def _are() -> str:
    named = dict(zip((name for name in devices() if name.startswith("cuda")), gpus(), strict=True))
    there = [f"{name} ({named[name]})" if name in named else name for name in devices()]
    return f"there {'is' if len(there) == 1 else 'are'} {', '.join(there)}"


def _meant(name: str) -> str:
    if re.fullmatch(r"\d{1,2}", name):
        return f" (cuda:{name}?)"
    return " (cuda?)" if name.lower() in ("gpu", "cuda", "nvidia", "rocm", "hip") else ""


def _why(name: str) -> str:
    """Say why a GPU may be missed that the machine has."""
    if name == "mps" or has_gpu():
        return ""
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return f" (CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r})"
    if any(map(os.path.exists, GPU_NODES)):
        return " (this machine has a GPU, but this torch can't use it: it is built without, or the driver is too old)"
    return ""
