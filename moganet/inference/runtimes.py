"""What runs a network for prediction, by name: torch itself, or an exported file in a cache and its loader.

The cache is $MOGANET_CACHE/runtimes (~/.cache/moganet/runtimes); a file's name is the hash of what it was made from.
"""

import hashlib
import importlib.util
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from moganet.config import Precision
from moganet.errors import ConfigError, MogaNetError, OutputError, WeightsError, first_line
from moganet.files import cache_folder
from moganet.inference.cache import keep_folder, what_changed
from moganet.inference.export import EXPORTERS, Graph, compiled
from moganet.inference.export.graph import Runner
from moganet.inference.predictor import NamedRun, Predictor
from moganet.inference.runs import Array, Outputs, Run
from moganet.inference.threads import Guard, is_forked, settle_after_fork
from moganet.machine import HALF, has_fast_bf16
from moganet.models.description import ModelDescription
from moganet.models.reading.checkpoint import hash_tensors
from moganet.network.features import gives_features, with_features
from moganet.network.fuse import fastest
from moganet.notices import say
from moganet.tasks import TASKS
from moganet.tasks.guard import FEATURES

Runtime = Literal["auto", "eager", "compile", "onnx", "openvino"]
AUTO = "MOGANET_RUNTIME"  # the environment variable that says what "auto" means
MAX_SIZES = 4  # that a runtime compiles for; images of further sizes go through the fused network
RUNNERS: dict[str, Runner] = {**EXPORTERS, "compile": compiled}
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "compile": "torch"}


def open_predictor(
    network: nn.Module,
    config: ModelDescription,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    *,
    trained: bool = True,
    name_of_model: str = "",
) -> Predictor:
    """Make a Predictor of a network, on the GPU where there is one. Raises ConfigError for what can't be here."""
    if precision not in get_args(Precision):
        raise ConfigError(f"there is no precision {precision!r}; choose one of {', '.join(get_args(Precision))}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "f16" and device.type == "cpu":
        raise ConfigError("precision 'f16' needs a GPU; use 'bf16' or 'f32' here")
    network = network.eval().to(device).to(memory_format=torch.channels_last)
    settle_after_fork()
    made = choose_runtime(runtime, device), network, config, precision
    run: NamedRun = LazyRun(*made) if runtime == "auto" else open_runtime(*made)
    if isinstance(run, CachedRun):  # asked for by name: it is made ready now, and not within the first prediction
        run.prepare(config.preprocessing.size)
    return Predictor(run, config, str(device), network, trained=trained, name_of_model=name_of_model)


def choose_runtime(asked: str, device: torch.device) -> str:
    """Say what a name stands for here. "auto" is OpenVINO where it is installed and there is no GPU, else "eager".

    Raises ConfigError for a name that does not exist, or a runtime that can't be here.
    """
    known = get_args(Runtime)
    if asked not in known:
        raise ConfigError(f"there is no runtime {asked!r}; choose one of {', '.join(known)}")
    if asked == "auto":
        if (wanted := os.environ.get(AUTO, "auto")) != "auto":
            return choose_runtime(wanted, device)
        return "openvino" if device.type == "cpu" and _is_installed("openvino") else "eager"
    if asked in ("onnx", "openvino"):
        if device.type != "cpu":
            raise ConfigError(f"the runtime {asked!r} is for the CPU; use 'eager' or 'compile' on a GPU")
        if not _is_installed(PACKAGES[asked]):
            raise ConfigError(f"the runtime {asked!r} is not installed: pip install 'moganet[export]'")
    return asked


@cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class EagerRun:
    """Run a network with torch, in the form in which it is fastest, or in another."""

    runtime = "eager"

    def __init__(
        self,
        network: nn.Module,
        precision: str,
        outputs: tuple[str, ...] = ("logits",),
        form: Callable[[nn.Module], nn.Module] = fastest,
    ) -> None:
        self.device = next(network.parameters()).device
        self.network = form(network).to(self.device).to(memory_format=torch.channels_last)
        self.precision, self.outputs = precision, (*outputs, FEATURES) if gives_features(self.network) else outputs
        self.run = with_features(self.network)
        self.half = HALF.get(precision)

    def __call__(self, images: Array) -> Outputs:
        found = self.tensors(torch.from_numpy(images))
        return {name: values.float().cpu().numpy() for name, values in found.items()}

    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Give the outputs as tensors on the device, for images on any."""
        half: AbstractContextManager[object] = nullcontext()
        if self.half is not None:
            half = torch.autocast(self.device.type, self.half)
        with torch.inference_mode(), half:
            found = self.run(x.to(self.device, torch.float32, memory_format=torch.channels_last))
        if isinstance(found, dict):
            return found
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))


class LazyRun:
    """A runtime that is opened when it is first asked, since opening may take seconds; OpenVINO gives way to torch."""

    def __init__(self, runtime: str, network: nn.Module, description: ModelDescription, precision: Precision) -> None:
        self.precision: Precision = precision
        self._runtime, self._made_of = runtime, (network, description)
        self._run: NamedRun | None = None
        self._guard = Guard()

    @property
    def runtime(self) -> str:
        """Name the runtime: that which answered, once one did."""
        return self._runtime if self._run is None else self._run.runtime

    def __call__(self, images: Array) -> Outputs:
        return self.opened()(images)

    def opened(self) -> NamedRun:
        if self._run is None:
            with self._guard:
                self._run = self._run or self._open()
        return self._run

    def _open(self) -> NamedRun:
        network, description = self._made_of
        run = open_runtime(self._runtime, network, description, self.precision)
        if self._runtime != "openvino" or not isinstance(run, CachedRun):
            return run
        try:
            run.prepare(description.preprocessing.size)
        except Exception as error:  # of whatever kind: there is another way to answer
            said = str(error) if isinstance(error, MogaNetError) else first_line(error)
            say(f"OpenVINO was not made ready ({said}); using eager", doubtful=True)
            return run.eager
        return run


class CachedRun:
    """Run exported files of a network, one for each size of image, kept on disk; eager for what is rare."""

    def __init__(self, runtime: str, network: nn.Module, description: ModelDescription, precision: Precision) -> None:
        self.runtime, self.description, self.precision = runtime, description, precision
        self.eager = EagerRun(network, precision, TASKS[description.task.name].outputs)
        self.outputs = self.eager.outputs
        self.identity = f"{hash_tensors(network.state_dict())} {description.architecture.model_dump_json()}"
        self.runs: dict[tuple[int, int], Run] = {}
        self.guard = Guard()

    def __call__(self, images: Array) -> Outputs:
        size = (images.shape[2], images.shape[3])
        # In a forked process torch can do with one thread, and a runtime may wait for those that are gone.
        if is_forked() or (size not in self.runs and len(self.runs) >= MAX_SIZES):
            return self.eager(images)
        if size not in self.runs:
            self.prepare(size)
        return self.runs[size](images)

    def prepare(self, size: tuple[int, int]) -> None:
        """Make the runtime ready for images of a size (height, width), from the cache where it is there."""
        with self.guard:
            if size in self.runs:
                return
            graph = Graph(self.eager.network, self.description, self.runtime, self.precision, size=size)
            self.runs[size] = self._load_or_make(RUNNERS[self.runtime], graph, self._folder(size))

    def _load_or_make(self, runner: Runner, graph: Graph, folder: Path) -> Run:
        name = f"{self.runtime}{runner.SUFFIX}"
        if os.path.lexists(folder):
            if (reason := what_changed(folder)) is None:
                with suppress(WeightsError):
                    return runner.load(folder / name, graph.precision, self.outputs)
            say(f"{folder} is not what was written there ({reason or 'it can not be loaded'}): it is made again")
        if self.runtime != "openvino":  # which takes less than a second
            size = "x".join(map(str, graph.size or ()))
            say(f"preparing the runtime {self.runtime} for {size}, once on this machine")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
                runner.save(graph, Path(made) / name)
                keep_folder(Path(made), folder)
            return runner.load(folder / name, graph.precision, self.outputs)
        except (OutputError, OSError) as error:
            reason = error.strerror or first_line(error) if isinstance(error, OSError) else str(error)
            again = "the runtime is made again each time; MOGANET_CACHE names another place"
            say(f"{folder.parent}: {reason}; {again}", doubtful=True)
        own = Path(tempfile.mkdtemp())  # in the place of the cache that can't be written
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        runner.save(graph, own / name)
        return runner.load(own / name, graph.precision, self.outputs)

    def _folder(self, size: tuple[int, int]) -> Path:
        versions = version("moganet"), version(PACKAGES[self.runtime])
        machine = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
        parts = [self.identity, self.precision, size, self.outputs, *versions, *machine]
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        return cache_folder() / "runtimes" / f"{self.runtime}-{key}"


def open_runtime(name: str, network: nn.Module, description: ModelDescription, precision: Precision) -> NamedRun:
    """Make a chosen runtime ready for a network. Raises ConfigError for a precision that it does not have."""
    if precision == "bf16" and not has_fast_bf16(next(network.parameters()).device):
        say("this processor has no bf16 units: bf16 is emulated here and slower than f32", doubtful=True)
    if name == "eager":
        return EagerRun(network, precision, TASKS[description.task.name].outputs)
    if name == "onnx" and precision != "f32":
        raise ConfigError(f"the runtime 'onnx' computes in f32; use runtime 'openvino' or 'eager' for {precision}")
    return CachedRun(name, network, description, precision)
