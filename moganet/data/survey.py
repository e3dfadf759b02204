"""What a split's images are like before any network sees them: their sizes, their hashes, and thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from moganet.data.duplicates import Hashes, hash_images
from moganet.data.preprocess import match_channels
from moganet.data.read import read
from moganet.data.source import ArraySplit, FileSplit, Split, of_each
from moganet.errors import DataError
from moganet.numbers import spread

HASHED_SIDE = 64  # pixels that a JPEG file keeps at least, where it is decoded at a fraction of its size for speed
NO_PICTURE = 128  # the grey of a thumbnail that can't be read


@dataclass(frozen=True)
class Survey:
    """What n readable images are like, and how many more could not be read."""

    places: np.ndarray  # (n,), where they stand in the split
    sizes: np.ndarray  # (n, 2), width and height
    hashes: Hashes
    unreadable: int = 0


def survey(split: Split, max_files: int) -> Survey:
    """Measure and hash a split's images: all in memory, of others at most so many, evenly spread."""
    if isinstance(split, ArraySplit):
        height, width = split.images.shape[-2:]
        return Survey(np.arange(len(split)), np.tile([width, height], (len(split), 1)), hash_images(split.images))
    indices = spread(len(split), max_files)
    results = list(of_each(split, lambda i: _measure(split, i), indices))
    found = [(index, *result) for index, result in zip(indices, results, strict=True) if result is not None]
    sizes = np.array([size for _, size, _ in found], dtype=int).reshape(-1, 2)
    places, hashes = np.array([index for index, _, _ in found], int), Hashes.join([h for _, _, h in found])
    return Survey(places, sizes, hashes, len(indices) - len(found))


def _measure(split: Split, index: int) -> tuple[tuple[int, int], Hashes] | None:
    found = _small(split, index)  # one that can't be read is named where the network's images are, and counted here
    return None if found is None else (found[1], hash_images(found[0][None]))


def _small(split: Split, index: int) -> tuple[Tensor, tuple[int, int]] | None:
    """Give an image uint8 (3, H, W), of a JPEG file at a fraction of its size, and the size that it has."""
    try:
        if not isinstance(split, FileSplit):
            image = match_channels(split[index].image, 3)
            return image, (image.shape[-1], image.shape[-2])
        picture = read(split.files[index], white_level=split.white_level, at_least=HASHED_SIDE)
        return torch.from_numpy(picture.pixels), picture.size
    except DataError:
        return None


def small_images(split: Split, indices: Sequence[int]) -> list[Tensor | None]:
    """Give images to compare, uint8 (3, H, W), JPEG files at a fraction of their size; None for what can't be read."""
    return [None if found is None else found[0] for found in of_each(split, lambda i: _small(split, i), indices)]


def thumbnails(split: Split, indices: Sequence[int], side: int) -> list[np.ndarray]:
    """Give images as uint8 (side, side, 3), the middle of those that are no squares; grey what can't be read."""
    return list(of_each(split, lambda i: _thumbnail(split, i, side), indices))


def _thumbnail(split: Split, index: int, side: int) -> np.ndarray:
    try:
        if isinstance(split, FileSplit):
            picture = read(split.files[index], 3, split.white_level, at_least=2 * side)
            image = torch.from_numpy(picture.pixels)
        else:
            image = match_channels(split[index].image, 3)
    except DataError:
        return np.full((side, side, 3), NO_PICTURE, np.uint8)
    if image.shape[-2:] != (side, side):
        image = F.center_crop(image, [min(image.shape[-2:])] * 2)
        image = F.resize(image, [side, side], antialias=True)
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
