"""An exported file as a MODEL: from the file to a Predictor, without torch but for torch's own programs."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from moganet.devices import ANYWHERE, Where
from moganet.errors import ConfigError, WeightsError, foreign
from moganet.inference.metadata import MAX_BYTES, ExportMetadata, parse_metadata
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array, Outputs, Run, Sizes, onnx, openvino
from moganet.models.description import ModelDescription
from moganet.notices import say
from moganet.numbers import dimensions
from moganet.processors import using_threads
from moganet.tasks import TASKS

SUFFIXES = {onnx.SUFFIX: "onnx", openvino.SUFFIX: "openvino", ".pt2": "program", ".pte": "executorch"}
COLD = 0.16  # below this temperature, float32 no longer holds the probabilities that are unscaled again


def format_of(path: Path) -> str | None:
    """Give the exporter's name for a file's suffix, or None."""
    return SUFFIXES.get(path.suffix.lower())


def is_exported(path: Path) -> bool:
    """Tell whether a path is an exported file."""
    return format_of(path) is not None and path.is_file()


def read_metadata(path: Path) -> ExportMetadata:
    """Read what an exported file says of itself. Raises WeightsError where it is damaged, or none of ours."""
    name = format_of(path)
    assert name is not None
    lies = path.resolve()  # OpenVINO's weights lie beside the file, and not beside a link to it
    for part in (lies, lies.with_suffix(".bin")) if name == "openvino" else (lies,):
        if part.is_file() and part.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{part} has {part.stat().st_size:,} bytes, more than any network of ours")
    written = _format(name).read(lies)
    metadata = parse_metadata(written.metadata, path)
    if metadata.sha256 is None:
        say(f"{path} records no hash, so that damage would not be noticed; export it again")
    elif metadata.sha256 != written.sha256:
        raise WeightsError(f"{path} is damaged and was not loaded: it has not the recorded hash; export it again")
    return metadata


def _format(name: str) -> Any:
    """Give what reads and runs a format's files; torch's own programs need torch."""
    known: dict[str, Any] = {"onnx": onnx, "openvino": openvino}
    return known.get(name) or importlib.import_module(f"moganet.inference.export.{name}")


class ExportedRun:
    """Run an exported file: in the precision that it was made for, and of its size alone where it has one."""

    def __init__(self, run: Run, name: str, metadata: ExportMetadata, path: Path) -> None:
        self.run, self.runtime, self.precision = run, name, metadata.precision
        self.path, self.size = path, None if metadata.raw else metadata.size
        self.raw, self.scale = metadata.raw, metadata.description.task.temperature if metadata.is_scaled else None
        self.preprocessing, self.task = metadata.description.preprocessing, TASKS[metadata.description.task.name]

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        if self.size is not None and images.shape[2:] != self.size:
            own, given = map(dimensions, (self.size, images.shape[2:]))
            what = f"{self.path} was exported for {own} pixels, not {given}"
            raise ConfigError(f"{what}; export it again with --size or --any-size")
        with foreign(f"{self.path} can't be run"):
            return self._of_raw(images) if self.raw else self.run(images, sizes)

    def _of_raw(self, images: Array) -> Outputs:
        """Give the logits; of files that give probabilities alone, but for a number that an image's share.

        A raw graph resizes and crops. So that batches can be made, and of the very pixels that the model sees, it is
        given the crop within a frame of the size before the crop, which it then cuts off.
        """
        own = self.preprocessing
        full = own.size if own.crop_mode == "squash" else tuple(int(side / own.crop_fraction) for side in own.size)
        first = [round((whole - side) / 2) for whole, side in zip(full, own.size, strict=True)]
        frame = [(top, whole - side - top) for top, whole, side in zip(first, full, own.size, strict=True)]
        pixels = np.pad((images * 255).round().clip(0, 255).astype(np.uint8), ((0, 0), (0, 0), *frame))
        given = dict(self.run(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))))
        probabilities = given.pop("probabilities")
        return given or {"logits": self.task.logits_of(probabilities) * np.float32(self.scale or 1.0)}


def load_exported(path: Path, runtime: str = "auto", precision: str = "f32", where: Where = ANYWHERE) -> Predictor:
    """Load an exported file by its own runtime, in its own precision. Raises ConfigError for others, WeightsError."""
    name, metadata = format_of(path), read_metadata(path)
    assert name is not None
    own = {"program": "eager"}.get(name, name)
    if runtime not in ("auto", own, name):
        raise ConfigError(f"{path} is an exported file, which runs by {name}; leave the runtime out")
    if precision not in ("f32", metadata.precision):
        raise ConfigError(f"{path} was exported in {metadata.precision}; export it again with --precision {precision}")
    if where.device not in ("auto", "cpu"):
        raise ConfigError(f"{path} is an exported file, which runs on the CPU, not on {where.device}; say device cpu")
    with using_threads(where.threads):
        run = ExportedRun(
            _format(name).load(path.resolve(), metadata.precision, metadata.outputs), name, metadata, path
        )
    named: Any = {"name_of_model": str(path), "threads": where.threads}
    if not metadata.raw:
        return Predictor(run, metadata.description, **named)
    _say_of_raw(metadata, path)
    return Predictor(run, _raw_description(metadata), **named)


def _raw_description(metadata: ExportMetadata) -> ModelDescription:
    """Describe what is made of images for a raw graph: the crop that the model sees, in 0..1.

    The fixtures do not hold. Where the graph gives probabilities alone (files from before the guard), no threshold
    does; the temperature does.
    """
    description = metadata.description
    own = description.preprocessing
    plain = own.changed(mean=(0.0,) * own.channels, std=(1.0,) * own.channels)
    task = description.task if metadata.more else description.task.of_probabilities()
    return description.changed(preprocessing=plain, fixtures=(), task=task)


def _say_of_raw(metadata: ExportMetadata, path: Path) -> None:
    if metadata.more:
        return
    temperature = metadata.description.task.temperature
    if metadata.calibrated is None and metadata.is_scaled:
        say(f"{path} is from before raw files said so: its probabilities are taken for calibrated; export it again")
    if metadata.is_scaled and temperature is not None and temperature < COLD:
        say(f"{path} holds probabilities scaled by {temperature:g}: the smallest can't be unscaled; use --calibrated")
    if metadata.description.task != metadata.description.task.of_probabilities():
        say(f"{path} gives probabilities, which can't tell what is unlike the training images; use the model file")
