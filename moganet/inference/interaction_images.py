"""On which images interactions are measured: the same for every network, and known by their pixels."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moganet.config import Preprocessing
from moganet.data import Split
from moganet.data.preprocess import match_channels, preprocess
from moganet.data.source import Sample
from moganet.errors import DataError
from moganet.inference.masking import MeasuredNetwork
from moganet.notices import say
from moganet.numbers import spread

SEARCHED = 20  # images looked at for each that is wanted, until enough are classified correctly
MEAN_IMAGES = 500  # from which the data set's mean colour is taken


@dataclass(frozen=True)
class Chosen:
    """An image to measure on: the sample, and a hash of its pixels, which seeds what is drawn for it."""

    sample: Sample
    identity: str


class ImageChoice:
    """A split's images in an order drawn by the seed, the classes in turn; looked_at: how many the last call saw.

    only_correct: leave out those that one of the networks classifies wrongly.
    """

    def __init__(self, split: Split, networks: Sequence[MeasuredNetwork], seed: int, *, only_correct: bool) -> None:
        self.split, self.networks, self.only_correct = split, networks, only_correct
        self.order = classes_in_turn(split.targets.strata(), seed)
        self.looked_at = 0

    def first(self, number: int) -> Iterator[Chosen]:
        """Give up to `number` images that qualify."""
        self.looked_at, given = 0, 0
        for index in self.order[: SEARCHED * number]:
            self.looked_at += 1
            try:
                sample = self.split[index]
                qualifies = not self.only_correct or all(_is_right(one, sample) for one in self.networks)
            except DataError as error:
                say(f"left out: {error}", doubtful=True)
                continue
            if qualifies:
                yield Chosen(sample, identify(sample.image))
                given += 1
                if given == number:
                    return


def identify(image: Tensor) -> str:
    """Give the SHA-256 of an image's shape and its pixels, uint8 (C, H, W), before any preprocessing: its identity."""
    pixels = image.contiguous().numpy()
    return hashlib.sha256(f"{pixels.shape} ".encode() + pixels.tobytes()).hexdigest()


def classes_in_turn(labels: np.ndarray, seed: int) -> list[int]:
    """Shuffle all images by the seed, and take the classes in turn."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels[shuffled] == label)
        turn[of_class] = np.arange(len(of_class))
    order: list[int] = shuffled[np.argsort(turn, kind="stable")].tolist()
    return order


def input_of(preprocessing: Preprocessing, image: Tensor) -> Tensor:
    """Give a network's input (C, H, W) for an image as it is stored, uint8."""
    return preprocess(match_channels(image, preprocessing.channels), preprocessing)


def mean_colour(split: Split, preprocessing: Preprocessing) -> Tensor:
    """Give a split's mean colour as a network sees it (C,), from up to 500 images that can be read."""
    colours, places = [], spread(len(split), MEAN_IMAGES)
    for index in places:
        try:
            colours.append(input_of(preprocessing, split[index].image).mean((1, 2)))
        except DataError:
            continue
    if not colours:
        raise DataError("none of the images can be read, so that they have no mean colour; try --baseline zero")
    if len(colours) < len(places):
        say(f"the mean colour is that of {len(colours)} of {len(places)} images: the others can't be read")
    return torch.stack(colours).mean(0)


def _is_right(one: MeasuredNetwork, sample: Sample) -> bool:
    logits = one.logits(input_of(one.preprocessing, sample.image)[None].to(one.device))
    return bool(int(logits[0].argmax()) == one.classes[sample.target])
