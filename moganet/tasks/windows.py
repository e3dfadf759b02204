"""Parts of a large image that are answered for one by one: windows of one size at even steps, which overlap."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from moganet.config import Settings

Side = Annotated[int, Field(ge=1, le=65_536)]


class Window(Settings):
    """Parts of an image that are answered for one by one, and averaged where they overlap. size, stride: pixels."""

    size: tuple[Side, Side]
    stride: tuple[Side, Side]

    @model_validator(mode="after")
    def _without_gaps(self) -> Self:
        if any(step > side for step, side in zip(self.stride, self.size, strict=True)):
            raise ValueError(f"windows of {self.size} at steps of {self.stride} leave pixels out")
        return self


def windows(size: tuple[int, int], window: Window) -> Iterator[tuple[slice, slice]]:
    """Give the rows and columns of each window over an image; the last of a line ends at the image's edge."""
    lines = [_starts(side, own, step) for side, own, step in zip(size, window.size, window.stride, strict=True)]
    for top in lines[0]:
        for left in lines[1]:
            yield (
                slice(top, min(size[0], top + window.size[0])),
                slice(left, min(size[1], left + window.size[1])),
            )


def _starts(side: int, own: int, step: int) -> list[int]:
    number = max(0, -(-(side - own) // step)) + 1
    return [max(0, min(i * step, side - own)) for i in range(number)]
