"""The items of a data set that a caller has in Python, taken apart: a picture and its target, whatever the library."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from moganet.data.contents import UNREADABLE, hash_arrays, hash_bytes
from moganet.data.deep_grey import FLOAT
from moganet.data.loader import Batch, Loader
from moganet.data.order import ALONE, EvenBatches
from moganet.data.read import Picture, read
from moganet.errors import DataError, MogaNetError, OutOfRangeError, first_line
from moganet.notices import say
from moganet.numbers import spread
from moganet.progress import show_progress

TRIED, PART = 16, 64  # items that tell how long all take; items that are read at a time
SHOWN = 2.0  # seconds, from which on a bar is drawn, and what is waited for is said
HELD_BYTES = 512 << 20  # of a split's pixels, from which on they are read anew each time
IMAGE_KEYS = ("image", "img", "picture")
LABEL_KEYS = ("label", "labels", "target", "class")
Target = int | tuple[int, ...]  # a class's index, or a row of 0 and 1


class MapStyle(Protocol):
    """What can be asked for its length, and for the item at a place."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> Any: ...


class Look(NamedTuple):
    """What one item is: its target, what it is known by, its pixels where they may be held; or why it can't be read."""

    place: int
    target: Target | None = None
    content: bytes = UNREADABLE
    pixels: Any = None
    deep: bool = False
    notes: tuple[str, ...] = ()
    error: str = ""
    is_end: bool = False  # it raised IndexError


class Items:
    """A caller's items. `look` reads them all once.

    name: for messages ("train"). class_names: the data set's own. workers: processes that read it, where the caller
    says that it bears that: a file may be open, or a GPU in use, which processes can't share.
    targets: by place, of those that have one; contents: what each of these is known by. pixels: uint8 (N, C, H, W)
    where all are held. changes: reading one twice gives two pictures. deep: some have more than 8 bits.
    """

    def __init__(self, dataset: MapStyle, name: str, class_names: Sequence[str], workers: int = 0) -> None:
        self.dataset, self.name, self.num_classes, self.workers = dataset, name, len(class_names), workers
        self.numbers = {one: number for number, one in enumerate(class_names)}
        self.targets: dict[int, Target] = {}
        self.contents: dict[int, bytes] = {}
        self.pixels: Tensor | None = None
        self.changes = self.deep = False
        self.notes: dict[str, None] = {}
        self.errors: list[Look] = []

    def image(self, place: int) -> Any:
        """Give the image at a place, as the caller has it. Raises DataError for whatever is raised there."""
        try:
            image, target = self.pair(place)
        except MogaNetError as error:
            raise DataError(f"{self.name}/{place}: {error}") from None
        except Exception as error:  # it is the caller's own code
            raise DataError(f"{self.name}/{place} can't be read: {_said(error)}") from None
        if target != (before := self.targets.get(place, target)):
            raise DataError(f"{self.name}/{place}: its target was {before} when all were read, and is {target} now")
        return image

    def pair(self, place: int) -> tuple[Any, Target]:
        """Give image and target at a place. Raises whatever the caller's code does; DataError for what is no pair."""
        image, target = pair_of(self.dataset[place])
        return image, target_of(target, self.num_classes, self.numbers)

    def look(self) -> None:
        """Read all items once; the caller's own draws stay as they were."""
        from pytorch_lightning.utilities.seed import isolate_rng  # here, since it takes seconds that few sources need

        with isolate_rng(include_cuda=False):
            self._look()

    def _look(self) -> None:
        number = len(self.dataset)
        start, tried = time.perf_counter(), spread(number, TRIED)
        trial = _Looking(self, None)
        first = [trial.look(place) for place in tried]
        seconds = (time.perf_counter() - start) / max(1, len(tried)) * number
        shape = next((one.pixels.shape for one in first if one.pixels is not None), None)
        held = shape if shape is not None and number * int(np.prod(shape)) <= HELD_BYTES else None
        loader = Loader(_Looking(self, held), EvenBatches(number, PART, ALONE), self.workers)
        if seconds > SHOWN:
            by = "this process alone (open_data(…, workers=N) reads by N)" if not self.workers else "processes"
            say(
                f"the {number:,} items of {self.name} are read once by {by}, to know them: {seconds:.0f} seconds by one"
            )
        batches = show_progress(loader, len(loader), f"read {self.name}") if seconds > SHOWN else loader
        looks = [look for batch in batches for look in self._taken(batch)]
        self._keep(looks, held)

    def _taken(self, batch: Batch) -> list[Look]:
        looks, changes = batch.targets
        self.changes |= changes
        return [Look(*look) for look in looks]

    def _keep(self, looks: list[Look], held: tuple[int, ...] | None) -> None:
        self.errors = [one for one in looks if one.target is None]
        told = {one.place: one for one in looks if one.target is not None}
        self.targets = {place: one.target for place, one in told.items() if one.target is not None}
        self.contents = {place: UNREADABLE if self.changes else one.content for place, one in told.items()}
        self.notes = dict.fromkeys(note for one in looks for note in one.notes)
        self.deep = any(one.deep for one in looks)
        pixels = [one.pixels for one in told.values()]
        if held is not None and not self.changes and pixels and all(one is not None for one in pixels):
            self.pixels = torch.stack([torch.as_tensor(one) for one in pixels])


class _Looking:
    """Looks at items a part at a time, perhaps in another process. held: the shape of pixels that are kept."""

    def __init__(self, items: Items, held: tuple[int, ...] | None) -> None:
        self.items, self.held = items, held

    def read(self, places: Sequence[int]) -> Batch:
        before = _drawn()
        looks = [self.look(place) for place in places]
        changes = _drawn() != before or looks[0].content != self.look(places[0]).content
        kept = [one if _shape(one.pixels) == self.held else one._replace(pixels=None) for one in looks]
        return Batch(torch.empty(0), ([tuple(one) for one in kept], changes))

    def look(self, place: int) -> Look:
        """Look at one item. Raises DataError for what makes the whole set unfit: its targets, its scale."""
        try:
            item = self.items.dataset[place]
        except Exception as error:
            return Look(place, error=_said(error), is_end=isinstance(error, IndexError))
        where = f"{self.items.name}, item {place}"
        try:
            image, target = pair_of(item)
            told = target_of(target, self.items.num_classes, self.items.numbers)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        try:
            picture = read(image, None)
        except OutOfRangeError as error:
            raise DataError(f"{where}: {error}") from None
        except DataError as error:
            return Look(place, told, error=str(error))
        return _look(place, told, image, picture)


def _look(place: int, target: Target, image: Any, picture: Picture) -> Look:
    pixels, depth = picture.pixels.copy(), picture.depth  # a caller may write the next image into the same array
    content = hash_arrays(torch.from_numpy(pixels)[None])[0]
    is_tensor = hasattr(image, "detach")
    if depth is not None and not depth.kind.startswith(FLOAT) and (is_tensor or hasattr(image, "__array_interface__")):
        values = np.asarray(image.detach().cpu() if is_tensor else image)  # before they lost bits
        content = hash_bytes(f"{values.dtype} {values.shape}".encode() + values.tobytes())
    notes = picture.notes
    if depth is not None and depth.kind == FLOAT:
        notes = (*notes, "float images are taken to lie in 0..1 and not to be normalised, which the model does itself")
    return Look(place, target, content, pixels, depth is not None, notes)


def _shape(pixels: np.ndarray | None) -> tuple[int, ...] | None:
    return None if pixels is None else pixels.shape


def _drawn() -> tuple[Any, ...]:
    """Give the state of the generators that augmentations draw from."""
    numpys: Any = np.random.get_state()  # its name, its keys, and numbers
    return random.getstate(), numpys[0], numpys[1].tobytes(), numpys[2:], torch.get_rng_state().numpy().tobytes()


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, MogaNetError) else f"{type(error).__name__}: {first_line(error)}"


def pair_of(item: Any) -> tuple[Any, Any]:
    """Take an item apart: a pair, or a row that names its image and its label. Raises DataError for anything else."""
    if isinstance(item, Mapping):
        return _named(item, IMAGE_KEYS, "image"), _named(item, LABEL_KEYS, "label")
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    shape = f" of {len(item)}" if isinstance(item, tuple | list) else ""
    what = f"it is a {type(item).__name__}{shape}, and no pair of an image and its class"
    raise DataError(f"{what}; of images and labels that lie apart torch.utils.data.TensorDataset(x, y) makes pairs")


def _named(row: Mapping[Any, Any], keys: Sequence[str], what: str) -> Any:
    found = [key for key in keys if key in row]
    if len(found) != 1:
        how = f"none of {', '.join(keys)}" if not found else f"both {' and '.join(found)}"
        raise DataError(f"of its keys {', '.join(map(str, row))} {how} may be the {what}; give pairs (image, class)")
    return row[found[0]]


def target_of(value: Any, num_classes: int, numbers: Mapping[str, int]) -> Target:
    """Give a class's index, or a row of 0 and 1 as a tuple. Raises DataError for what is neither.

    numbers: of the classes by name, for a target that is a name.
    """
    if isinstance(value, str):
        if value not in numbers:
            raise DataError(f"its class is {value[:60]!r}, which is none of the class_names")
        return numbers[value]
    told = _plain(value)
    if isinstance(told, list) and len(told) == 1 and num_classes != 1:  # (1,), as some sets have it
        told = told[0]
    if isinstance(told, list):
        return _row(told, num_classes)
    if isinstance(told, float) or not isinstance(told, int):
        whole = "" if not isinstance(told, float) else ": give int(label)"
        raise DataError(f"its target is {repr(value)[:60]}, and no index of a class{whole}")
    if not 0 <= told < num_classes:
        why = "-1 may mean that nobody knows: leave such items out" if told < 0 else "class_names names fewer"
        raise DataError(f"its class is {told}, and the {num_classes} classes are 0 to {num_classes - 1} ({why})")
    return int(told)


def _plain(value: Any) -> Any:
    to_list: Callable[[], Any] | None = getattr(value, "tolist", None)  # of arrays and tensors
    return to_list() if to_list is not None else list(value) if isinstance(value, tuple) else value


def _row(values: list[Any], num_classes: int) -> tuple[int, ...]:
    if len(values) != num_classes:
        what = f"its target has {len(values)} values, and there are {num_classes} classes"
        raise DataError(f"{what}; give the index of its class or, of any number of classes, a row of 0 and 1")
    plain = [_plain(one) for one in values]
    if not all(isinstance(one, int | float) and one in (0, 1) for one in plain):
        raise DataError(f"its target {str(values)[:60]} is no row of 0 and 1, one for each class")
    return tuple(int(one) for one in plain)
