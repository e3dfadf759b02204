"""Things in images as flat arrays, any number of them an image, and the targets that are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from moganet.data.targets import Targets


@dataclass(frozen=True, eq=False)
class Ragged:
    """What lies in some images, image after image: image i has the rows starts[i] to starts[i + 1].

    OF_IMAGES: the fields with a row an image; OF_THINGS: those with a row a thing.
    """

    starts: NDArray[np.int64]
    OF_IMAGES: ClassVar[tuple[str, ...]]
    OF_THINGS: ClassVar[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, place: int) -> slice:
        """Give the rows of what lies in an image."""
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    def joined(self, others: Sequence[Self]) -> Self:
        """Give these images and then the others."""
        every = (self, *others)
        counts = np.concatenate([np.diff(one.starts) for one in every])
        names = (*self.OF_IMAGES, *self.OF_THINGS)
        whole = {name: np.concatenate([getattr(one, name) for one in every]) for name in names}
        return replace(self, starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), **whole)


OfThings = TypeVar("OfThings", bound=Ragged)


@dataclass(frozen=True)
class RaggedTargets(Targets, Generic[OfThings]):
    """What lies in each image of a split. places: of its images within `marks`, which parts of a set share."""

    marks: OfThings
    places: NDArray[np.int64]
    have_places: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.places)

    def subset(self, indices: Sequence[int]) -> Self:
        return replace(self, places=self.places[np.asarray(indices, np.int64)])

    def joined(self, others: Sequence[Self]) -> Self:
        every = (self, *others)
        if all(one.marks is self.marks for one in others):
            return replace(self, places=np.concatenate([one.places for one in every]))
        before = np.cumsum([0, *(len(one.marks) for one in every)])
        places = [one.places + shift for one, shift in zip(every, before[:-1], strict=True)]
        marks = self.marks.joined([one.marks for one in others])
        return replace(self, marks=marks, places=np.concatenate(places))
