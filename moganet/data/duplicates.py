"""Near-copies of images, found by perceptual hashes of whole batches (difference hashes, Krawetz 2013)."""

from collections.abc import Iterator
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
    """Hashes of N images.

    bits: uint64 (N, 2). tolerance: (N,), in how many of the 128 bits a copy may differ; -1 where an image, such as a
    plain colour, has no structure and so no copies.
    """

    bits: np.ndarray
    tolerance: np.ndarray

    def __len__(self) -> int:
        return len(self.tolerance)

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Put hashes one after the other."""
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
        across = np.diff(values, axis=2)[:, :-1] > 0
        down = np.diff(values, axis=1)[:, :, :-1] > 0
        bits = np.concatenate([across.reshape(len(chunk), -1), down.reshape(len(chunk), -1)], axis=1)
        tolerance = np.where(bits.any(1), 0 if small else TOLERANCE, -1)
        parts.append(Hashes(np.packbits(bits, axis=1).view(np.uint64), tolerance))
    return Hashes.join(parts)


def near_copies(first: Hashes, second: Hashes) -> list[tuple[int, int]]:
    """Give, for each image of `second` that has near-copies in `first`, its index and that of the nearest one."""
    head, rest = np.ascontiguousarray(first.bits[:, 0]), first.bits[:, 1]
    found = []
    for index in np.flatnonzero(second.tolerance >= 0):
        bits, tolerance = second.bits[index], second.tolerance[index]
        # Half of the bits tell nearly all others apart already.
        distance = np.bitwise_count(head ^ bits[0])
        near = np.flatnonzero(distance <= tolerance)
        if not len(near):
            continue
        whole = distance[near] + np.bitwise_count(rest[near] ^ bits[1])
        allowed = whole <= np.minimum(first.tolerance[near], tolerance)
        if allowed.any():
            found.append((int(index), int(near[allowed][whole[allowed].argmin()])))
    return found


def earlier_copies(hashes: Hashes) -> Iterator[tuple[int, list[int]]]:
    """Give each image that has near-copies before it, and these, the nearest first."""
    for index in np.flatnonzero(hashes.tolerance >= 0):
        apart = np.bitwise_count(hashes.bits[:index] ^ hashes.bits[index]).sum(1)
        near = np.flatnonzero(apart <= np.minimum(hashes.tolerance[:index], hashes.tolerance[index]))
        if len(near):
            yield int(index), near[np.argsort(apart[near], kind="stable")].tolist()


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
