"""What every exporter writes: a network in its fastest form, its description, and preprocessing where asked for."""

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from moganet.errors import ConfigError, foreign
from moganet.inference.export.raw import RawGraph
from moganet.inference.metadata import ExportMetadata, ExportPrecision, Written, need
from moganet.inference.runs import Run
from moganet.models.description import SEAL, ModelDescription, published, seal_of
from moganet.network.dense.detector import Detector
from moganet.network.features import gives_features, with_features
from moganet.network.fuse import for_size
from moganet.progress import stderr_console
from moganet.tasks import TASKS
from moganet.tasks.guard import FEATURES

INPUT = "images"  # uint8 (B, H, W, C) or float (B, C, H, W)
SIZES = "sizes"  # of a detector: int64 (1, 2), the height and width of what is not padding
TRACED_BATCH = 2  # a batch of 1 would be taken for a constant


class Runner(Protocol):
    """What makes a file that this machine can run."""

    SUFFIX: str

    def save(self, graph: "Graph", path: Path) -> None:
        """Write the file, whole or not at all."""

    def load(self, path: Path, precision: str, outputs: Sequence[str]) -> Run:
        """Give what runs the file on this machine; outputs: their names. Raises WeightsError."""


class Exporter(Runner, Protocol):
    """The contract of a module in this folder: a runner whose files can leave this machine."""

    PRECISIONS: tuple[ExportPrecision, ...]

    def read(self, path: Path) -> Written:
        """Give what was written, without making a model of it. Raises WeightsError."""


@dataclass(frozen=True)
class Graph:
    """A network to be written: fused where it can be.

    size: (height, width) of the input, for which kernels are cropped; None leaves it open. calibrated: a raw graph's
    probabilities are scaled by the temperature. calibration: preprocessed images (1, C, H, W), for int8.
    """

    network: nn.Module
    description: ModelDescription
    format: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    calibrated: bool = False
    size: tuple[int, int] | None = None
    calibration: Sequence[Tensor] = ()

    @property
    def temperature(self) -> float | None:
        return self.description.task.temperature if self.calibrated else None

    def cropped(self, pad_by_hand: bool = False) -> nn.Module:
        channels = self.description.preprocessing.channels
        return for_size(self.network, channels, self.size, pad_by_hand=pad_by_hand).eval()

    def module(self, pad_by_hand: bool = False) -> nn.Module:
        """Give the module to be traced: the network, within its preprocessing where the graph is raw."""
        cropped = self.cropped(pad_by_hand)
        network = TakesSizes(cropped) if isinstance(cropped, Detector) else with_features(cropped)
        if not self.raw:
            return network
        return RawGraph(network, self.description.preprocessing, self.temperature, self.activation)

    @property
    def activation(self) -> str:
        return TASKS[self.description.task.name].activation

    @property
    def takes_sizes(self) -> bool:
        """Tell whether the graph is told each image's size, and sees one image at a time."""
        return TASKS[self.description.task.name].sized

    def examples(self) -> tuple[Tensor, ...]:
        """Give what the graph is traced with."""
        x = self.example()
        return (x[:1], torch.tensor([x.shape[2:]])) if self.takes_sizes else (x,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name what the graph takes."""
        return (INPUT, SIZES) if self.takes_sizes else (INPUT,)

    def example(self) -> Tensor:
        if not self.raw:
            return torch.zeros(self.example_shape())
        preprocessing = self.description.preprocessing
        height, width = self.size or preprocessing.size
        return torch.zeros(TRACED_BATCH, height + 17, width + 29, preprocessing.channels, dtype=torch.uint8)

    def example_shape(self) -> tuple[int, int, int, int]:
        """Give the shape of preprocessed images to trace with."""
        preprocessing = self.description.preprocessing
        height, width = self.size or preprocessing.size
        # torch.export takes a last map of 1x1 for a constant
        smallest = 64 if self.size is None else 1
        return TRACED_BATCH, preprocessing.channels, max(height, smallest), max(width, smallest + 1)

    def dynamic_axes(self) -> dict[int, str]:
        """Name the axes of the input whose length is left open."""
        if self.raw:
            return {0: "batch", 1: "height", 2: "width"}
        if self.takes_sizes:
            return {} if self.size is not None else {2: "height", 3: "width"}
        return {0: "batch"} if self.size is not None else {0: "batch", 2: "height", 3: "width"}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name what the graph gives; the first is what it gave before there was more."""
        return ("probabilities", *self.network_outputs) if self.raw else self.network_outputs

    @property
    def network_outputs(self) -> tuple[str, ...]:
        """Name what the network gives: its task's outputs, and features where it has some."""
        if isinstance(self.network, Detector):
            return self.network.outputs
        own = TASKS[self.description.task.name].outputs
        return (*own, FEATURES) if gives_features(self.network) else own

    @property
    def more(self) -> tuple[str, ...]:
        """Name what the graph gives behind its task's outputs, or behind a raw one's probabilities."""
        own = TASKS[self.description.task.name].outputs
        return self.network_outputs if self.raw else self.network_outputs[len(own) :]

    def metadata(self, sha256: str) -> str:
        """Give the metadata's text (JSON), sealed by its own hash. sha256: of all that the file holds besides."""
        form = {name: getattr(self, name) for name in ("format", "precision", "raw", "calibrated", "size", "more")}
        metadata = ExportMetadata(**form, description=published(self.description), sha256=sha256)
        plain = json.loads(json.dumps(metadata.model_dump(mode="json", exclude_none=True)))
        return json.dumps({**plain, SEAL: seal_of(plain)})


class TakesSizes(nn.Module):
    """A detector for a graph: its outputs in their order."""

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        found = self.network(x, sizes)
        return tuple(found[name] for name in self.network.outputs)


def quantized(model: Any, graph: Graph, wrap: Callable[[Tensor], Any]) -> Any:
    """Quantise a runtime's model to int8 with the graph's calibration images."""
    if not graph.calibration:
        raise ConfigError("int8 needs images to calibrate with; give --data SOURCE[:PATH]")
    for name in ("nncf", "torch.utils.cpp_extension"):  # which tells of CUDA's compiler as nncf is imported
        logging.getLogger(name).setLevel(logging.ERROR)
    nncf = need("nncf", "int8")
    dataset = nncf.Dataset(list(graph.calibration), wrap)
    # Its bars go where all progress goes: to a terminal, and never to stdout, which holds the result alone.
    shown = sys.stderr if stderr_console().is_terminal else io.StringIO()
    with foreign("nncf can't bring this network to int8"), contextlib.redirect_stdout(shown):
        return nncf.quantize(model, dataset, subset_size=len(graph.calibration))
