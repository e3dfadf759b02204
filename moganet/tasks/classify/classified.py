"""A classifier's answers as classes, and pictures of them with what was said."""

from collections.abc import Sequence

import numpy as np

from moganet.report.page import Shown
from moganet.tasks.report import Album, Answers

ROOM = "moganet.tasks.classify"  # which holds the templates


class Classified:
    """What was answered for the n images of a split.

    labels, predicted, confidence, correct: (n,), the model's class indices, the probability of the predicted one, and
    whether it is the label. probabilities: (n, classes).
    """

    def __init__(self, answers: Answers) -> None:
        self.answers, self.labels = answers, answers.targets.numpy()
        self.probabilities = answers.outputs.softmax(1).numpy()
        self.predicted, self.confidence = self.probabilities.argmax(1), self.probabilities.max(1)
        self.correct = self.predicted == self.labels

    def place(self, number: int, album: Album) -> int:
        """Put an image in the album, and give its number there."""
        return album.add(self.answers.name, self.answers.split, int(self.answers.places[number]))

    def said(self, number: int) -> str:
        """Give how sure the answer is, and for which image."""
        return f"{100 * self.confidence[number]:.0f} % ({self.answers.name_of(number)})"


def show(
    given: Classified, chosen: Sequence[int] | np.ndarray, names: Sequence[str], album: Album, heats: Sequence[int] = ()
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
