"""Image classification as a task."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Recipe
from moganet.errors import DataError
from moganet.results import Metric
from moganet.tasks.classify.answers import COLUMNS, ClassifyRow, Prediction, energy, predictions, softmax, unlike
from moganet.tasks.classify.description import ClassifyDescription, ClassifyLoss, ClassifySettings
from moganet.tasks.task import Array, Asked, Outputs, Task, TaskDescription, refuse_places

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moganet.data import Dataset
    from moganet.data.targets import Targets
    from moganet.embeddings.learn import Known
    from moganet.report import GridItem
    from moganet.tasks.classify.evaluator import ClassifyEvaluation, ClassifyEvaluator
    from moganet.tasks.judged import Judged
    from moganet.tasks.module import Learning, TaskModule
    from moganet.tasks.probing import Probed
    from moganet.tasks.report import Answers, Reported, Seen


class Classify(Task):
    """One class an image."""

    name = "classify"
    settings, loss, description = ClassifySettings, ClassifyLoss, ClassifyDescription
    metrics = (Metric("top1", "Top-1 accuracy", "accuracy", "top-1"),)
    columns = COLUMNS
    rewards = True

    @property
    def evaluation(self) -> "type[ClassifyEvaluation]":
        from moganet.tasks.classify.evaluator import ClassifyEvaluation

        return ClassifyEvaluation

    def check(self, dataset: "Dataset", *, training: bool) -> None:
        for split in dataset.distinct().values():
            refuse_places(dataset, split.targets)
        strata = next(iter(dataset.distinct().values())).targets.strata() if dataset.distinct() else np.zeros(0)
        if strata.ndim != 1:
            one_hot = bool((strata.sum(1) == 1).all())
            what = f"the targets of {dataset.spec} are rows of 0 and 1, each with a single 1"
            how = (
                "a classifier takes the index of the 1, int(row.argmax()), a table ?label=COLUMN; or use another recipe"
            )
            several = f"{dataset.spec} has several classes an image, a classifier names one; use another recipe"
            raise DataError(f"{what}; {how}" if one_hot else several)
        if training and len(dataset.class_names) < 2:
            alone = next((finding.detail for finding in dataset.findings if finding.kind == "one-class"), None)
            one = f"{dataset.spec} has one class, {dataset.class_names[0]!r}; a classifier needs two"
            raise DataError(alone or one)

    def module(self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning") -> "TaskModule":
        from moganet.tasks.classify.training import Classification

        description = self.describe(dataset, recipe.task)
        assert isinstance(description, ClassifyDescription)
        return Classification(network, description, learning, _class_weights(recipe, dataset))

    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "ClassifyEvaluator":
        from moganet.tasks.classify.evaluator import ClassifyEvaluator

        assert isinstance(description, ClassifyDescription)
        return ClassifyEvaluator(description, keeps=keeps)

    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        assert isinstance(description, ClassifyDescription)
        return softmax(outputs["logits"] / (description.temperature or 1.0) if calibrated else outputs["logits"])

    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Prediction]:
        assert isinstance(description, ClassifyDescription)
        probabilities = self.probabilities(outputs, description, calibrated=asked.calibrated)
        unknown = self.unlike(outputs, description)
        return predictions(probabilities, unknown, description.class_names, asked.top_k)

    def row(self, file: str, answer: Prediction, truth: Any, *, trained: bool) -> ClassifyRow:
        return ClassifyRow.of(file, answer, truth, trained=trained, rejected=answer.rejected)

    def picture(self, image: "Tensor", answer: Prediction, truth: Any) -> "GridItem":
        from moganet.report import GridItem

        best = answer.names[0], answer.probabilities[0]
        return GridItem(image, *best, truth, rejected=bool(answer.rejected))

    def energy(self, outputs: Outputs) -> NDArray[np.float64]:
        return energy(outputs["logits"])

    def unlike(self, outputs: Outputs, description: TaskDescription) -> NDArray[np.bool_] | None:
        assert isinstance(description, ClassifyDescription)
        guarded = super().unlike(outputs, description)
        return unlike(outputs["logits"], description) if guarded is None else guarded

    def judged_by(self, outputs: Outputs, description: TaskDescription) -> str | None:
        assert isinstance(description, ClassifyDescription)
        return super().judged_by(outputs, description) or ("energy" if description.reject is not None else None)

    def draw(self, evaluation: "ClassifyEvaluation", class_names: Sequence[str], folder: Path) -> list[str]:
        from moganet.report.confusion import draw_confusion

        draw_confusion(np.array(evaluation.confusion), class_names, folder / "confusion.png", evaluation.headline())
        return ["confusion.png"]

    def is_right(self, answer: Prediction, truth: Any) -> bool:
        return bool(answer.names[0] == truth)

    def names_found(self, answer: Prediction) -> Sequence[str]:
        return answer.names[:1]

    def truth_of_file(self, file: Path, description: TaskDescription) -> str | None:
        return file.parent.name if file.parent.name in description.class_names else None

    def say(self, figures: Any) -> str | None:
        top1, interval = (figures.get(name) if isinstance(figures, dict) else None for name in ("top1", "interval"))
        if not isinstance(top1, int | float):
            return None
        said = f"top-1 {100 * top1:.2f} %"
        match interval:
            case [int() | float() as low, int() | float() as high]:
                return f"{said} (95 % interval {100 * low:.2f} to {100 * high:.2f})"
        return said

    def report(self, seen: "Seen") -> "Reported":
        from moganet.tasks.classify.report import compose

        return compose(seen)

    def judge(self, outputs: "Tensor", targets: "Tensor", description: TaskDescription) -> "Judged":
        from moganet.numbers import wilson_interval
        from moganet.tasks.judged import Judged

        right = (outputs.argmax(1) == targets).numpy()
        return Judged(right, float(right.mean()), wilson_interval(float(right.mean()), len(right)))

    def doubtful(self, parts: "Sequence[Answers]") -> list[tuple[int, int]]:
        from moganet.tasks.classify.classified import Classified
        from moganet.tasks.classify.errors import find_doubtful

        return find_doubtful([Classified(part) for part in parts])

    def probe(self, known: "Known", asked: "Known", names: Sequence[str], inner: NDArray[np.int64] | None) -> "Probed":
        from moganet.tasks.classify.probe import probe

        return probe(known, asked, names, inner)

    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.bool_]:
        return np.asarray(given["logits"].argmax(1) == expected["logits"].argmax(1))


def _class_weights(recipe: Recipe, dataset: "Dataset") -> "Tensor | None":
    from moganet.data.targets import class_weights
    from moganet.tasks.module import weights_of_classes

    assert isinstance(recipe.loss, ClassifyLoss)

    def balanced(targets: "Targets") -> "Tensor":
        return class_weights(targets.counts(len(dataset.class_names)), len(targets))

    return weights_of_classes("loss.class_weights", recipe.loss.class_weights, dataset, balanced)
