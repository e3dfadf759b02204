"""What a report picks out of a model's answers: errors, close calls, doubtful labels, and what the images are like."""

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from moganet.data import ArraySplit, Dataset, Split
from moganet.data.duplicates import near_copies
from moganet.data.preprocess import decode, normalize, resize_and_crop
from moganet.data.source import FileSplit
from moganet.data.survey import survey, thumbnails
from moganet.errors import DataError, MissingExtraError
from moganet.inference import Predictor
from moganet.report.heat import overlay
from moganet.report.page import Images, Shown

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, x (B, C, H, W), classes (B,) to maps (B, H, W)

MAX_EXPLAINED = 12  # errors, and as many close calls
MAX_DOUBTFUL = 24
MAX_PAIRS = 12
MAX_OF_CELL, MAX_OF_DIAGONAL = 12, 6
MAX_PICTURES = {ArraySplit: 1500, FileSplit: 600}  # files take longer, and need more room
HEAT_SIDE = 96
MAX_SURVEYED = 5000  # files of a split


@dataclass(frozen=True)
class Answers:
    """What a model gave for the readable images of a split.

    places: (n,), where they stand in it. labels, predicted, confidence: (n,), the model's class indices, and the
    probability of the predicted one. probabilities: (n, classes).
    """

    name: str
    split: Split
    places: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray = field(init=False)
    confidence: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "predicted", self.probabilities.argmax(1))
        object.__setattr__(self, "confidence", self.probabilities.max(1))

    def name_of(self, number: int) -> str:
        """Give the file's name, or the place in a set in memory."""
        place = int(self.places[number])
        return self.split.files[place].name if isinstance(self.split, FileSplit) else f"{self.name}/{place}"


class Album:
    """The pictures that a page shows, each once."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, int], int] = {}
        self.splits: dict[str, Split] = {}

    def add(self, name: str, split: Split, place: int) -> int:
        """Put an image of a split in, and give its number."""
        self.splits[name] = split
        return self.numbers.setdefault((name, int(place)), len(self.numbers))

    def pictures(self) -> list[np.ndarray]:
        """Give all pictures, uint8 (side, side, 3), in the order of their numbers."""
        if not self.numbers:
            return []
        arrays = [split.images.shape[-2:] for split in self.splits.values() if isinstance(split, ArraySplit)]
        side = min(64, max(max(shape) for shape in arrays)) if arrays else 64
        found: dict[tuple[str, int], np.ndarray] = {}
        for name, split in self.splits.items():
            places = [place for of, place in self.numbers if of == name]
            found |= zip([(name, p) for p in places], thumbnails(split, places, side), strict=True)
        return [found[key] for key in self.numbers]


def choose_errors(answers: Answers) -> np.ndarray:
    """Give the errors made with most confidence."""
    wrong = np.flatnonzero(answers.predicted != answers.labels)
    return wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:MAX_EXPLAINED]


def choose_hits(answers: Answers) -> np.ndarray:
    """Give the right answers made with least confidence."""
    right = np.flatnonzero(answers.predicted == answers.labels)
    return right[np.argsort(answers.confidence[right], kind="stable")][:MAX_EXPLAINED]


def show(
    answers: Answers, chosen: Sequence[int] | np.ndarray, names: Sequence[str], album: Album, heats: Sequence[int] = ()
) -> list[Shown]:
    """Put answers in the album, each with what was said of it; heats are numbers of explanations, where there are."""
    return [
        Shown(
            album.add(answers.name, answers.split, answers.places[i]),
            f"predicted {names[answers.predicted[i]]}, {100 * answers.confidence[i]:.0f} % ({answers.name_of(int(i))})",
            names[answers.labels[i]],
            heats[number] if number < len(heats) else None,
        )
        for number, i in enumerate(chosen)
    ]


def explain_answers(predictor: Predictor, answers: Answers, chosen: np.ndarray, explain: Explain) -> list[np.ndarray]:
    """Draw where the network looked for what it predicted; uint8 (side, side, 3) each."""
    if not len(chosen):
        return []
    preprocessing = predictor.config.preprocessing
    images = [decode(answers.split[int(answers.places[i])].image, preprocessing.channels) for i in chosen]
    seen = torch.stack([resize_and_crop(image, preprocessing) for image in images])
    targets = torch.from_numpy(answers.predicted[chosen])
    x = normalize(seen, preprocessing).to(predictor.device)
    maps = explain(predictor.model, x, targets.to(predictor.device)).detach().float().cpu().numpy()
    colours = seen[:, :3] if preprocessing.channels >= 3 else seen[:, :1].expand(-1, 3, -1, -1)
    pixels = colours.permute(0, 2, 3, 1).numpy()
    return [overlay(np.ascontiguousarray(p), heat, HEAT_SIDE) for p, heat in zip(pixels, maps, strict=True)]


def fill_cells(answers: Answers, album: Album) -> dict[tuple[int, int], list[Shown]]:
    """Choose pictures for the confusion matrix's cells, a round for each, until the album is full.

    Errors come first, the surest of each cell; then right answers, the least sure.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-answers.confidence, kind="stable"):
        groups.setdefault((int(answers.labels[i]), int(answers.predicted[i])), []).append(int(i))
    wrong = sorted((key for key in groups if key[0] != key[1]), key=lambda key: -len(groups[key]))
    right = sorted(key for key in groups if key[0] == key[1])
    most = MAX_PICTURES[type(answers.split)]
    cells: dict[tuple[int, int], list[Shown]] = {}
    rounds = [(wrong, r) for r in range(2)] + [(right, r) for r in range(MAX_OF_DIAGONAL)]
    rounds += [(wrong, r) for r in range(2, MAX_OF_CELL)]
    for keys, number in rounds:
        for key in keys:
            if number >= len(groups[key]) or len(album.numbers) >= most:
                continue
            i = groups[key][number] if key[0] != key[1] else groups[key][-1 - number]
            caption = f"{100 * answers.confidence[i]:.0f} % ({answers.name_of(i)})"
            picture = album.add(answers.name, answers.split, answers.places[i])
            cells.setdefault(key, []).append(Shown(picture, caption))
    return cells


def find_doubtful(parts: Sequence[Answers]) -> list[tuple[int, int]]:
    """Give the images whose labels look wrong, the most doubtful first, as (part, number in it).

    By confident learning (Northcutt et al. 2021) on images that were not trained on. Raises MissingExtraError.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtraError("suspected label errors need cleanlab: pip install 'moganet[report]'") from None
    labels = np.concatenate([part.labels for part in parts])
    probabilities = np.concatenate([part.probabilities for part in parts])
    if probabilities.shape[1] < 2 or len(np.unique(labels)) < 2:
        raise DataError("suspected label errors need images of at least two classes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes with few images
        ranked = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    starts = np.cumsum([0, *(len(part.labels) for part in parts)])
    found = []
    for number in ranked.tolist():
        part = int(np.searchsorted(starts, number, "right")) - 1
        found.append((part, number - int(starts[part])))
    return found


def examine_images(dataset: Dataset, network_size: tuple[int, int], album: Album) -> Images:
    """Count, measure and compare the images of a data set's splits."""
    splits = _distinct(dataset)
    surveys = {name: survey(split, MAX_SURVEYED) for name, split in splits.items()}
    counts = {n: s.targets.counts(len(dataset.class_names)) for n, s in splits.items()}
    copies: dict[tuple[str, str], int] = {}
    pairs: list[tuple[Shown, Shown]] = []
    latest_first = sorted(itertools.combinations(splits, 2), key=lambda two: -list(splits).index(two[1]))
    for first, second in latest_first:
        found = near_copies(surveys[first].hashes, surveys[second].hashes)
        copies[first, second] = len(found)
        for i, j in found[: MAX_PAIRS - len(pairs)]:
            image, copy = int(surveys[second].places[i]), int(surveys[first].places[j])
            pairs.append((_show_image(dataset, second, image, album), _show_image(dataset, first, copy, album)))
    sizes = np.concatenate([found.sizes for found in surveys.values()])
    cut = any(isinstance(s, FileSplit) and len(s) > MAX_SURVEYED for s in splits.values())
    note = f"Sizes and copies are those of {MAX_SURVEYED:,} files of a split, evenly spread." if cut else ""
    if unreadable := sum(found.unreadable for found in surveys.values()):
        note = f"{note} {unreadable:,} files can't be read and are left out of them.".strip()
    return Images(counts, sizes, network_size, copies, pairs, note, dataset.class_names)


def _distinct(dataset: Dataset) -> dict[str, Split]:
    """Give the splits in the order of their use, each once: "val" may be the test set itself."""
    order = ("train", "val", "test")
    names = sorted(dataset.splits, key=lambda name: order.index(name) if name in order else len(order))
    once = {id(dataset.splits[name]): name for name in names}
    return {name: dataset.splits[name] for name in once.values()}


def _show_image(dataset: Dataset, name: str, place: int, album: Album) -> Shown:
    """Put an image in the album, with its class, its split, and its file or place."""
    split = dataset.splits[name]
    found = split.files[place].name if isinstance(split, FileSplit) else place
    caption = f"{split.targets.text(place, dataset.class_names)} ({name}/{found})"
    return Shown(album.add(name, split, place), caption)
