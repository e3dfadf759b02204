"""Images in, answers out, whatever runs underneath; without torch, which only what is made of tensors needs."""

import copy
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing
from moganet.data import resample
from moganet.data.read import ImageLike, read_pixels
from moganet.devices import Where
from moganet.display import as_html
from moganet.errors import ConfigError, DataError, WeightsError
from moganet.inference.in_python import as_array, as_boxes, as_images, check_number, checked_sizes
from moganet.inference.runs import Array, Outputs, Run, Sizes
from moganet.inference.threads import settle_after_fork
from moganet.models.description import ModelDescription
from moganet.notices import remember
from moganet.processors import using_threads
from moganet.tasks import TASKS, Task
from moganet.tasks.by_image import TaskByImage
from moganet.tasks.guard import FEATURES, TEXTURE, texture_of
from moganet.tasks.task import Asked

if TYPE_CHECKING:
    from torch import Tensor, nn


SHOWN = 20  # names of classes, in a notebook


class NamedRun(Run, Protocol):
    """What answers, and how: the runtime's name, and the precision that it computes in."""

    @property
    def runtime(self) -> str: ...
    @property
    def precision(self) -> str: ...


class Device(str):
    """A device by torch's name for it: "cpu", "cuda", "cuda:1" or "mps"."""

    __slots__ = ()

    @property
    def type(self) -> str:
        return self.partition(":")[0]


class Predictor:
    """A trained model that takes PIL images, arrays or paths.

    run: what answers, from arrays to named arrays; any number of threads may ask it at once. config: the model's
    description. device: where it computes. threads: with how many; None is what holds for the process. module: gives
    the plain torch module, where there is one; predictions run fused. class_names: a name for each class.
    name_of_model: what it was loaded from. runtime: what runs it, resolved where "auto" was asked for.
    """

    def __init__(
        self,
        run: NamedRun,
        config: ModelDescription,
        device: str = "cpu",
        module: "Callable[[], nn.Module] | None" = None,
        *,
        trained: bool = True,
        name_of_model: str = "",
        threads: int | None = None,
    ) -> None:
        self.run, self.config, self.device, self._module = run, config, Device(device), module
        self.trained, self.name_of_model, self.threads = trained, name_of_model, threads

    def __repr__(self) -> str:
        return f"Predictor({self.name_of_model}: {', '.join(self._told())})"

    def _repr_html_(self) -> str:
        names = self.class_names if len(self.class_names) <= SHOWN else (*self.class_names[: SHOWN - 1], "…")
        return as_html(f"Predictor {self.name_of_model}", [", ".join(self._told()), ", ".join(names)])

    def _told(self) -> list[str]:
        own = self.config
        height, width = own.preprocessing.size
        told = [own.architecture.name, own.task.name, f"{len(self.class_names)} classes", f"{height}x{width} pixels"]
        return [*told, f"{self.runtime} {self.precision} on {self.device}", *["untrained"] * (not self.trained)]

    @property
    def model(self) -> "nn.Module":
        """Give the plain torch module. Raises ConfigError for an exported file, which has none."""
        if self._module is None:
            no_module = f"{self.name_of_model} is an exported file, which holds no torch module"
            raise ConfigError(f"{no_module}; give the model that it was exported from")
        return self._module()

    @property
    def where(self) -> Where:
        return Where(self.device, self.threads)

    @property
    def has_module(self) -> bool:
        return self._module is not None

    @property
    def task(self) -> Task:
        return TASKS[self.config.task.name]

    @property
    def sha256(self) -> str:
        """Give the hash of the model's tensors: what its file tells, or else it is made of them."""
        if self.config.sha256:
            return self.config.sha256
        hashed: str = importlib.import_module("moganet.models.reading.checkpoint").hash_tensors(self.model.state_dict())
        return hashed

    @property
    def runtime(self) -> str:
        return self.run.runtime

    @property
    def precision(self) -> str:
        return self.run.precision

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.config.class_names

    def outputs(self, images: "Array | Tensor", sizes: Sizes | None = None, *, judged: bool = False) -> Any:
        """Give what the network gives for preprocessed images (B, C, H, W) of any size, float32 by name.

        Of tasks that find things, a list with a dict an image, an entry a thing.

        sizes: for these, height and width of each image, which lies in the top left corner of zeros [all of it].
        judged: give what the guard needs beside it, where the model has one and the images are of its own size.
        Raises ConfigError for sizes that images do not have, or that a task does not take.
        """
        images = as_array(images)
        taken = checked_sizes(sizes, images.shape) if self.task.sized else None
        if sizes is not None and not self.task.sized:
            raise ConfigError(f"images of the task {self.task.name} are seen as they are; leave sizes away")
        return self.task.handed(self.ask(images, taken, judged=judged), taken)

    def ask(self, images: Array, sizes: Sizes | None = None, *, judged: bool = False) -> Outputs:
        """Give what the network gives as `outputs` does, for every task in the form in which it is computed.

        sizes: of images that are padded, without that, for tasks that are told so.
        """
        settle_after_fork()
        with using_threads(self.threads):
            found = self.run(images, sizes)
        if not all(np.isfinite(values).all() for values in found.values()):  # an export's weights are not looked at
            raise WeightsError(
                f"{self.name_of_model} answers NaN or infinity: its weights are beyond what {self.precision} holds, or "
                "its training had diverged; take an earlier checkpoint"
            )
        preprocessing = self.config.preprocessing
        if judged and self.config.task.guard is not None and images.shape[2:] == preprocessing.size:
            return {**found, TEXTURE: texture_of(images, preprocessing)}
        return found

    def logits(self, x: "Tensor") -> "Tensor":
        """Give the logits (B, classes) in float32 for preprocessed images (B, C, H, W) of any size."""
        found = self.ask(as_array(x))
        if "logits" not in found:
            raise ConfigError(f"{self.name_of_model} gives {', '.join(found)}, and no logits; ask for its outputs")
        return _tensor(found["logits"])

    def preprocess(self, images: Any) -> "Tensor":
        """Turn one image or several into the input, float (B, C, H, W). Raises DataError for what can't be read."""
        items = as_images(images)
        if not items:
            raise DataError("there is no image: the list is empty")
        return _tensor(self._inputs(items, range(len(items))))

    def features(self, images: Any, batch_size: int = 64) -> Array:
        """Give the pooled last features of images, float32 (N, D): what the head makes logits of.

        images: as in a call. Raises ConfigError for a network or an exported file that gives none.
        """
        items, found = as_images(images), list[Array]()
        for outputs in self._each(items, batch_size):
            found.append(self.features_of(outputs))
        if not found:
            raise DataError("there is no image: the list is empty")
        return np.concatenate(found)

    def features_of(self, outputs: Outputs) -> Array:
        """Give the features among outputs, float32 (B, D). Raises ConfigError as `features` does."""
        if FEATURES in outputs:
            return outputs[FEATURES]
        if not self.class_names and "logits" in outputs and outputs["logits"].ndim == 2:  # a backbone without a head
            return outputs["logits"]
        why = "its network does not end in a linear head over pooled features"
        if not self.has_module:
            why = "it was exported before files gave them, or of a network that has none; export it again"
        raise ConfigError(f"{self.name_of_model} gives no features: {why}")

    def picture(self, image: Any) -> "Tensor":
        """Give an image as the network sees it before its colours are scaled, uint8 (C, h, w)."""
        return _tensor(_sized(image, self.config.preprocessing))

    def by_tiles(self, side: int) -> "Predictor":
        """Give one that answers images larger than tiles, of a side in pixels, by these. Raises ConfigError."""
        other = copy.copy(self)
        other.config = self.config.changed(task=self.task.tiled(self.config.task, side))
        return other

    def see(self, pixels: NDArray[np.uint8], boxes: Array | None = None) -> Outputs:
        """Give the outputs for one image, uint8 (C, H, W) as it is, of a task whose answers are of its size.

        boxes: as in `TaskByImage.see`.
        """
        assert isinstance(self.task, TaskByImage)
        return self.task.see(pixels, self.ask, self.config.task, self.config.preprocessing, boxes)

    def _each(
        self,
        items: Sequence[ImageLike],
        batch_size: int,
        *,
        judged: bool = False,
        boxes: Sequence[Any] | None = None,
    ) -> Iterator[Outputs]:
        """Give what the network gives for images, a batch at a time."""
        if self.task.by_image:
            own = self.config.preprocessing
            for place in range(len(items)):
                with _which(place, len(items)):
                    pixels = read_pixels(items[place], own.channels, own.white_level)
                    own_boxes = None if boxes is None else as_boxes(boxes[place])
                yield self.see(pixels, own_boxes)
            return
        for start in range(0, len(items), batch_size):
            yield self.ask(self._inputs(items, range(len(items))[start : start + batch_size]), judged=judged)

    def _inputs(self, items: Sequence[ImageLike], places: range) -> Array:
        settle_after_fork()
        preprocessing, inputs = self.config.preprocessing, []
        for place in places:
            with _which(place, len(items)):
                inputs.append(_sized(items[place], preprocessing))
        return resample.normalize(np.stack(inputs), preprocessing)

    def probabilities(self, logits: "Tensor", calibrated: bool = False) -> "Tensor":
        """Turn logits (B, classes) into probabilities: of one class among all they sum to 1.

        calibrated: scale them by the temperature that the model file keeps. Raises ConfigError where it keeps none.
        """
        if calibrated:
            self.check_calibrated()
        given = {self.task.outputs[0]: as_array(logits)}
        return _tensor(self.task.probabilities(given, self.config.task, calibrated=calibrated))

    def check_takes_boxes(self) -> None:
        """Raise ConfigError for a model that answers for whole images alone."""
        if not self.task.takes_boxes:
            what = f"boxes are for models of key points; {self.name_of_model} is one of the task {self.task.name}"
            raise ConfigError(f"{what}; leave them out")

    def check_calibrated(self) -> None:
        """Raise ConfigError where the model file keeps no temperature to calibrate with."""
        if self.config.task.temperature is None:
            how = f"`moganet report {self.name_of_model}` fits one on the validation images and keeps it"
            if not self.has_module:
                how = "run `moganet report` on the model that it was exported from, and export that again"
            raise ConfigError(f"{self.name_of_model} keeps no temperature to calibrate with; {how}")

    def rejected(self, given: "Tensor | Outputs") -> "Tensor | None":
        """Tell whether each image is unlike those trained on, (B,) bool; None where that is not known.

        given: what `outputs(images, judged=True)` gives, for the guard; logits (B, classes) alone are judged by their
        energy where the model file keeps a threshold of it, which is the weaker score.
        """
        outputs = given if isinstance(given, Mapping) else {"logits": as_array(given)}
        unlike = self.task.unlike(outputs, self.config.task)
        return None if unlike is None else _tensor(unlike)

    def judged_by(self, outputs: Outputs) -> str | None:
        """Name the score by which `rejected` answers: "guard", another, or None where it can't."""
        return self.task.judged_by(outputs, self.config.task)

    def answers(self, outputs: Outputs, asked: Asked = Asked()) -> list[Any]:  # noqa: B008 (frozen)
        """Give an answer an image, of the task's type. Raises WeightsError for a backbone without a head."""
        if not self.class_names:
            raise WeightsError(f"{self.name_of_model} has no head, so it names no classes; load it with num_classes")
        if asked.calibrated:
            self.check_calibrated()
        return self.task.answers(outputs, self.config.task, asked)

    def save(self, path: str | Path) -> Path:
        """Write the network, a MogaNet or timm's, as a model file (.safetensors) that every verb takes; give its path.

        Raises ConfigError for an exported file, for another network, and for one that its name does not build again.
        """
        written: Path = importlib.import_module("moganet.inference.own_network").save(self, path)
        return written

    def __call__(
        self,
        images: Any,
        top_k: int | None = None,
        batch_size: int = 64,
        *,
        calibrated: bool = False,
        boxes: Sequence[Any] | None = None,
    ) -> list[Any]:
        """Predict for an image or several; the list has one answer an image, for a classifier a Prediction.

        images: paths, bytes, open files, PIL images, arrays (H, W) or (H, W, C), or tensors (C, H, W), one or several;
        or a folder, whose images are taken by their names. top_k: how many classes are named [the task's own number].
        calibrated: as in `probabilities`. boxes: of each image those in which key points are looked for, (N, 4) or
        (N, 5): x, y, width, height in pixels, and scores; None is the whole image.
        """
        items = as_images(images)
        if boxes is not None:
            self.check_takes_boxes()
            check_number(boxes, len(items))
        found: list[Any] = []
        for outputs in self._each(items, batch_size, judged=True, boxes=boxes):
            found += self.answers(outputs, Asked(top_k, calibrated))
        return found


@contextmanager
def _which(place: int, number: int) -> Iterator[None]:
    """Say in a DataError which of several images it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"image {place + 1} of {number}: {error}" if number > 1 else str(error)) from None


def _sized(image: Any, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Read any image and bring it to size, uint8 (C, h, w)."""
    pixels = read_pixels(image, preprocessing.channels, preprocessing.white_level)
    return resample.resize_and_crop(pixels, preprocessing)


def _tensor(values: Any) -> "Tensor":
    made: Tensor = importlib.import_module("torch").from_numpy(values)
    return made


def warn_untrained(name: str) -> None:
    """Say that a network's answers mean nothing yet."""
    text = f"{name} is untrained (weights from seed 0): its predictions mean nothing; name one with weights, or a file"
    remember(text)
    warnings.warn(text, stacklevel=3)
