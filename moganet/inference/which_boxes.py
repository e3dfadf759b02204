"""In which boxes of images a model of key points looks: what a person gave, by the place of each image."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moganet.data.given_boxes import WHOLE, GivenBoxes, read_boxes
from moganet.errors import DataError, did_you_mean
from moganet.files import neighbours
from moganet.inference.file_stream import BoxesOf, no_boxes
from moganet.inference.predictor import Predictor, as_boxes, check_boxes
from moganet.notices import say

Given = GivenBoxes | Sequence[Any] | None


def chosen_boxes(predictor: Predictor, given: Any, data: Any) -> Given:
    """Give the boxes that were asked for: of a file, as they are, () for whole images; None is what the data mark.

    Raises ConfigError for a model that takes no boxes, DataError for a file that is none.
    """
    if given is None:
        if predictor.task.takes_boxes and data is None:
            how = "--boxes FILE looks in boxes, --boxes whole says that it is so"
            say(f"each image is taken for one box, the whole of it: {how}")
        return None
    check_boxes(predictor, given)
    if not isinstance(given, str | os.PathLike):
        return list(given)
    if given == WHOLE:
        return ()
    file = Path(given)
    if not file.is_file():
        like = did_you_mean(file, neighbours(file), 0.75)
        raise DataError(f"--boxes {given}: there is no such file; {like}give a table, COCO's JSON, or whole")
    return read_boxes(file)


def boxes_by_place(given: Given, names: Callable[[], Sequence[str]]) -> BoxesOf:
    """Give what tells the boxes (N, 5) of an image by its place. names: of all images, where a file has to be asked."""
    if given is None or (isinstance(given, tuple) and not given):
        return no_boxes
    if isinstance(given, GivenBoxes):
        return given.of(names()).__getitem__
    every = [as_boxes(one) for one in given]
    if len(every) != (number := len(names())):
        raise DataError(f"boxes are given for {len(every)} images, and there are {number}; give (N, 4) for each image")
    return every.__getitem__
