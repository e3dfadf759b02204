"""What answers: a callable from arrays to named arrays. Here are those that need no torch, a file a runtime."""

from collections.abc import Sequence
from typing import Protocol

from moganet.tasks.task import Array, Outputs


Sizes = Sequence[tuple[int, int]]  # height and width of each image, without what it was padded with


class Run(Protocol):
    """Float images (B, C, H, W), or of a raw graph uint8 (B, H, W, C), to outputs by name, a row an image.

    sizes: of networks that take them; None is all of the images.
    """

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs: ...


__all__ = ["Array", "Outputs", "Run", "Sizes"]
