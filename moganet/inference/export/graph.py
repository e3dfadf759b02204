"""What every exporter writes: the fused network, with its description, and with preprocessing where it is asked for."""

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from moganet.config import Settings
from moganet.errors import ConfigError, MissingExtraError, WeightsError
from moganet.inference.export.raw import RawGraph
from moganet.inference.model_file import ModelDescription
from moganet.network.fuse import FusedMogaNet, crop_to_size

ExportPrecision = Literal["f32", "bf16", "f16", "int8"]
Run = Callable[[Tensor], Tensor]  # float images (B, C, H, W) to logits, or raw: uint8 (B, H, W, C) to probabilities
METADATA_KEY = "moganet"
TRACED_BATCH = 2  # a batch of 1 would be taken for a constant


class ExportMetadata(Settings):
    """What travels in an exported file. size: (height, width) that the graph is made for, or None for any."""

    format: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    size: tuple[int, int] | None = None
    description: ModelDescription


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

    def read(self, path: Path) -> str:
        """Give the metadata's text, without loading what can be left alone. Raises WeightsError."""


@dataclass(frozen=True)
class Graph:
    """A network to be written.

    size: (height, width) of the input, for which kernels are cropped; None leaves it open. calibration: preprocessed
    images (1, C, H, W), for int8.
    """

    network: FusedMogaNet
    description: ModelDescription
    format: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    size: tuple[int, int] | None = None
    calibration: Sequence[Tensor] = ()

    def cropped(self, pad_by_hand: bool = False) -> nn.Module:
        """Give the network for the graph's size."""
        if self.size is None:
            return self.network
        channels = self.description.preprocessing.channels
        return crop_to_size(self.network, channels, self.size, pad_by_hand=pad_by_hand).eval()

    def module(self, pad_by_hand: bool = False) -> nn.Module:
        """Give the module to be traced: the network, within its preprocessing where the graph is raw."""
        network = self.cropped(pad_by_hand)
        return RawGraph(network, self.description) if self.raw else network

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

    def metadata(self) -> str:
        """Give the metadata's text (JSON)."""
        metadata = ExportMetadata(
            format=self.format, precision=self.precision, raw=self.raw, size=self.size, description=self.description
        )
        return json.dumps(metadata.model_dump(mode="json", exclude_none=True))


def parse_metadata(text: str | None, path: Path) -> ExportMetadata:
    """Read an exported file's metadata. Raises WeightsError that names the file."""
    if not text:
        raise WeightsError(f"{path} has no description of ours; export it again with `moganet export`")
    try:
        return ExportMetadata.model_validate(json.loads(text))
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{path} has a description that can't be read: {str(error).splitlines()[0]}") from None


def need(module: str, what: str) -> ModuleType:
    """Import an optional package. Raises MissingExtraError that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingExtraError(f"{what} needs {package}: pip install 'moganet[export]'") from None


def calibrated(model: Any, graph: Graph, wrap: Callable[[Tensor], Any]) -> Any:
    """Quantise a runtime's model to int8 with the graph's calibration images."""
    if not graph.calibration:
        raise ConfigError("int8 needs images to calibrate with; give --data SOURCE[:PATH]")
    nncf = need("nncf", "int8")
    dataset = nncf.Dataset(list(graph.calibration), wrap)
    return nncf.quantize(model, dataset, subset_size=len(graph.calibration))
