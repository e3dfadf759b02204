"""In which boxes of images a model of key points looks: what a person gave, by the place of each image."""

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moganet.data.channels import match_channels
from moganet.data.given_boxes import WHOLE, GivenBoxes, read_boxes
from moganet.errors import ConfigError, DataError, did_you_mean
from moganet.files import neighbours
from moganet.inference.file_stream import BoxesOf, Pixels, no_boxes
from moganet.inference.in_python import as_boxes, check_number
from moganet.inference.load import load
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array
from moganet.models.find import names_model
from moganet.notices import say
from moganet.tasks.task import Task

if TYPE_CHECKING:
    from moganet.data import Split

PERSON = "person"


class Detected:
    """What finds the boxes of an image by a detector: those of people, which it shows. Raises ConfigError for others.

    A detector of one class alone is taken for one of what has the key points.
    """

    def __init__(self, detector: Predictor) -> None:
        self.detector = detector
        self.last: tuple[int, Array] | None = None
        names, named = detector.class_names, detector.name_of_model
        if type(detector.task).boxes_of is Task.boxes_of:
            what = f"{named} is a model of the task {detector.task.name}, which finds no boxes"
            raise ConfigError(f"{what}; give --boxes a detector, a table, COCO's JSON, or whole")
        people = [name for name in names if name.casefold() == PERSON] or (names if len(names) == 1 else ())
        if not people:
            raise ConfigError(f"{named} finds {', '.join(names[:5])}{', …' if len(names) > 5 else ''}, and no {PERSON}")
        self.wanted = people[0]
        say(f"key points are looked for in the boxes of {self.wanted!r} that {named} finds")

    def anew(self) -> "Detected":
        """Give one for other images, whose places are those of others here."""
        other = copy.copy(self)
        other.last = None
        return other

    def __call__(self, place: int, pixels: Pixels) -> Array:
        if self.last is None or self.last[0] != place:  # several models may ask in turn
            seen = match_channels(pixels, self.detector.config.preprocessing.channels)
            (answer,) = self.detector.answers(self.detector.see(seen))
            self.last = place, self.detector.task.boxes_of(answer, self.wanted)
        return self.last[1]


Given = GivenBoxes | Detected | Sequence[Any] | None


def chosen_boxes(predictor: Predictor, given: Any, data: Any) -> Given:
    """Give the boxes that were asked for: of a file or a detector, as they are, () for whole images.

    None is what the data mark. Raises ConfigError for a model that takes no boxes, DataError for a file that is none.
    """
    if given is None:
        if data is None:
            say_whole(predictor, "--boxes FILE or DETECTOR looks in boxes, --boxes whole says that it is so")
        return None
    predictor.check_takes_boxes()
    if isinstance(given, Predictor):
        return Detected(given)
    if not isinstance(given, str | os.PathLike):
        return list(given)
    return () if given == WHOLE else _named(os.fspath(given), predictor)


def name_of_boxes(given: Any) -> str:
    """Say whose boxes were given, in a word."""
    if isinstance(given, Predictor):
        return given.name_of_model
    return os.fspath(given) if isinstance(given, str | os.PathLike) else "the caller"


def say_whole(predictor: Predictor, how: str) -> None:
    """Say that a model that takes boxes is given none. how: what looks in some."""
    if predictor.task.takes_boxes:
        say(f"each image is taken for one box, the whole of it: {how}")


def _named(given: str, predictor: Predictor) -> Given:
    file = Path(given)
    if names_model(given) or file.is_dir():
        return Detected(load(given, device=predictor.device, threads=predictor.threads))
    if not file.is_file():
        like = did_you_mean(file, neighbours(file), 0.75)
        raise DataError(
            f"--boxes {given}: there is no such file; {like}give a table, COCO's JSON, a detector, or whole"
        )
    return read_boxes(file)


def boxes_by_place(given: Given, names: Callable[[], Sequence[str]], ids: Sequence[int] | None = None) -> BoxesOf:
    """Give what tells the boxes (N, 5) of an image by its place.

    names: of all images, where a file has to be asked. ids: those that lists of results know images by; None is the
    number that an image's name is.
    """
    if given is None or (isinstance(given, tuple) and not given):
        return no_boxes
    if isinstance(given, Detected):
        return given
    if isinstance(given, GivenBoxes):
        return told(given.of(names(), ids))
    every = [as_boxes(one) for one in given]
    check_number(every, len(names()))
    return told(every)


def boxes_in(split: "Split", given: Given) -> BoxesOf | None:
    """Give what tells the boxes (N, 5) of an image of a split by its place; None where none were given."""
    if given is None:
        return None
    return boxes_by_place(given, lambda: [split.name_of(place) for place in range(len(split))], split.targets.image_ids)


def told(every: Sequence[Array]) -> BoxesOf:
    """Give what tells the boxes of an image out of those of all."""
    return lambda place, pixels: every[place]
