"""A network run by files that were exported of it, one for each size of image, in a folder of the cache.

The cache is $MOGANET_CACHE/runtimes (~/.cache/moganet/runtimes); a file's name is the hash of what it was made from.
Where a file is there, neither torch nor the network is needed.
"""

import importlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moganet.config import Precision
from moganet.errors import OutputError, WeightsError, first_line
from moganet.inference.cache import folder_of, make_folder, what_changed
from moganet.inference.runs import Array, Outputs, Run, Sizes, onnx, openvino
from moganet.inference.threads import Guard, is_forked
from moganet.models.description import ModelDescription
from moganet.notices import say
from moganet.numbers import dimensions
from moganet.tasks import TASKS
from moganet.tasks.guard import FEATURES

if TYPE_CHECKING:
    from torch import nn

    from moganet.inference.eager import EagerRun

MAX_SIZES = 4  # that a runtime compiles for; images of further sizes go through the fused network
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "compile": "torch"}
MADE = 3  # raised whenever other files are made of the same network
FILES: dict[str, Any] = {"onnx": onnx, "openvino": openvino}  # those that are run without torch


class Source:
    """A model's plain network, in evaluation mode: there already, or made when it is first asked for.

    identity: by which files that were made of it are known. more: what it gives beside its task's outputs.
    keep: is called once such a file lies in the cache. check: raises for a file that does not answer as the network.
    """

    def __init__(
        self,
        make: "Callable[[], nn.Module]",
        identity: "Callable[[nn.Module], str] | str",
        device: str = "cpu",
        more: tuple[str, ...] = (),
    ) -> None:
        self.device, self.more = device, more
        self.keep: Callable[[Source], None] | None = None
        self.check: Callable[[Run, tuple[int, int]], None] | None = None
        self._make, self._identity, self._guard = make, identity, Guard()
        self._network: nn.Module | None = None

    @classmethod
    def of(cls, network: "nn.Module", description: ModelDescription, device: str) -> "Source":
        """Take a network that is there."""
        source = cls(lambda: network, partial(identity_of, description=description), device)
        source.more = more_of(source.network())
        return source

    def network(self) -> "nn.Module":
        """Give the network, on its device."""
        with self._guard:
            if self._network is None:
                channels_last = importlib.import_module("torch").channels_last
                self._network = self._make().eval().to(self.device).to(memory_format=channels_last)
        return self._network

    @cached_property
    def identity(self) -> str:
        return self._identity if isinstance(self._identity, str) else self._identity(self.network())

    def kept(self) -> None:
        """Hear that a file of the network lies in the cache."""
        if self.keep is not None:
            self.keep(self)
            self.keep = None


def more_of(network: "nn.Module") -> tuple[str, ...]:
    """Name what a network gives beside its task's outputs."""
    return (FEATURES,) if importlib.import_module("moganet.network.features").gives_features(network) else ()


def identity_of(network: "nn.Module", description: ModelDescription) -> str:
    """Give that by which files made of a network are known: its tensors, and the function that it computes."""
    hashed = importlib.import_module("moganet.models.reading.checkpoint").hash_tensors(network.state_dict())
    return f"{hashed} {description.architecture.model_dump_json()}"


class CachedRun:
    """Run exported files of a network, one for each size of image, kept on disk; eager for what is rare."""

    def __init__(self, runtime: str, source: Source, description: ModelDescription, precision: Precision) -> None:
        self.runtime, self.source, self.description, self.precision = runtime, source, description, precision
        self.outputs = (*TASKS[description.task.name].outputs, *source.more)
        self.runs: dict[tuple[int, int] | None, Run] = {}
        self.guard = Guard()

    @cached_property
    def eager(self) -> "EagerRun":
        run = importlib.import_module("moganet.inference.eager").EagerRun
        return run(self.source.network(), self.precision, TASKS[self.description.task.name].outputs)  # type: ignore[no-any-return]

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        if sizes is not None:  # as tasks want them whose graphs are made for a file alone
            return self.eager(images, sizes)
        size = self._size((images.shape[2], images.shape[3]))
        # In a forked process torch can do with one thread, and a runtime may wait for those that are gone.
        if is_forked() or (size not in self.runs and len(self.runs) >= MAX_SIZES):
            return self.eager(images)
        if size not in self.runs:
            self.prepare((images.shape[2], images.shape[3]))
        return self.runs[size](images)

    def prepare(self, size: tuple[int, int]) -> None:
        """Make the runtime ready for images of a size (height, width), from the cache where it is there."""
        own = self._size(size)
        with self.guard:
            if own not in self.runs:
                run = self._load_or_make(own)
                if self.source.check is not None:
                    self.source.check(run, size)
                self.runs[own] = run

    def _size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Give the size that a file is made for: None is any, where each image has its own."""
        return size if self.description.preprocessing.one_size or self.runtime == "compile" else None

    def _load_or_make(self, size: tuple[int, int] | None) -> Run:
        key = self._key(size)
        folder = folder_of("runtimes", key, f"{self.runtime}-")
        if os.path.lexists(folder):
            if (reason := what_changed(folder, key)) is None:
                with suppress(WeightsError):
                    return self._loaded(folder, key)
            say(f"{folder} is not what was written there ({reason or 'it can not be loaded'}): it is made again")
        if self.runtime != "openvino":  # which takes less than a second
            sizes = "any size" if size is None else dimensions(size)
            say(f"preparing the runtime {self.runtime} for {sizes}, once on this machine")
        try:
            make_folder(folder, key, partial(self._make, size))
            return self._loaded(folder, key)
        except (OutputError, OSError) as error:
            reason = error.strerror or first_line(error) if isinstance(error, OSError) else str(error)
            again = "the runtime is made again each time; MOGANET_CACHE names another place"
            say(f"{folder.parent}: {reason}; {again}", doubtful=True)
        own = Path(tempfile.mkdtemp())  # in the place of the cache that can't be written
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        self._make(size, own)
        return self._run_of(own)

    def _loaded(self, folder: Path, key: str) -> Run:
        run = self._run_of(folder, key)
        self.source.kept()
        return run

    def _run_of(self, folder: Path, identity: str = "") -> Run:
        files = FILES.get(self.runtime) or _maker(self.runtime)
        known = {"identity": identity} if files is openvino else {}
        run: Run = files.load(folder / f"{self.runtime}{files.SUFFIX}", self.precision, self.outputs, **known)
        return run

    def _make(self, size: tuple[int, int] | None, folder: Path) -> None:
        make_graph, maker = importlib.import_module("moganet.inference.export.graph").Graph, _maker(self.runtime)
        graph = make_graph(self.eager.network, self.description, self.runtime, self.precision, size=size)
        maker.save(graph, folder / f"{self.runtime}{maker.SUFFIX}")

    def _key(self, size: tuple[int, int] | None) -> str:
        """Give all that the answers of a file depend on."""
        versions = version("moganet"), version(PACKAGES[self.runtime])
        return repr([MADE, self.source.identity, self.precision, size, *versions, *_machine(self.runtime)])


def _maker(runtime: str) -> Any:
    """Give what writes a runtime's files, with torch."""
    name = "compiled" if runtime == "compile" else runtime
    return importlib.import_module(f"moganet.inference.export.{name}")


def _machine(runtime: str) -> tuple[Any, ...]:
    """Give what a compiled library depends on; other files are the same everywhere."""
    if runtime != "compile":
        return ()
    torch = importlib.import_module("torch")
    return torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
