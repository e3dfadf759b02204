"""Near-copies of images, found by perceptual hashes of whole batches (difference hashes, Krawetz 2013)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import resize

TINY_SIDE = 32  # pixels
HASH_SIDE = 8
TOLERANCE = 6  # of 128 bits
CHUNK = 4096  # images at a time
# At so many pixels a side a copy differs nowhere by more grey levels: JPEG of quality 40 by up to 30, something of a
# tenth of the width that is in one image only by 58 and more (on photographs of flowers).
SAME_SIDE, SAME_LEVELS = 32, 30


@dataclass(frozen=True)
class Hashes:
    """Hashes of N images."""

    bits: np.ndarray  # uint64 (N, 2)
    tolerance: np.ndarray  # (N,), of how many of the 128 bits a copy may differ in; -1: a plain colour, without copies

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        bits = [np.empty((0, 2), np.uint64), *(part.bits for part in parts)]
        tolerance = [np.empty(0, np.int64), *(part.tolerance for part in parts)]
        return cls(np.concatenate(bits), np.concatenate(tolerance))


def hash_images(images: Tensor) -> Hashes:
    """Hash uint8 images (N, C, H, W) so that re-encoded and resized copies differ in few bits.

    The signs of the differences between neighbours, along rows and along columns, of each image at 9x9 grey pixels.
    """
    small = min(images.shape[-2:]) < TINY_SIDE  # small images resemble each other anyway
    parts = []
    for chunk in torch.split(images, CHUNK):
        grey = chunk.to(torch.float32).mean(1, keepdim=True)
        values = F.adaptive_avg_pool2d(grey, HASH_SIDE + 1)[:, 0].to(torch.int16).numpy()  # (n, 9, 9)
        differences = np.diff(values, axis=2)[:, :-1], np.diff(values, axis=1)[:, :, :-1]  # across and down
        bits = np.concatenate([each.reshape(len(chunk), -1) > 0 for each in differences], axis=1)
        tolerance = np.where(bits.any(1), 0 if small else TOLERANCE, -1)
        parts.append(Hashes(np.packbits(bits, axis=1).view(np.uint64), tolerance))
    return Hashes.join(parts)


def near_copies(first: Hashes, second: Hashes) -> list[tuple[int, int]]:
    """Give, for each image of `second` that has near-copies in `first`, its index and that of the nearest one."""
    head, rest = np.ascontiguousarray(first.bits[:, 0]), first.bits[:, 1]
    found = []
    for index in np.flatnonzero(second.tolerance >= 0):
        bits, tolerance = second.bits[index], second.tolerance[index]
        distance = np.bitwise_count(head ^ bits[0])
        near = np.flatnonzero(distance <= tolerance)  # half of the bits tell nearly all others apart already
        if not len(near):
            continue
        whole = distance[near] + np.bitwise_count(rest[near] ^ bits[1])
        allowed = whole <= np.minimum(first.tolerance[near], tolerance)
        if allowed.any():
            found.append((int(index), int(near[allowed][whole[allowed].argmin()])))
    return found


def earlier_copies(hashes: Hashes, number: int = 8) -> dict[int, list[int]]:
    """Give each image that has near-copies before it, and so many of these at most, the nearest first.

    The bits that differ are counted by products of matrices: 50,000 images in seconds, a million in less than an hour.
    """
    signs = torch.from_numpy(np.unpackbits(hashes.bits.view(np.uint8), axis=1)).to(torch.float32) * 2 - 1  # (N, 128)
    tolerance = torch.from_numpy(hashes.tolerance)
    found: dict[int, list[tuple[int, int]]] = {}
    for row, column in [(r, c) for r in range(0, len(signs), CHUNK) for c in range(0, r + 1, CHUNK)]:
        equal = signs[row : row + CHUNK] @ signs[column : column + CHUNK].T  # bits that agree, less those that differ
        if row == column:
            equal.tril_(-1)
        rows = (equal.amax(1) >= signs.shape[1] - 2 * TOLERANCE).nonzero()[:, 0]
        apart = (signs.shape[1] - equal[rows]) / 2
        apart[apart > torch.minimum(tolerance[row + rows, None], tolerance[None, column : column + CHUNK])] = torch.inf
        nearest = apart.topk(min(number, apart.shape[1]), largest=False)
        for index, bits, places in zip(rows.tolist(), nearest.values.tolist(), nearest.indices.tolist(), strict=True):
            pairs = [(int(b), column + place) for b, place in zip(bits, places, strict=True) if b < torch.inf]
            if pairs:
                found[row + index] = sorted(found.get(row + index, []) + pairs)[:number]
    return {index: [place for _, place in pairs] for index, pairs in found.items()}


def is_same_picture(first: Tensor, second: Tensor) -> bool:
    """Tell whether two uint8 images (C, H, W) are one picture, perhaps encoded or sized differently.

    Two frames of a film are not: what moved in them shows. Small images must be equal.
    """
    if torch.equal(first, second):
        return True
    if first.shape[0] != second.shape[0] or min(*first.shape[1:], *second.shape[1:]) < TINY_SIDE:
        return False
    small = [resize(image.float(), [SAME_SIDE, SAME_SIDE], antialias=True) for image in (first, second)]
    return bool((small[0] - small[1]).abs().max() <= SAME_LEVELS)


def is_near_copy(first: Tensor, second: Tensor) -> bool:
    """Tell whether two uint8 images (C, H, W) are one picture by their hashes and by how they look."""
    if torch.equal(first, second):
        return True
    return bool(near_copies(hash_images(first[None]), hash_images(second[None]))) and is_same_picture(first, second)
