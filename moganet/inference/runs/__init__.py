"""What answers: a callable from arrays to named arrays. Here are those that need no torch, a file a runtime."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from moganet.tasks.task import Array, Outputs

Sizes = Sequence[tuple[int, int]]  # height and width of each image, without what it was padded with


class Run(Protocol):
    """Float images (B, C, H, W), or of a raw graph uint8 (B, H, W, C), to outputs by name, a row an image.

    sizes: of networks that take them; None is all of the images.
    """

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs: ...


def one_by_one(images: Array, sizes: Sizes | None) -> Iterator[tuple[Array, Array]]:
    """Give each of images (B, C, H, W) and its size (1, 2), for graphs that see one image at a time."""
    for i, size in enumerate(sizes or [(images.shape[2], images.shape[3])] * len(images)):
        yield np.ascontiguousarray(images[i : i + 1]), np.array([size], np.int64)


__all__ = ["Array", "Outputs", "Run", "Sizes", "one_by_one"]
