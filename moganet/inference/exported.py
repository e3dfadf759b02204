"""An exported file as a MODEL: from the file to a Predictor."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from moganet.config import Precision, Preprocessing
from moganet.errors import ConfigError, WeightsError
from moganet.inference.export import EXPORTERS, ExportMetadata
from moganet.inference.export.graph import MAX_BYTES, Run, foreign, parse_metadata
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.models.description import ModelDescription
from moganet.notices import say

COLD = 0.16  # below this temperature, float32 no longer holds the probabilities that are unscaled again


def format_of(path: Path) -> str | None:
    """Give the exporter's name for a file's suffix, or None."""
    return next((name for name, exporter in EXPORTERS.items() if path.suffix.lower() == exporter.SUFFIX), None)


def is_exported(path: Path) -> bool:
    """Tell whether a path is an exported file."""
    return format_of(path) is not None and path.is_file()


def read_metadata(path: Path) -> ExportMetadata:
    """Read what an exported file says of itself, and see that it is what was written.

    Raises WeightsError where it is damaged, or none of ours.
    """
    name = format_of(path)
    assert name is not None
    path = path.resolve()  # OpenVINO's weights lie beside the file, and not beside a link to it
    for part in (path, path.with_suffix(".bin")) if name == "openvino" else (path,):
        if part.is_file() and part.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{part} has {part.stat().st_size:,} bytes, more than any network of ours")
    written = EXPORTERS[name].read(path)
    metadata = parse_metadata(written.metadata, path)
    if metadata.sha256 is None:
        say(f"{path} records no hash, so that damage would not be noticed; export it again")
    elif metadata.sha256 != written.sha256:
        raise WeightsError(
            f"{path} is damaged and was not loaded: it has not the hash that was recorded; export it again"
        )
    return metadata


def load_exported(path: Path, runtime: Runtime = "auto", precision: Precision = "f32") -> Predictor:
    """Load an exported file to predict with: by the runtime and in the precision that it was made for.

    Raises ConfigError where another runtime is asked for, WeightsError for a file that can't be loaded.
    """
    name, metadata = format_of(path), read_metadata(path)
    assert name is not None
    own = {"program": "eager"}.get(name, name)
    if runtime not in ("auto", own, name):
        raise ConfigError(f"{path} is an exported file, which runs by {name}; leave the runtime out")
    if precision not in ("f32", metadata.precision):
        raise ConfigError(f"{path} was exported in {metadata.precision}; export it again with --precision {precision}")
    run = _guarded(EXPORTERS[name].load(path.resolve(), metadata.precision), path)
    description = metadata.description
    if metadata.raw:
        _say_of_raw(metadata, path)
        scale = description.task.temperature if metadata.is_scaled else None
        run, description = _of_raw(run, scale or 1.0, description.preprocessing), raw_description(description)
    elif metadata.size is not None:
        run = _of_one_size(run, metadata.size, path)
    return Predictor.of_export(run, description, name, metadata.precision, str(path))


def raw_description(description: ModelDescription) -> ModelDescription:
    """Describe what is made of images for a raw graph: the crop that the model sees, in 0..1.

    Its fixtures' logits and the threshold of their energy do not hold, since it gives probabilities; the temperature
    does.
    """
    own = description.preprocessing
    plain = own.changed(mean=(0.0,) * own.channels, std=(1.0,) * own.channels)
    return description.changed(preprocessing=plain, fixtures=(), task=description.task.of_probabilities())


def _say_of_raw(metadata: ExportMetadata, path: Path) -> None:
    temperature = metadata.description.task.temperature
    if metadata.calibrated is None and metadata.is_scaled:
        say(
            f"{path} is from before raw files said so: its probabilities are taken for calibrated ones; export it again"
        )
    if metadata.is_scaled and temperature is not None and temperature < COLD:
        say(f"{path} holds probabilities scaled by {temperature:g}: the smallest can't be unscaled; use --calibrated")
    if metadata.description.task != metadata.description.task.of_probabilities():
        say(
            f"{path} gives probabilities, by which can't be told what is unlike the training images; use the model file"
        )


def _guarded(run: Run, path: Path) -> Run:
    def guarded(x: Tensor) -> Tensor:
        with foreign(f"{path} can't be run"):
            return run(x)

    return guarded


def _of_raw(run: Run, temperature: float, own: Preprocessing) -> Run:
    """Give the logits, but for a number that all of an image's share, by which no probability changes.

    A raw graph resizes and crops. So that batches can be made, and of the very pixels that the model sees, it is given
    the crop within a frame of the size before the crop, which it then cuts off.
    """
    full = own.size if own.crop_mode == "squash" else tuple(int(side / own.crop_fraction) for side in own.size)
    (top, left) = (round((whole - side) / 2) for whole, side in zip(full, own.size, strict=True))
    frame = (left, full[1] - own.size[1] - left, top, full[0] - own.size[0] - top)

    def logits(x: Tensor) -> Tensor:  # (B, C, H, W) in 0..1
        images = pad((x * 255).round().clamp(0, 255).to(torch.uint8), frame).permute(0, 2, 3, 1)
        return run(images.contiguous()).clamp(min=1e-38).log() * temperature

    return logits


def _of_one_size(run: Run, size: tuple[int, int], path: Path) -> Run:
    def logits(x: Tensor) -> Tensor:
        if (x.shape[2], x.shape[3]) != size:
            raise ConfigError(
                f"{path} was exported for {size[0]}x{size[1]} pixels, not {x.shape[2]}x{x.shape[3]}; export it again "
                "with --size or --any-size"
            )
        return run(x)

    return logits
