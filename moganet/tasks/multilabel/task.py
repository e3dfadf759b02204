"""Multi-label classification as a task."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Recipe
from moganet.errors import DataError
from moganet.results import Metric
from moganet.tasks.multilabel.answers import COLUMNS, NONE, Found, MultilabelRow, answers, energy, found, sigmoid
from moganet.tasks.multilabel.description import MultilabelDescription, MultilabelLoss, MultilabelSettings
from moganet.tasks.task import Array, Asked, Outputs, Task, TaskDescription, refuse_places

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moganet.data import Dataset
    from moganet.data.targets import Targets
    from moganet.embeddings.learn import Known
    from moganet.report import GridItem
    from moganet.tasks.judged import Judged
    from moganet.tasks.module import Learning
    from moganet.tasks.multilabel.evaluator import MultilabelEvaluation, MultilabelEvaluator
    from moganet.tasks.multilabel.training import MultilabelTraining
    from moganet.tasks.probing import Probed
    from moganet.tasks.report import Answers, Reported, Seen


class Multilabel(Task):
    """Any number of classes an image."""

    name = "multilabel"
    settings, loss, description = MultilabelSettings, MultilabelLoss, MultilabelDescription
    metrics = (Metric("map", "Mean average precision", "mean average precision", "mAP"),)
    activation = "sigmoid"
    columns = COLUMNS

    @property
    def evaluation(self) -> "type[MultilabelEvaluation]":
        from moganet.tasks.multilabel.evaluator import MultilabelEvaluation

        return MultilabelEvaluation

    def check(self, dataset: "Dataset", *, training: bool) -> None:
        for name, split in dataset.distinct().items():
            refuse_places(dataset, split.targets)
            strata = split.targets.strata()
            if strata.ndim != 2:
                how = "a table with --data 'table:FILE?labels=COLUMN', or rows of 0 and 1 in Python, have any number"
                raise DataError(f"{dataset.spec} has one class an image; {how}, or use another recipe")
            if training and name == "train" and not strata.any():
                raise DataError(f"no training image of {dataset.spec} has a class; there is nothing to learn")

    def module(
        self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning"
    ) -> "MultilabelTraining":
        from moganet.tasks.multilabel.training import MultilabelTraining

        description, settings = self.describe(dataset, recipe.task), recipe.task
        assert isinstance(description, MultilabelDescription) and isinstance(settings, MultilabelSettings)
        return MultilabelTraining(network, description, learning, settings, _pos_weights(recipe, dataset))

    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "MultilabelEvaluator":
        from moganet.tasks.multilabel.evaluator import MultilabelEvaluator

        return MultilabelEvaluator(_own(description), keeps=keeps)

    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        logits = outputs["logits"]
        made = sigmoid(logits / (description.temperature or 1.0) if calibrated else logits)
        return np.asarray(made, np.float32)

    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Found]:
        probabilities = self.probabilities(outputs, description, calibrated=asked.calibrated)
        told = answers(outputs["logits"], probabilities, _own(description), asked.top_k)
        unknown = self.unlike(outputs, description)
        return (
            told if unknown is None else [replace(a, rejected=r) for a, r in zip(told, unknown.tolist(), strict=True)]
        )

    def row(self, file: str, answer: Found, truth: Any, *, trained: bool) -> MultilabelRow:
        return MultilabelRow.of(file, answer, truth, trained=trained, rejected=answer.rejected)

    def picture(self, image: "Tensor", answer: Found, truth: Any) -> "GridItem":
        from moganet.report import GridItem

        said, known = sorted(answer.above) or [NONE], None if truth is None else sorted(truth) or [NONE]
        text, truth_text = ", ".join(said), None if known is None else ", ".join(known)
        unlike, lines = bool(answer.rejected), (tuple(said), tuple(known or ()))
        return GridItem(image, text, None, truth_text, rejected=unlike, classes=lines[0], truths=lines[1])

    def words(self, answer: Found, class_names: Sequence[str]) -> str:
        return "|".join(name for name in class_names if name in answer.above)

    def energy(self, outputs: Outputs) -> NDArray[np.float64]:
        return energy(outputs["logits"])

    def truth(self, targets: "Targets", place: int, class_names: Sequence[str]) -> tuple[str, ...] | None:
        row = targets[place]
        return None if row is None else tuple(class_names[i] for i in row.nonzero()[:, 0].tolist())

    def is_right(self, answer: Found, truth: Any) -> bool:
        return set(answer.above) == set(truth)

    def names_found(self, answer: Found) -> Sequence[str]:
        return answer.above

    def report(self, seen: "Seen") -> "Reported":
        from moganet.tasks.multilabel.report import compose

        return compose(seen)

    def judge(self, outputs: "Tensor", targets: "Tensor", description: TaskDescription) -> "Judged":
        from moganet.tasks.judged import Judged
        from moganet.tasks.multilabel.figures import mean_average_precision, precision_interval

        logits, truth = outputs.numpy(), targets.numpy() > 0
        right = (found(logits, _own(description)) == truth).all(1)
        return Judged(right, mean_average_precision(logits, truth), precision_interval(logits, truth))

    def doubtful(self, parts: "Sequence[Answers]") -> list[tuple[int, int]]:
        from moganet.tasks.multilabel.doubtful import find_doubtful

        return find_doubtful(parts)

    def probe(self, known: "Known", asked: "Known", names: Sequence[str], inner: NDArray[np.int64] | None) -> "Probed":
        from moganet.tasks.multilabel.probe import probe

        return probe(known, asked, names, inner)

    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.floating]:
        """Give the share of the classes found by either that both find: 1 where neither finds any."""
        ours, theirs = (found(outputs["logits"], _own(description)) for outputs in (given, expected))
        either = (ours | theirs).sum(1)
        return np.where(either, (ours & theirs).sum(1) / np.maximum(either, 1), 1.0)


def _own(description: TaskDescription) -> MultilabelDescription:
    assert isinstance(description, MultilabelDescription)
    return description


def _pos_weights(recipe: Recipe, dataset: "Dataset") -> "Tensor | None":
    from moganet.tasks.module import weights_of_classes
    from moganet.tasks.multilabel.training import balanced

    assert isinstance(recipe.loss, MultilabelLoss)

    def of_positives(targets: "Targets") -> "Tensor":
        return balanced(targets.counts(len(dataset.class_names)), len(targets))

    return weights_of_classes("loss.pos_weights", recipe.loss.pos_weights, dataset, of_positives)
