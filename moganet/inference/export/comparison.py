"""Real images on which an export's decisions are compared with its model's; the plain network sees each once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from moganet.config import Preprocessing
from moganet.data import Split
from moganet.data.loader import Batch
from moganet.data.module import evaluation_loader
from moganet.data.preprocess import normalize, preprocess
from moganet.errors import DataError
from moganet.inference.export.graph import Graph
from moganet.inference.export.verify import Reference
from moganet.inference.own_data import choose_split, open_for
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array, Outputs, Run
from moganet.notices import say
from moganet.numbers import spread
from moganet.progress import Progress
from moganet.tasks import TASKS

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

NUM_CALIBRATION, NUM_COMPARED, BATCH = 128, 1000, 32
PIXELS = BATCH * 224 * 224


@dataclass
class Comparison:
    """Labelled images to compare decisions on, and others to calibrate with; targets are the model's classes.

    Images are read once, and kept as the network sees them before their colours are scaled.
    """

    preprocessing: Preprocessing  # of the exported form, whose size may be another than the model's
    compared: Split
    for_calibration: Split

    @cached_property
    def batches(self) -> list[Batch]:
        """Give the compared images, uint8 of the network's size; what can't be read is said."""
        return self._read(self.compared)

    @cached_property
    def calibration(self) -> list[Tensor]:
        """Give preprocessed images (1, C, H, W) to calibrate with."""
        read = self._read(self.for_calibration)
        return [x[None] for batch in read for x in normalize(batch.images, self.preprocessing)]

    def probes(self) -> Array:
        """Give a batch of images that int8 is checked with: noise lies outside the ranges that were found.

        Large ones are fewer, since a network may answer for each pixel; all are of one size.
        """
        first = self.calibration[0]
        number = max(1, min(BATCH, PIXELS // first[0, 0].numel()))
        same = [x for x in self.calibration if x.shape == first.shape]
        return np.asarray(torch.cat(same[:number]).numpy())

    def _read(self, split: Split) -> list[Batch]:
        found = list(evaluation_loader(split, self.preprocessing, BATCH, 0))
        _say_left_out([bad.reason for batch in found for bad in batch.unreadable], len(split))
        return [batch for batch in found if len(batch.images)]

    def whole_images(self) -> Iterator[Batch]:
        """Give images as they are, one at a time: uint8 (1, C, H, W) of any size; what can't be read is said."""
        split = self.compared.with_channels(self.preprocessing.channels)
        unreadable: list[str] = []
        for index in range(len(split)):
            try:
                sample = split[index]
            except DataError as error:
                unreadable.append(str(error))
                continue
            yield Batch(sample.image[None], split.targets.batch([index]), places=(index,))
        _say_left_out(unreadable, len(split))


def open_comparison(
    source: Predictor,
    data: "Data | None",
    limit: int,
    preprocessing: Preprocessing,
    class_names: "ClassNames | None" = None,
) -> Comparison:
    """Open a set to compare on; it is calibrated with its training images, where there are some."""
    dataset, _ = open_for(source, data, class_names)
    source.task.check(dataset, training=False)
    dataset = source.task.samples(dataset)
    _, compared = choose_split(dataset, "test")
    calibration = dataset.splits.get("train", compared)
    known = source.class_names
    order = [known.index(name) if name in known else -1 for name in dataset.class_names]
    chosen = compared.subset(spread(len(compared), limit))
    chosen = chosen.with_targets(chosen.targets.mapped(order, len(known)))
    return Comparison(preprocessing, chosen, calibration.subset(spread(len(calibration), NUM_CALIBRATION)))


def _say_left_out(reasons: list[str], total: int) -> None:
    if reasons:
        say(f"left out: {len(reasons)} of {total} images can't be read; the first: {reasons[0]}")


def compare(run: Run, graph: Graph, images: Comparison, reference: Reference, progress: Progress) -> dict[str, Any]:
    """Compare decisions: `agreement`, and the task's first figure of each side, over images whose class is known.

    Raw graphs are given whole images, and the network what preprocessing makes of them.
    """
    task, description = TASKS[graph.description.task.name], graph.description.task
    name, known = task.monitor.name, images.compared.targets.known()
    after, before = (task.evaluator(description, keeps=False) for _ in range(2))
    same, number = 0.0, 0
    steps = len(images.compared) if graph.raw else -(-len(images.compared) // BATCH)
    for batch, given, expected in progress(_pairs(run, graph, images, reference), steps, "compare"):
        number += len(batch.images)
        same += float(task.same(given, expected, description).sum())
        told = np.flatnonzero(known[list(batch.places)])
        if len(told):
            every = len(told) == len(batch.images)  # else those are left out that the network can't know
            targets = batch.targets if every else images.compared.targets.batch([batch.places[i] for i in told])
            for evaluator, outputs in ((after, given), (before, expected)):
                evaluator.update({key: torch.from_numpy(values[told]) for key, values in outputs.items()}, targets)
    found: dict[str, Any] = {"num_images": number, "agreement": same / max(1, number)}
    if known.any() and after.has_seen:
        found |= {name: after.compute()[name], f"{name}_before": before.compute()[name]}
    return found


def _pairs(
    run: Run, graph: Graph, images: Comparison, reference: Reference
) -> Iterator[tuple[Batch, Outputs, Outputs]]:
    own, task = graph.description.preprocessing, TASKS[graph.description.task.name]
    if graph.raw:
        for batch in images.whole_images():
            given = run(batch.images.permute(0, 2, 3, 1).contiguous().numpy())["probabilities"]
            x = preprocess(batch.images, own).numpy()
            yield batch, {"logits": task.logits_of(given)}, reference.of(f"whole {batch.places} {own.size}", x)
        return
    for number, batch in enumerate(images.batches):
        x = normalize(batch.images, own).numpy()
        yield batch, run(x), reference.of(f"batch {number}", x)
