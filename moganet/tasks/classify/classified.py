"""A classifier's answers as classes, and pictures of them with what was said."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from moganet.report.page import Shown
from moganet.tasks.report import Album, Answers

ROOM = "moganet.tasks.classify"  # which holds the templates


@dataclass(frozen=True)
class Classified:
    """What was answered for the n images of a split.

    labels, predicted, confidence: (n,), the model's class indices, and the probability of the predicted one.
    probabilities: (n, classes).
    """

    answers: Answers
    labels: np.ndarray = field(init=False)
    probabilities: np.ndarray = field(init=False)
    predicted: np.ndarray = field(init=False)
    confidence: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        probabilities = self.answers.outputs.softmax(1).numpy()
        object.__setattr__(self, "labels", self.answers.targets.numpy())
        object.__setattr__(self, "probabilities", probabilities)
        object.__setattr__(self, "predicted", probabilities.argmax(1))
        object.__setattr__(self, "confidence", probabilities.max(1))

    @property
    def correct(self) -> np.ndarray:
        """Tell which answers are right, (n,)."""
        right: np.ndarray = self.predicted == self.labels
        return right

    def place(self, number: int, album: Album) -> int:
        """Put an image in the album, and give its number there."""
        return album.add(self.answers.name, self.answers.split, int(self.answers.places[number]))

    def said(self, number: int) -> str:
        """Give how sure the answer is, and for which image."""
        return f"{100 * self.confidence[number]:.0f} % ({self.answers.name_of(number)})"


def show(
    given: Classified,
    chosen: Sequence[int] | np.ndarray,
    names: Sequence[str],
    album: Album,
    heats: Sequence[int] = (),
) -> list[Shown]:
    """Put answers in the album, each with what was said of it; heats are numbers of explanations, where there are."""
    return [
        Shown(
            given.place(int(i), album),
            f"predicted {names[given.predicted[i]]}, {given.said(int(i))}",
            names[given.labels[i]],
            heats[number] if number < len(heats) else None,
        )
        for number, i in enumerate(chosen)
    ]
