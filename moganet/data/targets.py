"""What is known of each image of a split, its target, and what of it divides, counts, identifies and joins images.

Here are the targets that are numbers; what lies in files (boxes, masks, points) brings a class with the same methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Marked(NamedTuple):
    """What is marked in images: things of each class (classes,), small, medium and large ones, crowds; images of none.

    small: of less than 32 x 32 pixels, large: of 96 x 96 and more, as COCO's evaluation divides them.
    """

    classes: NDArray[np.int64]
    small: int
    medium: int
    large: int
    crowds: int
    empty: int


class Targets(Protocol):
    """The targets of a split's images, in their order.

    `strata` is by what images are divided evenly: a class an image (N,), or rows of 0 and 1 (N, classes).
    """

    have_places: ClassVar[bool] = False  # boxes, masks, points: tv_tensors in the image, whose geometry is theirs
    may_differ: ClassVar[bool] = False  # whether images of a batch may differ in size: they are filled up with zeros

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """Give a colour (red, green, blue) for each class, where the set says any."""
        return ()

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Give COCO's numbers of the classes, where the set has them."""
        return ()

    @property
    def has_masks(self) -> bool:
        """Tell whether each thing in an image has a mask of its own."""
        return False

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def subset(self, indices: Sequence[int]) -> Self: ...  # in that order
    def joined(self, others: Sequence[Self]) -> Self: ...  # these and then the others
    def mapped(self, order: Sequence[int], number: int) -> Self: ...  # to `number` classes: i to order[i], -1 to none
    def stack(self, targets: Sequence[Any]) -> Any: ...  # a batch of some images' targets
    def strata(self) -> NDArray[np.int64]: ...
    def identity(self) -> bytes: ...  # which change whenever a target does
    def text(self, index: int, class_names: Sequence[str]) -> str: ...  # for a person; equal texts are equal targets
    def batch(self, indices: Sequence[int]) -> Any:
        """Give the targets at `indices` as a batch."""
        return self.stack([self[index] for index in indices])

    def known(self) -> NDArray[np.bool_]:
        """Tell of which images (N,) the target is one that can be answered: `mapped` may leave none."""
        return np.ones(len(self), bool)

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """Count the images of each class (num_classes,)."""
        strata = self.strata()
        return strata.sum(0) if strata.ndim == 2 else np.bincount(strata, minlength=num_classes)

    def areas(self) -> NDArray[np.int64] | None:
        """Count the pixels of each class (classes,), where targets have any."""
        return None

    def key_points(self) -> NDArray[np.int64] | None:
        """Count the images in which each key point is marked (key points,), where targets have any."""
        return None

    def boxes(self, index: int) -> NDArray[np.float64] | None:
        """Give the boxes of an image in which key points are looked for, as in `TaskByImage.see`; None: not said."""
        return None

    def marked(self) -> Marked | None:
        """Count the things that are marked in images, where targets have any."""
        return None

    @property
    def image_ids(self) -> list[int] | None:
        """Give the images' ids, where targets come from a file that gives them some."""
        return None

    def lying(self) -> NDArray[np.bool_] | None:
        """Tell which images (N,) are wider than high, where targets know that."""
        return None

    def weights(self, num_classes: int) -> Tensor:
        """Give each image a weight (N,) by which classes are drawn equally often: that of its rarest class."""
        weights, strata = class_weights(self.counts(num_classes), len(self)), self.strata()
        if strata.ndim == 1:
            return weights[torch.from_numpy(strata)]
        of_rarest = (torch.from_numpy(strata) * weights).amax(1)
        return torch.where(of_rarest > 0, of_rarest, weights.min())


@dataclass(frozen=True)
class TensorTargets(Targets):
    """Targets that are one tensor, an entry an image."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, indices: Sequence[int]) -> Self:
        return type(self)(self.values[torch.as_tensor(indices, dtype=torch.long)])

    def joined(self, others: Sequence[Self]) -> Self:
        return type(self)(torch.cat([self.values, *(other.values for other in others)]))

    def strata(self) -> NDArray[np.int64]:
        return self.values.numpy().astype(np.int64, copy=False)

    def identity(self) -> bytes:
        return self.strata().astype("<i8").tobytes()


@dataclass(frozen=True)
class ClassIndices(TensorTargets):
    """One class an image: values (N,), int64."""

    def __getitem__(self, index: int) -> int:
        return int(self.values[index])

    def mapped(self, order: Sequence[int], number: int) -> Self:
        return type(self)(torch.as_tensor(order, dtype=torch.long)[self.values])

    def known(self) -> NDArray[np.bool_]:
        return self.strata() >= 0

    def stack(self, targets: Sequence[int]) -> Tensor:
        return torch.tensor(targets, dtype=torch.long)

    def batch(self, indices: Sequence[int]) -> Tensor:
        return self.values[torch.as_tensor(indices, dtype=torch.long)]

    def text(self, index: int, class_names: Sequence[str]) -> str:
        return class_names[self[index]]


@dataclass(frozen=True)
class ClassSets(TensorTargets):
    """Any number of classes an image, none among them: values (N, classes), uint8 of 0 and 1; a batch is float32."""

    def __getitem__(self, index: int) -> Tensor:
        return self.values[index]

    def mapped(self, order: Sequence[int], number: int) -> Self:
        known = [(i, place) for i, place in enumerate(order) if place >= 0]
        values = torch.zeros(len(self), number, dtype=self.values.dtype)
        values[:, [place for _, place in known]] = self.values[:, [i for i, _ in known]]
        return type(self)(values)

    def stack(self, targets: Sequence[Tensor]) -> Tensor:
        return (torch.stack(list(targets)) if targets else self.values[:0]).float()

    def text(self, index: int, class_names: Sequence[str]) -> str:
        return "|".join(class_names[i] for i in self.values[index].nonzero()[:, 0].tolist())


@dataclass(frozen=True)
class NoTargets(Targets):
    """Of `number` images nothing is known."""

    number: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> None:
        return None

    def subset(self, indices: Sequence[int]) -> Self:
        return type(self)(len(indices))

    def joined(self, others: Sequence[Self]) -> Self:
        return type(self)(len(self) + sum(map(len, others)))

    def mapped(self, order: Sequence[int], number: int) -> Self:
        return self

    def stack(self, targets: Sequence[None]) -> None:
        return None

    def strata(self) -> NDArray[np.int64]:
        return np.zeros(len(self), np.int64)

    def identity(self) -> bytes:
        return b""

    def text(self, index: int, class_names: Sequence[str]) -> str:
        return ""


def as_targets(given: Targets | Tensor) -> Targets:
    """Take a tensor for classes (N,), or rows of 0 and 1 (N, classes)."""
    if not isinstance(given, Tensor):
        return given
    return ClassIndices(given) if given.ndim == 1 else ClassSets(given)


def class_weights(counts: NDArray[np.int64], num_images: int) -> Tensor:
    """Give each class a weight inverse to its number of images, so that the mean over images of one class each is 1."""
    return num_images / (len(counts) * torch.from_numpy(counts).clamp(min=1).float())
