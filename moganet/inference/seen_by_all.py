"""Several models on the same images: which of them each has right, and what it says of those on which they differ."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moganet.inference.common import Common
from moganet.inference.predictor import Predictor
from moganet.models.provenance import without_place
from moganet.report.page import Shown
from moganet.results import Metric, Record
from moganet.tasks.judged import Judged, Paired, holm, judge_pair
from moganet.tasks.report import Album, Answers
from moganet.tasks.task import Asked

NONE = "(none)"  # where none of several labels is found
Answer = tuple[str, float | None]  # in a few words, and how sure it is


class Compared(Record):
    """A model of several. figure, interval: what is compared, 95 %; figures: all that its task measures, by name.

    trained_on: None where its file does not say. images_per_second: reading included.
    """

    name: str
    model: str
    sha256: str
    figure: float | None
    interval: tuple[float, float] | None
    figures: Mapping[str, float | None]
    trained_on: str | None
    images_per_second: float

    def text(self, metric: Metric) -> str:
        """Write the figure as a person reads it, "-" where there is none."""
        return "-" if self.figure is None else metric.text(self.figure)


class Pair(Record):
    """Two models on the same images. only_first, only_second: how many only one of them has right.

    p: of McNemar's exact test; p_adjusted: by Holm for the number of pairs. difference: the second's share of right
    images less the first's, and its interval of 95 %.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p: float
    p_adjusted: float
    difference: float
    interval: tuple[float, float]


class Differing(Record):
    """An image that some models have right and others wrong: what each says of it, in their order.

    probabilities: of the answers, None where an answer has several.
    """

    file: str
    truth: str
    answers: tuple[str, ...]
    probabilities: tuple[float | None, ...]
    right: tuple[bool, ...]


def name_apart(models: Sequence[str | Path]) -> tuple[str, ...]:
    """Name models by the ends of their paths, as far as these tell them apart; equal ones by numbers."""
    parts = [Path(model).parts or (str(model),) for model in models]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len({*names}) == len({*map(str, models)}):
            break
    return tuple(
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    )


def judge(predictor: Predictor, answers: Answers) -> Judged:
    """Tell which images a model has right, and what its first figure is."""
    return predictor.task.judge(answers.outputs, answers.targets, predictor.config.task)


@dataclass(frozen=True)
class SeenByAll:
    """Models, what they answer for the same images, and what that is worth."""

    names: Sequence[str]
    predictors: Sequence[Predictor]
    common: Common
    judged: Sequence[Judged]

    def compared(self, number: int, model: str) -> Compared:
        predictor, answers, judged = self.predictors[number], self.common.answers[number], self.judged[number]
        task, config = predictor.task, predictor.config
        evaluator = task.evaluator(config.task, keeps=True)
        evaluator.update({task.outputs[0]: answers.outputs}, answers.targets)
        measured = evaluator.details().items()
        trained_on = config.provenance.get("data")
        return Compared(
            name=self.names[number],
            model=model,
            sha256=config.sha256,
            figure=judged.figure,
            interval=judged.interval,
            figures={key: value for key, value in measured if value is None or isinstance(value, int | float)},
            trained_on=None if trained_on is None else without_place(str(trained_on)),
            images_per_second=len(answers) / max(answers.seconds, 1e-9),
        )

    def pairs(self) -> tuple[Pair, ...]:
        every = [*itertools.combinations(range(len(self.names)), 2)]
        found: list[Paired] = [judge_pair(self.judged[i].right, self.judged[j].right) for i, j in every]
        adjusted = holm([one.p for one in found])
        return tuple(
            Pair(first=self.names[i], second=self.names[j], p_adjusted=p, **vars(one))
            for (i, j), one, p in zip(every, found, adjusted, strict=True)
        )

    def right(self) -> np.ndarray:
        """Give which model (rows) has which image right."""
        return np.stack([judged.right for judged in self.judged])

    def differing(self) -> list[Differing]:
        right = self.right()
        numbers = np.flatnonzero(right.any(0) & ~right.all(0))
        said, answers = [self.said(model, numbers) for model in range(len(self.names))], self.common.answers[0]
        return [
            Differing(
                file=answers.name_of(int(number)),
                truth=self.truth(int(number)),
                answers=tuple(answered[k][0] for answered in said),
                probabilities=tuple(answered[k][1] for answered in said),
                right=tuple(right[:, number].tolist()),
            )
            for k, number in enumerate(numbers)
        ]

    def truth(self, number: int) -> str:
        answers = self.common.answers[0]
        return answers.split.targets.text(int(answers.places[number]), self.predictors[0].class_names)

    def said(self, model: int, numbers: np.ndarray) -> list[Answer]:
        """Give what a model says of images, in a few words, and how sure it is, where that is one number."""
        predictor, answers = self.predictors[model], self.common.answers[model]
        task, outputs = predictor.task, answers.outputs[numbers].numpy()
        found = task.answers({task.outputs[0]: outputs}, predictor.config.task.unguarded(), Asked())
        names = self.predictors[0].class_names
        return [(task.words(answer, names), task.picture(None, answer, None).probability) for answer in found]

    def shown(self, two: tuple[int, int], chosen: np.ndarray, album: Album) -> list[Shown]:
        answers, said = self.common.answers[0], [self.said(model, chosen) for model in two]
        shown = []
        for k, number in enumerate(chosen.tolist()):
            picture = album.add(answers.name, answers.split, int(answers.places[number]))
            texts = [f"{self.names[model]}: {text_of(said[m][k])}" for m, model in enumerate(two)]
            shown.append(Shown(picture, f"{'; '.join(texts)} ({answers.name_of(number)})", self.truth(number) or NONE))
        return shown


def text_of(answer: Answer) -> str:
    """Give an answer with how sure it is."""
    said, probability = answer
    return said or NONE if probability is None else f"{said} ({100 * probability:.0f} %)"
