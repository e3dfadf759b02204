"""What every exporter writes: the fused network, with its description, and with preprocessing where it is asked for."""

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Literal, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from moganet.config import Settings
from moganet.errors import ConfigError, MissingExtraError, MogaNetError, WeightsError
from moganet.inference.export.raw import RawGraph
from moganet.models.description import SEAL, ModelDescription, published, seal_of
from moganet.network.fuse import FusedMogaNet, crop_to_size

ExportPrecision = Literal["f32", "bf16", "f16", "int8"]
Run = Callable[[Tensor], Tensor]  # float images (B, C, H, W) to logits, or raw: uint8 (B, H, W, C) to probabilities
METADATA_KEY = "moganet"
MAX_BYTES = 2 << 30  # of a file: what protobuf allows; the largest variant has 0.8 GB
TRACED_BATCH = 2  # a batch of 1 would be taken for a constant


class ExportMetadata(Settings):
    """What travels in an exported file.

    size: (height, width) that the graph is made for, or None for any. calibrated: whether a raw file's probabilities
    are scaled by the description's temperature; None in files from before this was said, which scaled where one was
    kept. sha256: of the file without these metadata; None in files from before it was recorded.
    """

    format: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    calibrated: bool | None = None
    size: tuple[int, int] | None = None
    description: ModelDescription
    sha256: str | None = None

    @property
    def is_scaled(self) -> bool:
        """Tell whether a raw file's probabilities are scaled by the temperature."""
        kept = self.description.task.temperature is not None
        return self.raw and kept and self.calibrated is not False


class Runner(Protocol):
    """What makes a file that this machine can run."""

    SUFFIX: str

    def save(self, graph: "Graph", path: Path) -> None:
        """Write the file, whole or not at all."""

    def load(self, path: Path, precision: str) -> Run:
        """Give a callable that runs the file on this machine. Raises WeightsError for one that can't be read."""


class Exporter(Runner, Protocol):
    """The contract of a module in this folder: a runner whose files can leave this machine."""

    PRECISIONS: tuple[ExportPrecision, ...]

    def read(self, path: Path) -> "Written":
        """Give what was written, without making a model of it. Raises WeightsError."""


@dataclass(frozen=True)
class Written:
    """What an exported file holds: the metadata's text ("" where there is none), and the SHA-256 of all the rest."""

    metadata: str
    sha256: str


@dataclass(frozen=True)
class Graph:
    """A network to be written.

    size: (height, width) of the input, for which kernels are cropped; None leaves it open. calibrated: a raw graph's
    probabilities are scaled by the temperature. calibration: preprocessed images (1, C, H, W), for int8.
    """

    network: FusedMogaNet
    description: ModelDescription
    format: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    calibrated: bool = False
    size: tuple[int, int] | None = None
    calibration: Sequence[Tensor] = ()

    @property
    def temperature(self) -> float | None:
        """Give what a raw graph divides the logits by."""
        return self.description.task.temperature if self.calibrated else None

    def cropped(self, pad_by_hand: bool = False) -> nn.Module:
        """Give the network for the graph's size."""
        if self.size is None:
            return self.network
        channels = self.description.preprocessing.channels
        return crop_to_size(self.network, channels, self.size, pad_by_hand=pad_by_hand).eval()

    def module(self, pad_by_hand: bool = False) -> nn.Module:
        """Give the module to be traced: the network, within its preprocessing where the graph is raw."""
        network = self.cropped(pad_by_hand)
        return RawGraph(network, self.description.preprocessing, self.temperature) if self.raw else network

    def example(self) -> Tensor:
        """Give an input to trace with."""
        preprocessing = self.description.preprocessing
        height, width = self.size or preprocessing.size
        if self.raw:
            return torch.zeros(TRACED_BATCH, height + 17, width + 29, preprocessing.channels, dtype=torch.uint8)
        # torch.export takes a last map of 1x1 for a constant
        smallest = 64 if self.size is None else 1
        return torch.zeros(TRACED_BATCH, preprocessing.channels, max(height, smallest), max(width, smallest + 1))

    def dynamic_axes(self) -> dict[int, str]:
        """Name the axes of the input whose length is left open."""
        if self.raw:
            return {0: "batch", 1: "height", 2: "width"}
        return {0: "batch"} if self.size is not None else {0: "batch", 2: "height", 3: "width"}

    @property
    def input_name(self) -> str:
        """Name the input: images, uint8 (B, H, W, C) or float (B, C, H, W)."""
        return "images"

    @property
    def output_name(self) -> str:
        """Name the output."""
        return "probabilities" if self.raw else "logits"

    def metadata(self, sha256: str) -> str:
        """Give the metadata's text (JSON), sealed by its own hash. sha256: of all that the file holds besides."""
        metadata = ExportMetadata(
            format=self.format,
            precision=self.precision,
            raw=self.raw,
            calibrated=self.calibrated,
            size=self.size,
            description=published(self.description),
            sha256=sha256,
        )
        plain = json.loads(json.dumps(metadata.model_dump(mode="json", exclude_none=True)))
        return json.dumps({**plain, SEAL: seal_of(plain)})


def parse_metadata(text: str, path: Path) -> ExportMetadata:
    """Read an exported file's metadata. Raises WeightsError that names the file."""
    if not text:
        raise WeightsError(f"{path} has no description of ours; export it again with `moganet export`")
    try:
        plain = json.loads(text)
        seal = plain.pop(SEAL, None)
        if seal is None or seal == seal_of(plain):
            return ExportMetadata.model_validate(plain)
    except (ValidationError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} has a description that can't be read: {first_line(error)}") from None
    raise WeightsError(f"{path} is damaged: its description was changed; export it again")


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn whatever other people's code raises within the block into a WeightsError of one line: what, and why."""
    try:
        yield
    except MogaNetError:
        raise
    except Exception as error:  # runtimes, protobuf and zipfile share no class of errors
        raise WeightsError(f"{what}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Give an error's first line with words in it, or its kind; where a runtime's C++ file stood is passed over."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return said[0][:300] if said else type(error).__name__


def hash_of(parts: Iterable[bytes]) -> str:
    """Give the SHA-256 of a file's content, given in parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    """Give the next `length` bytes of a file, or what is there of them, a megabyte at a time."""
    while length > 0 and (block := file.read(min(length, 1 << 20))):
        length -= len(block)
        yield block


def need(module: str, what: str) -> ModuleType:
    """Import an optional package. Raises MissingExtraError that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingExtraError(f"{what} needs {package}: pip install 'moganet[export]'") from None


def quantized(model: Any, graph: Graph, wrap: Callable[[Tensor], Any]) -> Any:
    """Quantise a runtime's model to int8 with the graph's calibration images."""
    if not graph.calibration:
        raise ConfigError("int8 needs images to calibrate with; give --data SOURCE[:PATH]")
    nncf = need("nncf", "int8")
    dataset = nncf.Dataset(list(graph.calibration), wrap)
    with foreign("nncf can't bring this network to int8"):
        return nncf.quantize(model, dataset, subset_size=len(graph.calibration))
