"""What the images of a data set's splits are like, for the report of any task: how many, how large, and how alike."""

import itertools

import numpy as np

from moganet.data import ArraySplit, Dataset, FileSplit, Split
from moganet.data.duplicates import near_copies
from moganet.data.survey import Survey, survey
from moganet.report.images import Images
from moganet.report.page import Shown
from moganet.tasks.report import Album

MAX_PAIRS = 12
MAX_SURVEYED = 5000  # images of a split that is not in memory


def examine_images(dataset: Dataset, network_size: tuple[int, int], album: Album) -> Images:
    """Count, measure and compare the images of a data set's splits."""
    splits = _distinct(dataset)
    surveys = {name: survey(split, MAX_SURVEYED) for name, split in splits.items()}
    counts = {name: split.targets.counts(len(dataset.class_names)) for name, split in splits.items()}
    copies: dict[tuple[str, str], int] = {}
    pairs: list[tuple[Shown, Shown]] = []

    def show(name: str, place: int) -> Shown:
        split = splits[name]
        found = f"{name}/{split.files[place].name}" if isinstance(split, FileSplit) else split.name_of(place)
        said = f"{split.targets.text(place, dataset.class_names)} ({found})"
        return Shown(album.add(name, split, place), said)

    latest_first = sorted(itertools.combinations(splits, 2), key=lambda two: -list(splits).index(two[1]))
    for first, second in latest_first:
        found = near_copies(surveys[first].hashes, surveys[second].hashes)
        copies[first, second] = len(found)
        for i, j in found[: MAX_PAIRS - len(pairs)]:
            image, copy = int(surveys[second].places[i]), int(surveys[first].places[j])
            pairs.append((show(second, image), show(first, copy)))
    sizes = np.concatenate([found.sizes for found in surveys.values()])
    return Images(counts, sizes, network_size, copies, pairs, _note(splits, surveys), dataset.class_names)


def _note(splits: dict[str, Split], surveys: dict[str, Survey]) -> str:
    cut = any(not isinstance(split, ArraySplit) and len(split) > MAX_SURVEYED for split in splits.values())
    note = f"Sizes and copies are those of {MAX_SURVEYED:,} images of a split, evenly spread." if cut else ""
    if unreadable := sum(found.unreadable for found in surveys.values()):
        note = f"{note} {unreadable:,} images can't be read and are left out of them.".strip()
    return note


def _distinct(dataset: Dataset) -> dict[str, Split]:
    """Give the splits in the order of their use, each once: "val" may be the test set itself."""
    order = ("train", "val", "test")
    names = sorted(dataset.splits, key=lambda name: order.index(name) if name in order else len(order))
    once = {id(dataset.splits[name]): name for name in names}
    return {name: dataset.splits[name] for name in once.values()}
