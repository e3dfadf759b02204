"""A split as a model sees it, all of its answers at hand: for pages, comparisons and figures over several models."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from moganet.data import Dataset, Split
from moganet.inference.own_data import in_classes_of
from moganet.inference.predictor import Predictor
from moganet.inference.stream import Stream
from moganet.progress import Progress
from moganet.tasks.guard import FEATURES
from moganet.tasks.report import Answers

How = tuple[int | None, int | None, Progress]  # images at a time, workers, and what is told of progress


def see(predictor: Predictor, dataset: Dataset, named: tuple[str, Split], how: How) -> Answers:
    """Let a network see a split. Raises DataError where none of it can be read."""
    (name, images), (batch_size, workers, progress) = named, how
    images = in_classes_of(predictor, dataset, images)
    stream = Stream(predictor, images, batch_size, workers)
    begin = time.perf_counter()
    seen = [
        (
            batch.places,
            *predictor.task.kept(batch.outputs, batch.targets, predictor.config.task),
            batch.outputs.get(FEATURES),
        )
        for batch in progress(stream, len(stream), "evaluate")
    ]
    seconds = time.perf_counter() - begin
    stream.check(f"{dataset.spec} ({name})")
    places, outputs, targets, features = zip(*seen, strict=True)
    known = np.concatenate(places), _joined(outputs), _joined(targets)
    given = None if features[0] is None else np.concatenate(features)
    return Answers(name, images, *known, seconds, stream.unreadable, given)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join entries of images, which are filled up with NaN where they differ in length."""
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    rows = [row for part in parts for row in part]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
