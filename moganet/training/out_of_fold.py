"""What the models of several folds say of the images that each did not see: all images, each answered once."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moganet.data import Dataset, Split
from moganet.errors import MogaNetError
from moganet.files import atomic_path
from moganet.inference import Predictor
from moganet.inference.seeing import How, see
from moganet.notices import say
from moganet.tasks.judged import Judged
from moganet.tasks.report import Answers
from moganet.tasks.task import Asked
from moganet.training.series import DOUBTFUL_FILE, PREDICTIONS_FILE, Doubtful, OutOfFold

HEADS = ("file", "fold", "truth", "predicted", "right")


@dataclass(frozen=True)
class FoldAnswers:
    """What a fold's model answers for the images of that fold. places: (n,), theirs among the undivided images."""

    fold: int
    predictor: Predictor
    answers: Answers
    places: NDArray[np.int64]

    def judged(self) -> Judged:
        answers = self.answers
        return self.predictor.task.judge(answers.outputs, answers.targets, self.predictor.config.task)


def answer_fold(
    predictor: Predictor, dataset: Dataset, whole: Split, fold: tuple[int, int], seed: int, how: How
) -> FoldAnswers:
    """Let the model that was trained without a part of the undivided images answer for that part."""
    places = dataset.places_of(fold, seed, whole)
    answers = see(predictor, dataset, (f"fold {fold[0]}", whole.subset(places.tolist())), how)
    return FoldAnswers(fold[0], predictor, answers, places[answers.places])


def write_predictions(folds: Sequence[FoldAnswers], dataset: Dataset, whole: Split, folder: Path) -> OutOfFold:
    """Write a row an image, in their order, with the probability of each class, and say what they are worth."""
    first = folds[0].predictor
    outputs = torch.cat([fold.answers.outputs for fold in folds])
    judged = first.task.judge(outputs, torch.cat([fold.answers.targets for fold in folds]), first.config.task)
    rows = [row for fold in folds for row in _rows(fold, dataset, whole)]
    names = [f"probability of {name}" for name in dataset.class_names]
    with _table(folder / PREDICTIONS_FILE) as writer:
        writer.writerow([*HEADS, *names])
        writer.writerows(row for _, row in sorted(rows, key=lambda one: one[0]))
    return OutOfFold(
        num_images=len(rows),
        figure=judged.figure,
        interval=judged.interval,
        predictions=str(folder / PREDICTIONS_FILE),
        unreadable=sum(len(fold.answers.unreadable) for fold in folds),
    )


def find_doubtful(
    folds: Sequence[FoldAnswers], dataset: Dataset, whole: Split, folder: Path
) -> tuple[Doubtful, ...] | None:
    """List the labels that look wrong, the most doubtful first, and write them down; None where they can't be told."""
    try:
        found = folds[0].predictor.task.doubtful([fold.answers for fold in folds])
    except MogaNetError as error:
        say(f"no label is doubted: {error}", doubtful=True)
        return None
    doubtful = []
    for part, number in found:
        fold, place = folds[part], int(folds[part].places[number])
        label = whole.targets.text(place, dataset.class_names)
        predicted = _said(fold, np.array([number]))[0]
        doubtful.append(Doubtful(file=whole.name_of(place), fold=fold.fold, label=label, predicted=predicted))
    with _table(folder / DOUBTFUL_FILE) as writer:
        writer.writerow(Doubtful.model_fields)
        writer.writerows(one.plain().values() for one in doubtful)
    return tuple(doubtful)


def _rows(fold: FoldAnswers, dataset: Dataset, whole: Split) -> Iterator[tuple[int, list[Any]]]:
    """Give the place and the cells of each image."""
    task, description = fold.predictor.task, fold.predictor.config.task
    outputs = {task.outputs[0]: fold.answers.outputs.numpy()}
    probabilities, right = task.probabilities(outputs, description), fold.judged().right
    for number, (place, said) in enumerate(zip(fold.places.tolist(), _said(fold), strict=True)):
        truth = whole.targets.text(place, dataset.class_names)
        shares = [f"{share:.6f}" for share in probabilities[number].tolist()]
        yield place, [whole.name_of(place), fold.fold, truth, said, int(right[number]), *shares]


def _said(fold: FoldAnswers, numbers: NDArray[np.int64] | None = None) -> list[str]:
    """Give what the model says of images, by their numbers, in a few words."""
    task, outputs = fold.predictor.task, fold.answers.outputs.numpy()
    chosen = outputs if numbers is None else outputs[numbers]
    answers = task.answers({task.outputs[0]: chosen}, fold.predictor.config.task.unguarded(), Asked())
    return [task.words(answer, fold.predictor.class_names) for answer in answers]


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    # A name that isn't UTF-8 is written as the bytes that it has.
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        yield csv.writer(file)
