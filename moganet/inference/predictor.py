"""Images in, named results out, whatever runs underneath."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast, get_args

import torch
from torch import Tensor, nn

from moganet.config import Precision
from moganet.data.preprocess import ImageLike, decode, preprocess
from moganet.errors import ConfigError, DataError, WeightsError
from moganet.inference.calibration import energy
from moganet.inference.export.graph import Run
from moganet.inference.runtimes import CachedRun, Runtime, choose_runtime, open_automatic, open_runtime
from moganet.inference.threads import Guard, settle_after_fork
from moganet.models.description import ModelDescription
from moganet.notices import remember


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image, the best first: names, and probabilities that sum to 1 over all classes.

    rejected: whether the image is unlike those that the model was trained on; None where it can't be told.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    rejected: bool | None = None


class Predictor:
    """A trained classifier that takes PIL images, arrays or paths.

    model: the plain torch module; predictions run fused. config: the model's description. class_names: a name for
    each logit. name_of_model: what it was loaded from. runtime: what runs it, resolved where "auto" was asked for.
    Any number of threads may ask it at once.
    """

    def __init__(
        self,
        network: nn.Module,
        config: ModelDescription,
        runtime: Runtime = "auto",
        precision: Precision = "f32",
        *,
        trained: bool = True,
        name_of_model: str = "",
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(f"there is no precision {precision!r}; choose one of {', '.join(get_args(Precision))}")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if precision == "f16" and self.device.type == "cpu":
            raise ConfigError("precision 'f16' needs a GPU; use 'bf16' or 'f32' here")
        self._model: nn.Module | None = network.eval().to(self.device).to(memory_format=torch.channels_last)
        self.runtime: str = choose_runtime(runtime, self.device, network)
        self.precision: str = precision
        self.config, self.trained, self.name_of_model = config, trained, name_of_model
        self._run: Run | None = None
        self._guard = Guard()
        settle_after_fork()
        # What was asked for by name is made ready now, and not within the first prediction.
        if runtime != "auto":
            self._run = open_runtime(self.runtime, network, config, precision, self.device)
            if isinstance(self._run, CachedRun):
                self._run.prepare(config.preprocessing.size)

    @classmethod
    def of_export(cls, run: Run, config: ModelDescription, runtime: str, precision: str, name: str) -> Self:
        """Predict with an exported file's callable; there is no torch module then."""
        predictor = cls.__new__(cls)
        predictor.device, predictor._model, predictor._run = torch.device("cpu"), None, run
        predictor._guard = Guard()
        predictor.runtime, predictor.precision = runtime, precision
        predictor.config, predictor.trained, predictor.name_of_model = config, True, name
        return predictor

    @property
    def model(self) -> nn.Module:
        """Give the plain torch module. Raises ConfigError for an exported file, which has none."""
        if self._model is None:
            raise ConfigError(
                f"{self.name_of_model} is an exported file, which holds no torch module; give the model that it "
                "was exported from"
            )
        return self._model

    @property
    def has_module(self) -> bool:
        """Tell whether there is a torch module, and not only an exported file's callable."""
        return self._model is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Give the name of each class, in the order of the logits."""
        return self.config.class_names

    def preprocess(self, images: Any) -> Tensor:
        """Turn an image or several into the network's input, float (B, C, H, W).

        Raises DataError for an image that can't be read.
        """
        items = as_images(images)
        if not items:
            raise DataError("there is no image: the list is empty")
        return self._inputs(items, range(len(items)))

    def _inputs(self, items: Sequence[ImageLike], places: range) -> Tensor:
        """Give the network's input for some of the images that were handed in."""
        settle_after_fork()
        size, inputs = self.config.preprocessing, []
        for place in places:
            try:
                inputs.append(preprocess(decode(items[place], size.channels, size.white_level), size))
            except DataError as error:
                which = f"image {place + 1} of {len(items)}: " if len(items) > 1 else ""
                raise DataError(f"{which}{error}") from None
        return torch.stack(inputs)

    def logits(self, x: Tensor) -> Tensor:
        """Give the logits (B, classes) in float32 for preprocessed images (B, C, H, W) of any size."""
        settle_after_fork()
        if self._run is None:
            with self._guard:
                self._run = self._run or self._open()
        logits = self._run(x.float()).float().cpu()
        if not logits.isfinite().all():  # finite weights may be too large, and an export's are not looked at
            raise WeightsError(
                f"{self.name_of_model} answers NaN or infinity: its weights are beyond what {self.precision} holds, or "
                "its training had diverged; take an earlier checkpoint"
            )
        return logits

    def _open(self) -> Run:
        precision = cast(Precision, self.precision)
        if self.runtime == "openvino":
            run = open_automatic(self.model, self.config, precision)
            self.runtime = "openvino" if isinstance(run, CachedRun) else "eager"
            return run
        return open_runtime(self.runtime, self.model, self.config, precision, self.device)

    def probabilities(self, logits: Tensor, calibrated: bool = False) -> Tensor:
        """Turn logits (B, classes) into probabilities that sum to 1.

        calibrated: scale them by the temperature that the model file keeps. Raises ConfigError where it keeps none.
        """
        if not calibrated:
            return logits.softmax(1)
        if self.config.task.temperature is None:
            raise ConfigError(
                f"{self.name_of_model} keeps no temperature to calibrate with; {self._how_to_calibrate()}"
            )
        return (logits / self.config.task.temperature).softmax(1)

    def _how_to_calibrate(self) -> str:
        if self._model is None:
            return "run `moganet report` on the model that it was exported from, and export that again"
        return f"`moganet report {self.name_of_model}` fits one on the validation images and keeps it"

    def rejected(self, logits: Tensor) -> Tensor | None:
        """Tell for logits (B, classes) whether each image is unlike those trained on, (B,) bool; None: not known.

        By the energy threshold that the model file keeps (Liu et al. 2020).
        """
        reject = getattr(self.config.task, "reject", None)
        return None if reject is None else energy(logits) > reject.threshold

    def __call__(
        self, images: Any, top_k: int = 5, batch_size: int = 64, *, calibrated: bool = False
    ) -> list[Prediction]:
        """Predict for an image or several; the list has one Prediction an image.

        images: paths, bytes, open files, PIL images, arrays (H, W) or (H, W, C), or tensors (C, H, W), one or a
        sequence. calibrated: as in `probabilities`.
        """
        items = as_images(images)
        predictions: list[Prediction] = []
        for start in range(0, len(items), batch_size):
            logits = self.logits(self._inputs(items, range(len(items))[start : start + batch_size]))
            predictions += self.name(self.probabilities(logits, calibrated), top_k, self.rejected(logits))
        return predictions

    def name(self, probabilities: Tensor, top_k: int = 5, rejected: Tensor | None = None) -> Iterator[Prediction]:
        """Give the `top_k` likeliest classes for each row of probabilities (B, classes).

        rejected: what `rejected` said of the same images' logits. Raises WeightsError for a backbone without a head.
        """
        if not self.class_names:
            raise WeightsError(f"{self.name_of_model} has no head, so it names no classes; load it with num_classes")
        values, indices = probabilities.topk(min(top_k, len(self.class_names)), dim=1)
        unlike = [None] * len(values) if rejected is None else rejected.tolist()
        for row, columns, reject in zip(values.tolist(), indices.tolist(), unlike, strict=True):
            yield Prediction(tuple(self.class_names[i] for i in columns), tuple(row), reject)


def as_images(images: Any) -> Sequence[ImageLike]:
    """Give a sequence for one image or several; an array (H, W, C) is one image, (N, H, W, C) are N.

    Raises DataError for what is neither.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(images, "getexif"):
        return [images]
    if isinstance(images, Mapping):  # of a data set's row, say: its keys are no images
        raise DataError(
            f"a {type(images).__name__} is no image; give one of its values ({', '.join(map(str, images))})"
        )
    if hasattr(images, "read"):  # an open file
        return [images]
    if hasattr(images, "ndim"):
        return list(images) if images.ndim in (1, 4) else [images]
    try:
        return list(images)
    except TypeError:
        raise DataError(f"a {type(images).__name__} is no image, and no list of images") from None


def warn_untrained(name: str) -> None:
    """Say that a network's answers mean nothing yet."""
    text = f"{name} is untrained (weights from seed 0): its predictions mean nothing; name one with weights, or a file"
    remember(text)
    warnings.warn(text, stacklevel=3)
