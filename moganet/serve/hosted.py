"""One loaded model of the service: made ready, asked through its queue, described for clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing
from moganet.data.resample import normalize, resize_and_crop
from moganet.engine.info import accuracy_of, trained_on
from moganet.inference.known import files_of, hash_of_file
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array, Outputs
from moganet.models.find import find
from moganet.results import Record
from moganet.serve.lane import Lane

STREAMED, MANY = 16, 64  # images of a batch: of OpenVINO's streams, and of a GPU


class Card(Record):
    """What clients are told of a model.

    sha256: of its tensors, or of a file that records none. version: of the package that answers. classes: in the order
    of their numbers. calibrated: whether calibrated probabilities can be asked for. rejects: whether it tells images
    unlike those that it was trained on. methods: by which it can be explained. accuracy: what was measured of it, a
    text each.
    """

    name: str
    default: bool
    sha256: str
    version: str
    task: str
    network: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    runtime: str
    precision: str
    device: str
    calibrated: bool
    rejects: bool
    methods: tuple[str, ...]
    accuracy: tuple[str, ...]
    trained_on: str
    untrained: bool


class Serving(Record):
    """A model that is served."""

    name: str
    task: str
    sha256: str
    classes: int
    runtime: str


class Opened(NamedTuple):
    """A loaded model. stamp: its file's hash, "" of one in many files. Exports of one model differ in it alone."""

    predictor: Predictor
    stamp: str

    def same(self, other: "Opened") -> bool:
        """Tell whether another is this one."""
        return self.stamp == other.stamp and self.predictor.config == other.predictor.config


@dataclass(frozen=True)
class Source:
    """What was named on the command line: the model's name for clients, what is loaded, and how."""

    name: str
    model: str
    open: Callable[[], Predictor]

    def opened(self) -> Opened:
        """Load the model. Its stamp is taken before: what is replaced meanwhile is taken anew the next time."""
        files = files_of(find(self.model))
        stamp = hash_of_file(files[-1]) if files else ""
        predictor = self.open()
        predictor.name_of_model = self.name  # clients read of the model by the name that they know
        return Opened(predictor, stamp)


def at_once(predictor: Predictor) -> int:
    """Give how many images are answered at once: one where a processor gains nothing by more."""
    if predictor.device.type != "cpu":
        return MANY
    return STREAMED if predictor.runtime == "openvino" else 1


class Hosted:
    """A model that is ready to answer. hear: is told of each batch how many seconds each of its images waited.

    shapes: of what the network gives for an image, by name.
    """

    def __init__(self, source: Source, opened: Opened, hear: Callable[[Sequence[float]], object] = len) -> None:
        self.source, self.opened, self.name = source, opened, source.name
        self.predictor = predictor = opened.predictor
        by_image = predictor.task.by_image
        self.most = 1 if by_image else at_once(predictor)
        self.answer = self._see if by_image else self._outputs
        found = self._warmed()
        self.rejects = predictor.judged_by(found) is not None
        self.shapes: dict[str, tuple[int, ...]] = {name: found[name].shape[1:] for name in predictor.task.outputs}
        self.lane: Lane[Array, Outputs] = Lane(self.answer, self.most, hear)

    def prepared(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Give what the lane takes of an image uint8 (C, H, W) at its own size."""
        own = self.predictor.config.preprocessing
        return pixels if self.predictor.task.by_image else normalize(resize_and_crop(pixels, own)[None], own)[0]

    def _warmed(self) -> Outputs:
        """Let the runtime make itself ready for one image and for several: the first client does not wait for it."""
        own = self.predictor.config.preprocessing
        empty = np.zeros((own.channels, *own.size), np.uint8)
        for number in sorted({1, self.most}):
            found = self.answer([self.prepared(empty)] * number)[0]
        return found

    @property
    def sha256(self) -> str:
        """Give the hash of its tensors; of a file that records none, the file's."""
        return self.predictor.config.sha256 or self.opened.stamp

    @property
    def serving(self) -> Serving:
        """Say what it is, in short."""
        own = self.predictor
        return Serving(
            name=self.name,
            task=own.task.name,
            sha256=self.sha256,
            classes=len(own.class_names),
            runtime=own.runtime,
        )

    @cached_property
    def accuracy(self) -> tuple[str, ...]:
        """Say what was measured of it."""
        return accuracy_of(self.predictor.config, Path(self.source.model))

    @property
    def trained_on(self) -> str:
        """Say what it was trained on, without places."""
        return trained_on(self.predictor.config.provenance)

    def _outputs(self, images: Sequence[Array]) -> list[Outputs]:
        found = self.predictor.outputs(np.stack(images), judged=True)
        return [{name: values[i : i + 1] for name, values in found.items()} for i in range(len(images))]

    def _see(self, images: Sequence[Any]) -> list[Outputs]:
        return [self.predictor.see(pixels) for pixels in images]
