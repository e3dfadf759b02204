"""What runs a network for prediction, by name: torch itself, or an exported file in a cache and its loader.

The cache is $MOGANET_CACHE/runtimes (~/.cache/moganet/runtimes); a file's name is the hash of what it was made from.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import weakref
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from moganet.config import Precision
from moganet.errors import ConfigError, MogaNetError, OutputError, WeightsError
from moganet.files import cache_folder
from moganet.inference.export import EXPORTERS, Graph, compiled
from moganet.inference.export.graph import MAX_BYTES, Run, Runner, blocks, first_line, hash_of
from moganet.inference.threads import Guard, is_forked
from moganet.machine import HALF, has_fast_bf16
from moganet.models.model_file import ModelDescription, hash_tensors
from moganet.network.fuse import FusedMogaNet, fuse
from moganet.network.moganet import MogaNet
from moganet.notices import say

Runtime = Literal["auto", "eager", "compile", "onnx", "openvino"]
AUTO = "MOGANET_RUNTIME"  # the environment variable that says what "auto" means
MAX_SIZES = 4  # that a runtime compiles for; images of further sizes go through the fused network
RUNNERS: dict[str, Runner] = {**EXPORTERS, "compile": compiled}
HASHES, MAX_HASHES = "sha256.json", 10_000  # what a folder of the cache holds by name, and how long it may be


def choose_runtime(asked: str, device: torch.device, network: nn.Module) -> str:
    """Say what a name stands for here. "auto" is OpenVINO where it is installed and there is no GPU, else "eager".

    Raises ConfigError for a name that does not exist, or a runtime that can't run this.
    """
    known = get_args(Runtime)
    if asked not in known:
        raise ConfigError(f"there is no runtime {asked!r}; choose one of {', '.join(known)}")
    if asked == "auto":
        wanted = os.environ.get(AUTO, "auto")
        if wanted != "auto":
            return choose_runtime(wanted, device, network)
        can = device.type == "cpu" and isinstance(network, MogaNet) and _is_installed("openvino")
        return "openvino" if can else "eager"
    if asked in ("onnx", "openvino"):
        if device.type != "cpu":
            raise ConfigError(f"the runtime {asked!r} is for the CPU; use 'eager' or 'compile' on a GPU")
        if not _is_installed("onnxruntime" if asked == "onnx" else asked):
            raise ConfigError(f"the runtime {asked!r} is not installed: pip install 'moganet[export]'")
    if asked != "eager" and not isinstance(network, MogaNet):
        raise ConfigError(f"the runtime {asked!r} runs MogaNets only; use 'eager'")
    return asked


@cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class EagerRun:
    """Run a network with torch: the fused one where it is a MogaNet."""

    def __init__(self, network: nn.Module, precision: str, device: torch.device) -> None:
        fused = fuse(network) if isinstance(network, MogaNet) else network
        self.network = fused.to(device).to(memory_format=torch.channels_last)
        self.half, self.device = HALF.get(precision), device

    def __call__(self, x: Tensor) -> Tensor:
        """Give the logits for a batch of any size."""
        half: AbstractContextManager[object] = nullcontext()
        if self.half is not None:
            half = torch.autocast(self.device.type, self.half)
        with torch.inference_mode(), half:
            logits: Tensor = self.network(x.to(self.device, memory_format=torch.channels_last))
        return logits


class CachedRun:
    """Run exported files of the fused network, one for each size of image, kept on disk; eager for what is rare.

    name: "onnx", "openvino" or "compile".
    """

    def __init__(self, name: str, network: MogaNet, description: ModelDescription, precision: Precision) -> None:
        self.name, self.description, self.precision = name, description, precision
        self.eager = EagerRun(network, precision, next(network.parameters()).device)
        self.identity = f"{hash_tensors(network.state_dict())} {description.architecture.model_dump_json()}"
        self.runs: dict[tuple[int, int], Run] = {}
        self.guard = Guard()

    def __call__(self, x: Tensor) -> Tensor:
        """Give the logits for a batch of any size."""
        size = (x.shape[2], x.shape[3])
        if is_forked():  # where torch can do with one thread, and a runtime may wait for those that are gone
            return self.eager(x)
        if size not in self.runs:
            if len(self.runs) >= MAX_SIZES:
                return self.eager(x)
            self.prepare(size)
        return self.runs[size](x)

    def prepare(self, size: tuple[int, int]) -> None:
        """Make the runtime ready for images of a size (height, width), from the cache where it is there."""
        with self.guard:
            if size in self.runs:
                return
            fused = self.eager.network
            assert isinstance(fused, FusedMogaNet)
            graph = Graph(fused, self.description, self.name, self.precision, size=size)
            self.runs[size] = self._load_or_make(RUNNERS[self.name], graph, self._folder(size))

    def _load_or_make(self, runner: Runner, graph: Graph, folder: Path) -> Run:
        name = f"{self.name}{runner.SUFFIX}"
        if os.path.lexists(folder):
            reason = what_changed(folder)
            if reason is None:
                with suppress(WeightsError):
                    return runner.load(folder / name, graph.precision)
            say(f"{folder} is not what was written there ({reason or 'it can not be loaded'}): it is made again")
        if self.name != "openvino":  # which takes less than a second
            say(f"preparing the runtime {self.name} for {'x'.join(map(str, graph.size or ()))}, once on this machine")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
                runner.save(graph, Path(made) / name)
                keep_folder(Path(made), folder)
            return runner.load(folder / name, graph.precision)
        except (OutputError, OSError) as error:
            reason = error.strerror or first_line(error) if isinstance(error, OSError) else str(error)
            say(
                f"{folder.parent}: {reason}; the runtime is made again each time; MOGANET_CACHE names another place",
                doubtful=True,
            )
        own = Path(tempfile.mkdtemp())  # in the place of the cache that can't be written
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        runner.save(graph, own / name)
        return runner.load(own / name, graph.precision)

    def _folder(self, size: tuple[int, int]) -> Path:
        from importlib.metadata import version

        runner = {"onnx": "onnxruntime", "openvino": "openvino", "compile": "torch"}[self.name]
        parts = [self.identity, self.precision, size, version("moganet"), version(runner), torch.get_num_threads()]
        parts.append(torch.backends.cpu.get_cpu_capability())
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        return cache_folder() / "runtimes" / f"{self.name}-{key}"


def keep_folder(made: Path, folder: Path) -> None:
    """Move what was made to its place at once, with the hash of each file, so that no process sees a part of it.

    What lies there already is another process's, made meanwhile, or damaged: it gives way whole. Who has it open goes
    on with it.
    """
    (made / HASHES).write_text(json.dumps({path.name: _hash(path) for path in sorted(made.iterdir())}), "utf-8")
    made.chmod(0o755)
    if folder.exists() and what_changed(folder) is None:
        return
    try:
        made.rename(folder)
    except OSError:
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".old-"))
        with suppress(OSError):
            folder.rename(old / folder.name)  # whatever it is: a folder, a file, a link
        shutil.rmtree(old, ignore_errors=True)
        if not (folder.exists() and what_changed(folder) is None):
            made.rename(folder)


def what_changed(folder: Path) -> str | None:
    """Say why a folder in the cache is not what was written there, or None where it is."""
    try:
        found = {path.name: _hash(path) for path in folder.iterdir()}
        if not found.pop(HASHES, None) or (folder / HASHES).stat().st_size > MAX_HASHES:
            return f"it has no {HASHES} of ours"
        written = json.loads((folder / HASHES).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return first_line(error)
    return None if written == found else "its files have other content"


def _hash(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:  # a pipe would never end
        raise ValueError(f"{path.name} is no file of ours")
    with open(path, "rb") as file:
        return hash_of(blocks(file, path.stat().st_size))


def open_runtime(
    name: str, network: nn.Module, description: ModelDescription, precision: Precision, device: torch.device
) -> Run:
    """Make a chosen runtime ready for a network. Raises ConfigError for a precision that it does not have."""
    if precision == "bf16" and not has_fast_bf16(device):
        say("this processor has no bf16 units: bf16 is emulated here and slower than f32", doubtful=True)
    if name == "eager" or not isinstance(network, MogaNet):
        return EagerRun(network, precision, device)
    if name == "onnx" and precision != "f32":
        raise ConfigError(f"the runtime 'onnx' computes in f32; use runtime 'openvino' or 'eager' for {precision}")
    return CachedRun(name, network, description, precision)


def open_automatic(network: nn.Module, description: ModelDescription, precision: Precision) -> Run:
    """Make OpenVINO ready; where it can't be, say so and run eagerly, since nobody asked for it by name."""
    device = next(network.parameters()).device
    run = open_runtime("openvino", network, description, precision, device)
    if not isinstance(run, CachedRun):
        return run
    try:
        run.prepare(description.preprocessing.size)
    except Exception as error:  # of whatever kind: there is another way to answer
        said = str(error) if isinstance(error, MogaNetError) else first_line(error)
        say(f"OpenVINO was not made ready ({said}); using eager", doubtful=True)
        return run.eager
    return run
