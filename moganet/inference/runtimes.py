"""What runs a network for prediction, by name: torch itself, or an exported file in a cache and its loader.

Torch is imported where it is what answers, or where there is no file in the cache yet.
"""

import importlib.util
import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from moganet.config import Precision
from moganet.devices import ANYWHERE, Where, choose_device
from moganet.errors import ConfigError, MogaNetError, choose_of, first_line
from moganet.inference.cached import PACKAGES, CachedRun, Source
from moganet.inference.predictor import NamedRun, Predictor
from moganet.inference.runs import Array, Outputs, Sizes
from moganet.inference.threads import Guard, settle_after_fork
from moganet.machine import has_fast_bf16
from moganet.models.description import ModelDescription
from moganet.notices import say
from moganet.processors import using_threads
from moganet.tasks import TASKS

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import nn

Runtime = Literal["auto", "eager", "compile", "onnx", "openvino"]
NAMES = {"openvino": "OpenVINO", "onnx": "onnxruntime", "compile": "torch.compile"}
AUTO = "MOGANET_RUNTIME"  # the environment variable that says what "auto" means


def open_predictor(
    network: "nn.Module | Source",
    config: ModelDescription,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    *,
    where: Where = ANYWHERE,
    trained: bool = True,
    name_of_model: str = "",
) -> Predictor:
    """Make a Predictor of a network. Raises ConfigError for what can't be here."""
    if precision not in get_args(Precision):
        raise ConfigError(f"there is no precision {precision!r}; {choose_of(precision, get_args(Precision))}")
    device = choose_device(where.device)
    if precision == "f16" and device == "cpu":
        raise ConfigError("precision 'f16' needs a GPU; use 'bf16' or 'f32' here")
    source = network if isinstance(network, Source) else Source.of(network, config, device)
    settle_after_fork()
    made = _for_task(choose_runtime(runtime, device, precision), runtime, config), source, config, precision
    logger.debug("%s: %s in %s on %s", name_of_model or config.architecture.name, made[0], precision, device)
    run: NamedRun = LazyRun(*made) if runtime == "auto" else open_runtime(*made)
    if isinstance(run, CachedRun):  # asked for by name: it is made ready now, and not within the first prediction
        with using_threads(where.threads):
            run.prepare(config.preprocessing.size)
    known: dict[str, Any] = {"trained": trained, "name_of_model": name_of_model, "threads": where.threads}
    return Predictor(run, config, device, source.network, **known)


def _for_task(name: str, asked: str, config: ModelDescription) -> str:
    """Give eager for a network that is told its images' sizes, which the files of the cache are not. Raises."""
    if name == "eager" or not TASKS[config.task.name].sized:
        return name
    if asked == "auto":
        return "eager"
    how = "export it, and load the file" if name != "compile" else "use 'eager'"
    raise ConfigError(f"the runtime {name!r} is not made of a network for the task {config.task.name}; {how}")


def choose_runtime(asked: str, device: str, precision: str = "f32") -> str:
    """Say what a name stands for here: "auto" on a CPU is OpenVINO, else onnxruntime where they are installed.

    Raises ConfigError for a name that does not exist, or a runtime that can't be here.
    """
    known = get_args(Runtime)
    if asked not in known:
        raise ConfigError(f"there is no runtime {asked!r}; {choose_of(asked, known)}")
    if asked == "auto":
        if (wanted := os.environ.get(AUTO, "auto")) != "auto":
            return choose_runtime(wanted, device, precision)
        offered = ("openvino", "onnx") if precision == "f32" else ("openvino",)
        return next((name for name in offered if device == "cpu" and _can_be_made(name)), "eager")
    if asked in ("onnx", "openvino"):
        if device != "cpu":
            raise ConfigError(f"the runtime {asked!r} is for the CPU; use 'eager' or 'compile' on a GPU")
        if not _is_installed(PACKAGES[asked]):
            package = "openvino" if asked == "openvino" else "'moganet[export]'"
            raise ConfigError(f"the runtime {asked!r} is not installed: pip install {package}")
    return asked


def _can_be_made(runtime: str) -> bool:
    """Tell whether all is installed that makes a runtime's files and runs them."""
    return all(map(_is_installed, ("onnxruntime", "onnx", "onnxscript") if runtime == "onnx" else (runtime,)))


@cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class LazyRun:
    """A runtime that is opened when it is first asked, since opening may take seconds; it gives way to torch."""

    def __init__(self, runtime: str, source: Source, description: ModelDescription, precision: Precision) -> None:
        self.precision: Precision = precision
        self._runtime, self._made_of = runtime, (source, description)
        self._run: NamedRun | None = None
        self._guard = Guard()

    @property
    def runtime(self) -> str:
        """Name the runtime: that which answered, once one did."""
        return self._runtime if self._run is None else self._run.runtime

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        return self.opened()(images, sizes)

    def opened(self) -> NamedRun:
        if self._run is None:
            with self._guard:
                self._run = self._run or self._open()
        return self._run

    def _open(self) -> NamedRun:
        source, description = self._made_of
        run = open_runtime(self._runtime, source, description, self.precision)
        if not isinstance(run, CachedRun):
            return run
        try:
            run.prepare(description.preprocessing.size)
        except Exception as error:  # of whatever kind: there is another way to answer
            said = str(error) if isinstance(error, MogaNetError) else first_line(error)
            say(f"{NAMES[self._runtime]} was not made ready ({said}); using eager", doubtful=True)
            return run.eager
        return run


def open_runtime(name: str, source: Source, description: ModelDescription, precision: Precision) -> NamedRun:
    """Make a chosen runtime ready for a network. Raises ConfigError for a precision that it does not have."""
    if precision == "bf16" and not has_fast_bf16(source.device):
        say("this processor has no bf16 units: bf16 is emulated here and slower than f32", doubtful=True)
    cached = CachedRun(name, source, description, precision)
    if name == "eager":
        return cached.eager
    if name == "onnx" and precision != "f32":
        raise ConfigError(f"the runtime 'onnx' computes in f32; use runtime 'openvino' or 'eager' for {precision}")
    return cached
