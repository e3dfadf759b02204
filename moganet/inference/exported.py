"""An exported file as a MODEL: from the file to a Predictor."""

from pathlib import Path

import torch
from torch import Tensor

from moganet.config import Precision, Preprocessing
from moganet.errors import ConfigError
from moganet.inference.export import EXPORTERS, ExportMetadata
from moganet.inference.export.graph import Run, parse_metadata
from moganet.inference.model_file import ModelDescription
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime


def format_of(path: Path) -> str | None:
    """Give the exporter's name for a file's suffix, or None."""
    return next((name for name, exporter in EXPORTERS.items() if path.suffix.lower() == exporter.SUFFIX), None)


def is_exported(path: Path) -> bool:
    """Tell whether a path is an exported file."""
    return format_of(path) is not None and path.is_file()


def read_metadata(path: Path) -> ExportMetadata:
    """Read what an exported file says of itself. Raises WeightsError where it is none of ours."""
    name = format_of(path)
    assert name is not None
    return parse_metadata(EXPORTERS[name].read(path), path)


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
    run = EXPORTERS[name].load(path, metadata.precision)
    description = metadata.description
    if metadata.raw:
        run, description = _of_raw(run), raw_description(description)
    elif metadata.size is not None:
        run = _of_one_size(run, metadata.size, path)
    return Predictor.of_export(run, description, name, metadata.precision, str(path))


def raw_description(description: ModelDescription) -> ModelDescription:
    """Describe what a raw graph is given: images before the crop, in 0..1.

    The graph resizes, crops and normalises; to images that have the size before the crop already it does only the
    latter two, so that batches can be made. Its fixtures' logits do not hold, since it gives probabilities.
    """
    own = description.preprocessing
    squash = own.crop_mode == "squash"
    full = own.size if squash else (int(own.size[0] / own.crop_fraction), int(own.size[1] / own.crop_fraction))
    given = Preprocessing(
        size=full,
        crop_mode=own.crop_mode,
        crop_fraction=1.0,
        interpolation=own.interpolation,
        channels=own.channels,
        mean=(0.0,) * own.channels,
        std=(1.0,) * own.channels,
    )
    return description.model_copy(update={"preprocessing": given, "fixtures": (), "temperature": None, "reject": None})


def _of_raw(run: Run) -> Run:
    def logits(x: Tensor) -> Tensor:  # (B, C, H, W) in 0..1
        images = (x * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return run(images.contiguous()).clamp(min=1e-38).log()

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
