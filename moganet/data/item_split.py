"""A split of a caller's own items, read one by one each time; or of pixels that are held, where they are few."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch

from moganet.data.items import Items
from moganet.data.preprocess import decode
from moganet.data.source import ArraySplit, Sample, WithTargets
from moganet.data.targets import Targets
from moganet.errors import DataError


@dataclass(frozen=True)
class ItemSplit(WithTargets):
    """Images that a caller's code gives when they are asked for: `places` of its `items`.

    channels: None are the image's own. white_level: as in Preprocessing.
    """

    items: Items
    places: Sequence[int]
    targets: Targets
    channels: int | None = None
    white_level: float | None = None
    in_memory: ClassVar[bool] = False
    groups: ClassVar[None] = None

    @property
    def changes(self) -> bool:
        return self.items.changes

    def __getitem__(self, index: int) -> Sample:
        name, image = self.name_of(index), self.items.image(self.places[index])
        try:
            pixels = decode(image, self.channels, self.white_level).clone()  # of what may be the caller's own array
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        return Sample(pixels, self.targets[index], name)

    def name_of(self, index: int) -> str:
        return f"{self.items.name}/{self.places[index]}"

    def contents(self) -> list[bytes]:
        return [self.items.contents[place] for place in self.places]

    def subset(self, indices: Sequence[int]) -> Self:
        return replace(self, places=[self.places[i] for i in indices], targets=self.targets.subset(indices))

    def joined(self, others: Sequence[Self]) -> Self:
        targets = self.targets.joined([other.targets for other in others])
        items = _Joined([self, *others])
        return replace(self, items=items, places=range(len(items.parts)), targets=targets)

    def with_channels(self, channels: int) -> Self:
        return replace(self, channels=channels)

    def with_white_level(self, level: float | None) -> "ArraySplit | ItemSplit":
        """Give the split with images read by that white level; in memory where they are held as they are then."""
        held = self.items.pixels
        if held is None or (level is not None and self.items.deep):
            return replace(self, white_level=level)
        rows = {place: row for row, place in enumerate(self.items.targets)}
        chosen = torch.tensor([rows[place] for place in self.places], dtype=torch.long)
        whole = len(chosen) == len(held) and bool((chosen == torch.arange(len(held))).all())
        images = held if whole else held[chosen]
        return ArraySplit(images, self.targets, self.items.name, places=tuple(self.places))


class _Joined(Items):
    """The items of several splits, one after the other."""

    def __init__(self, splits: Sequence[ItemSplit]) -> None:
        super().__init__((), "all", (), max(split.items.workers for split in splits))
        self.parts = [(split.items, place) for split in splits for place in split.places]
        self.contents = dict(enumerate(content for split in splits for content in split.contents()))
        self.changes, self.deep = (any(getattr(s.items, name) for s in splits) for name in ("changes", "deep"))

    def image(self, place: int) -> Any:
        items, own = self.parts[place]
        return items.image(own)
