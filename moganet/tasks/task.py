"""The contract of a task: what everything above the network asks of it, and what each task says in its own way.

Nothing here imports torch: an exported model answers without it. What learns and measures is imported when asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, create_model

from moganet.config import Architecture, LossSettings, Recipe, Settings, TaskSettings
from moganet.errors import ConfigError, DataError
from moganet.results import Metric
from moganet.tasks.guard import Guard, Values
from moganet.tasks.records import CocoResult, Evaluation, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moganet.data import Dataset
    from moganet.data.targets import Targets
    from moganet.embeddings.learn import Known
    from moganet.report import GridItem
    from moganet.tasks.evaluator import Evaluator
    from moganet.tasks.judged import Judged
    from moganet.tasks.module import Learning, TaskModule
    from moganet.tasks.probing import Probed
    from moganet.tasks.report import Answers, Reported, Seen

Array = NDArray[np.floating]
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]  # of one beyond, nothing is left of the logits
Outputs = Mapping[str, Array]  # what a network gives for a batch, by name
Masks = Literal["png", "rle", "none"]  # how answers about pixels are sent: as a picture of indices, or COCO's runs
# Among the outputs of several models (B, 2): how many find an image unlike theirs, and how many can tell.
VOTES = "votes"


class TaskDescription(Settings):
    """What a model file says of its task.

    class_names: a name for each class that the network tells apart. temperature: what the logits are divided by for
    calibrated probabilities, fitted on validation images. guard: what tells images unlike those trained on.
    """

    name: str
    class_names: tuple[str, ...] = ()
    temperature: Temperature | None = None
    guard: Guard | None = None

    def anew(self, class_names: tuple[str, ...]) -> Self:
        """Give a description of the same task for another function or other classes: nothing is fitted to these yet."""
        return type(self)(name=self.name, class_names=class_names)

    def joined(self, others: Sequence[Self], orders: Sequence[Sequence[int]], *, calibrated: bool) -> Self:
        """Describe the mean of this task's probabilities and those of others, that are scaled where `calibrated`.

        orders: of this and each other, the index of each common class.
        """
        made = self.anew(self.class_names)
        return made.changed(temperature=1.0) if calibrated else made

    def of_probabilities(self) -> Self:
        """Give what holds where only probabilities are given, and no logits."""
        return self.unguarded()

    def unguarded(self) -> Self:
        """Give a description that can't tell what is unlike the training images: its thresholds do not hold."""
        return self.changed(guard=None)


@dataclass(frozen=True)
class Asked:
    """How answers are wanted. top_k: how many classes, None: what is usual. calibrated: scaled by the temperature."""

    top_k: int | None = None
    calibrated: bool = False


class Writer(Protocol):
    """What writes an answer's files, an image at a time; `close` gives their folder's other files."""

    def write(self, place: int, row: Any, image: Any, answer: Any) -> Row: ...
    def close(self) -> list[str]: ...


class Task(ABC):
    """What a network is trained to answer.

    settings, loss: of a recipe. description: of a model file.
    metrics: those that training logs beside the loss, the monitor first. outputs: names of what the network gives.
    activation: what makes probabilities of logits ("softmax", "sigmoid"). columns: of the CSV file of answers.
    pipeline: the task's name on the Hugging Face hub. rewards: whether the interactions of an image's patches can be
    measured, for its one true class. by_image: whether it is a `TaskByImage`. unexplained: why its answers
    can't be explained, "" where they can. guards: whether a guard can be made, which tells unlike images by their
    whole. takes_boxes: whether it answers for boxes in an image. sized: whether the network is told how large each
    padded image is.
    """

    name: ClassVar[str]
    settings: ClassVar[type[TaskSettings]]
    loss: ClassVar[type[LossSettings]]
    description: ClassVar[type[TaskDescription]]
    metrics: ClassVar[tuple[Metric, ...]]
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    activation: ClassVar[str] = "softmax"
    columns: ClassVar[tuple[str, ...]]
    pipeline: ClassVar[str] = "image-classification"
    rewards: ClassVar[bool] = False
    by_image: ClassVar[bool] = False
    unexplained: ClassVar[str] = ""
    sized: ClassVar[bool] = False
    guards: ClassVar[bool] = True
    takes_boxes: ClassVar[bool] = False

    @property
    def monitor(self) -> Metric:
        """Give the figure that the best weights are chosen by."""
        return self.metrics[0]

    @property
    def explains(self) -> bool:
        """Tell whether its answers can be explained."""
        return not self.unexplained

    @cached_property
    def recipe(self) -> type[Recipe]:
        """Give the kind of recipe that this task has."""
        fields: dict[str, Any] = {"task": (self.settings, self.settings()), "loss": (self.loss, self.loss())}  # type: ignore[call-arg]
        return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **fields)

    @property
    @abstractmethod
    def evaluation(self) -> type[Evaluation]:
        """Give the type of what `evaluate` gives."""

    # Data and training

    def network(self, architecture: Architecture, settings: TaskSettings) -> Architecture:
        """Give the network that is trained: with the head that the task's settings say, else a classifier."""
        return architecture if architecture.head is None else architecture.changed(head=None)

    @abstractmethod
    def check(self, dataset: "Dataset", *, training: bool) -> None:
        """Raise DataError for a set whose targets are of another kind, or of which nothing can be learned."""

    def samples(self, dataset: "Dataset") -> "Dataset":
        """Give a set as it is learned from, an item for each thing that the network sees: an image, or a part of it."""
        return dataset

    def describe(self, dataset: "Dataset", settings: TaskSettings) -> TaskDescription:
        """Describe what a network is trained for on a set, by a recipe's settings of its task."""
        return self.description(name=self.name, class_names=dataset.class_names)

    @abstractmethod
    def module(self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning") -> "TaskModule":
        """Make what trains a network: loss and metrics. Raises ConfigError for settings that do not fit the set."""

    def preview(
        self, image: NDArray[np.uint8], target: Any, description: TaskDescription
    ) -> tuple[NDArray[np.uint8], str]:
        """Give a training image (C, H, W) as it is shown to a person, and what its target says, a line a class."""
        shares = {int(target): 1.0} if target.ndim == 0 else {int(i): float(target[i]) for i in target.nonzero()}
        named = [
            f"{description.class_names[i]}" + ("" if share == 1 else f" {share:.2f}") for i, share in shares.items()
        ]
        return image, "\n".join(named)

    @abstractmethod
    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "Evaluator":
        """Make what measures outputs against targets. keeps: whether they are kept, which its `details` needs."""

    # Answers

    def writer(self, out: Path, files: Sequence[str], description: TaskDescription) -> "Writer":
        """Make what writes an answer's files for each of some images. Raises ConfigError where a task has none."""
        raise ConfigError(
            f"the answers of {self.name} are rows; give --out the name of a .jsonl, .parquet or .csv file"
        )

    def handed(self, outputs: Outputs, sizes: Sequence[tuple[int, int]] | None) -> Any:
        """Give outputs as they are handed to a caller in Python. sizes: of images without their padding."""
        return outputs

    @abstractmethod
    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        """Turn outputs into probabilities (B, classes). calibrated: scaled by what the description keeps."""

    def mirrored(self, probabilities: Array, description: TaskDescription) -> Array:
        """Give what is answered for mirrored images as if it were for the images themselves."""
        return probabilities

    def logits_of(self, probabilities: Array) -> Array:
        """Give logits of probabilities (B, classes), but for a number that an image's share where they sum to 1."""
        if self.activation == "softmax":
            return np.asarray(np.log(probabilities.clip(1e-38, None)), np.float32)
        inside = probabilities.clip(1e-38, 1 - 1e-7)
        return np.asarray(np.log(inside) - np.log1p(-inside), np.float32)

    @abstractmethod
    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Any]:
        """Give a typed answer an image."""

    @abstractmethod
    def row(self, file: str, answer: Any, truth: Any, *, trained: bool) -> Row:
        """Give an answer as JSON has it."""

    def tiled(self, description: TaskDescription, side: int) -> TaskDescription:
        """Describe a task that answers images larger than tiles, of a side in pixels, by these. Raises ConfigError."""
        raise ConfigError(f"the answers of {self.name} are of whole images, not of their parts; leave --tiles away")

    def results(self, answer: Any, image: int, description: TaskDescription) -> "list[CocoResult]":
        """Give an answer as COCO's list of results has it. image: the id. Raises ConfigError where a task has none."""
        raise ConfigError(f"the answers of {self.name} are no list of results as COCO has it; leave --coco away")

    def boxes_of(self, answer: Any, class_name: str) -> Array:
        """Give the boxes of a class that an answer finds (N, 5): x, y, width, height in pixels, and scores.

        Raises ConfigError where a task finds none.
        """
        raise ConfigError(f"the answers of {self.name} have no boxes")

    def sent(self, row: Row, answer: Any, masks: Masks) -> Row:
        """Give a row as a client elsewhere needs it: with what `writer` would leave in files, in it. masks: how."""
        return row

    @abstractmethod
    def picture(self, image: Any, answer: Any, truth: Any) -> "GridItem":
        """Draw an answer and the truth, where it is known, on the image uint8 (C, H, W)."""

    def drawn(self, image: NDArray[np.uint8], answer: Any) -> NDArray[np.uint8] | None:
        """Draw what an answer marks in an image uint8 (C, H, W); None where it is about the whole of it."""
        return None

    def colours(self, answer: Any) -> Mapping[str, tuple[int, int, int]]:
        """Give the colour in which `drawn` shows each name; none where it writes them, or draws nothing."""
        return {}

    def words(self, answer: Any, class_names: Sequence[str]) -> str:
        """Say an answer as `Targets.text` says a truth: an answer that is right is the same text."""
        return self.picture(None, answer, None).predicted

    def truth(self, targets: "Targets", place: int, class_names: Sequence[str]) -> Any:
        """Give an image's truth as a row has it, None where it is not known."""
        return targets.text(place, class_names) or None

    def energy(self, outputs: Outputs) -> Values | None:
        """Say how unsure outputs are (B,), the higher the more, as one of the guard's scores; None leaves it out."""
        return None

    def unlike(self, outputs: Outputs, description: TaskDescription) -> NDArray[np.bool_] | None:
        """Tell of each image (B,) whether it is unlike those that were trained on; None where that can't be told."""
        if VOTES in outputs:
            against, telling = outputs[VOTES].T
            return np.asarray(2 * against > telling) if telling.any() else None
        return None if description.guard is None else description.guard.unlike(outputs, self.energy(outputs))

    def judged_by(self, outputs: Outputs, description: TaskDescription) -> str | None:
        """Name the score by which `unlike` answers: "guard", another, or None where it can't."""
        guarded = description.guard is not None and Task.unlike(self, outputs, description) is not None
        return "guard" if guarded else None

    def draw(self, evaluation: Any, class_names: Sequence[str], folder: Path) -> list[str]:
        """Draw what an evaluation found into a folder; give the names of the files."""
        return []

    def is_right(self, answer: Any, truth: Any) -> bool | None:
        """Tell whether an answer is the truth; None where that is no question of right or wrong."""
        return None

    def names_found(self, answer: Any) -> Sequence[str]:
        """Give the classes that an answer finds in an image; none where it finds none, or has no classes."""
        return ()

    def truth_of_file(self, file: Path, description: TaskDescription) -> Any:
        """Give what a file's place says of its truth, None where that is nothing."""
        return None

    def say(self, figures: Any) -> str | None:
        """Say the first of an evaluation's figures, read back from JSON, in a few words; None where it has none."""
        known = figures.get(self.monitor.name) if isinstance(figures, dict) else None
        return f"{self.monitor.short} {100 * known:.2f} %" if isinstance(known, int | float) else None

    def kept(self, outputs: Outputs, targets: Any, description: TaskDescription) -> "tuple[Tensor, Tensor]":
        """Give what of a batch's outputs and targets the report needs, an entry an image each: all, or counts."""
        import torch

        return torch.from_numpy(outputs[self.outputs[0]]), targets

    @abstractmethod
    def report(self, seen: "Seen") -> "Reported":
        """Say how good a model is, in sections of its report; what is fitted on validation images may be kept."""

    @property
    def judges(self) -> bool:
        """Tell whether an image's answer is right or wrong in this task."""
        return type(self).judge is not Task.judge

    def judge(self, outputs: "Tensor", targets: "Tensor", description: TaskDescription) -> "Judged":
        """Tell which images are answered right, from the first of `outputs` and targets in the model's classes."""
        raise ConfigError(f"an image's answer is neither right nor wrong in the task {self.name}; evaluate each model")

    def doubtful(self, parts: "Sequence[Answers]") -> list[tuple[int, int]]:
        """Give the images whose labels look wrong, the most doubtful first, as (part, number in it).

        By confident learning (Northcutt et al. 2021) on images that were not trained on. Raises MissingExtraError, or
        DataError where they can't be told.
        """
        raise DataError(f"doubtful labels can't be told in the task {self.name}")

    def probe(self, known: "Known", asked: "Known", names: Sequence[str], inner: NDArray[np.int64] | None) -> "Probed":
        """Measure how well fixed features tell the targets of some images by those of others, without training.

        inner: places of the known that are held back to choose by. Raises ConfigError where that can't be.
        """
        raise ConfigError(f"a probe tells classes of whole images, not what {self.name} answers")

    # Exports

    @abstractmethod
    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.floating | np.bool_]:
        """Tell for each image (B,) whether two networks decide alike, or which share of the decisions is the same."""


def refuse_places(dataset: "Dataset", targets: "Targets") -> None:
    """Raise DataError for a set in whose images something is marked, for a task whose answers are of whole images."""
    if targets.have_places:
        kind, recipe = ("masks", "segment") if targets.marked() is None else ("boxes", "detect")
        if targets.key_points() is not None:
            kind, recipe = "key points", "pose"
        what = f"the images of {dataset.spec} have {kind}, which this task knows nothing of"
        raise DataError(f"{what}; use another recipe, say {recipe}, or a model that was trained by it")
