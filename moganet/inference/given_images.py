"""Images that a caller has in Python, asked about as they come: bytes, open files, PIL images, arrays, tensors."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile, tee
from typing import Any

from moganet.data.read import name_of_image
from moganet.errors import DataError
from moganet.inference.in_python import as_images


def are_names(given: Any) -> bool:
    """Tell whether what is given are names: one, or a collection of them."""
    if isinstance(given, str | os.PathLike):
        return True
    return isinstance(given, list | tuple | set | frozenset) and all(
        isinstance(one, str | os.PathLike) for one in given
    )


class GivenImages:
    """Images in their order, up to `limit`; each is remembered until one behind it is asked about.

    So an iterator without an end can be predicted: none of it is kept. times: how often they are gone through, at once.
    """

    def __init__(self, given: Any, limit: int | None = None, times: int = 1) -> None:
        is_iterator = hasattr(given, "__next__") and not hasattr(given, "read")
        self.items: Iterable[Any] = given if is_iterator else as_images(given)
        self.number = None if is_iterator else len(self.items[:limit])
        self.limit, self.known = limit, dict[int, Any]()
        self.copies = list(tee(self.items, times)) if is_iterator and times > 1 else []

    def __iter__(self) -> Iterator[Any]:
        items = self.copies.pop() if self.copies else self.items
        for place, item in enumerate(islice(items, self.limit)):
            self.known[place] = item
            if isinstance(item, tuple):
                what = "a tuple is no image"
                raise DataError(f"{what}; a data set of pairs (image, class) goes to data=, and images alone here")
            yield item

    def names(self) -> list[str]:
        """Give all names, before the images are asked about. Raises DataError for an iterator, which has none yet."""
        if self.number is None:
            raise DataError("masks are written of images that are known before; give a list, and no iterator")
        every = enumerate(islice(self.items, self.limit), 1)
        return [name_of_image(item) or f"image {number}" for number, item in every]

    def name_of(self, place: int) -> str:
        """Give an image's own name, or its number."""
        return name_of_image(self.known[place]) or f"image {place + 1}"

    def image_of(self, place: int) -> Any:
        """Give an image."""
        return self.known[place]

    def forget_before(self, place: int) -> None:
        """Forget the images before a place."""
        for earlier in takewhile(lambda one: one < place, list(self.known)):
            del self.known[earlier]
