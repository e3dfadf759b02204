"""Data sets that a caller has in Python, as a data source: map-style, one for all images, or one for each split."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from moganet.data.class_names import shown
from moganet.data.item_split import ItemSplit
from moganet.data.items import LABEL_KEYS, Items, MapStyle
from moganet.data.source import Dataset
from moganet.data.split_names import SPLITS, split_of
from moganet.data.targets import ClassIndices, ClassSets, Targets
from moganet.errors import DataError, first_line
from moganet.notices import say

if TYPE_CHECKING:
    from pathlib import Path

    from torch.utils.data import Dataset as TorchDataset

    OneSet = MapStyle | TorchDataset[Any]
    # What stands where a data source's name does: that name, an opened set, or what a caller has in Python.
    Data = str | Path | Dataset | OneSet | Mapping[str, OneSet]
    ClassNames = Sequence[str] | Mapping[Any, Any]

PREFIX = "python"  # of the text by which such a set is spoken of
HOW = "give a map-style data set: one with len(dataset) and dataset[i], which is a pair of an image and its class"


def open_in_python(
    given: Any, class_names: "ClassNames | None" = None, otherwise: Sequence[str] = (), workers: int = 0
) -> Dataset:
    """Open a data set of items, or a dict of them by split; all items are read once.

    class_names: a name for each index, as a sequence, or a dict of index to name or name to index; None takes the
    data set's own `classes`. otherwise: the names that are taken, which is said, where it has none.
    workers: processes that read it; 0 is this one.
    Raises DataError for what is no such set, for targets that are none, and for images of another scale than 0..1.
    """
    parts = _parts(given)
    spec = f"{PREFIX}:{type(_innermost(next(iter(parts.values())))).__name__}"
    own = {name: names_of(dataset, given=class_names is not None) for name, dataset in parts.items()}
    names = _names(spec, own, class_names, otherwise)
    opened: dict[int, ItemSplit] = {}
    for name, dataset in parts.items():
        if id(dataset) not in opened:
            known = names if class_names is not None else own[name] or names
            opened[id(dataset)] = _open_split(Items(dataset, name, known, workers), names)
    splits = {name: opened[id(dataset)] for name, dataset in parts.items()}
    _share([split.items for split in opened.values()])
    notes = [_of_changes(name) for name, split in splits.items() if split.changes]
    return Dataset(
        spec, names, splits, notes=(*notes, *(_left_out(split) for split in opened.values() if split.items.errors))
    )


def _parts(given: Any) -> dict[str, MapStyle]:
    if not isinstance(given, Mapping):
        return {"train": _checked(given, "the data set")}
    if not given:
        raise DataError("the dict of data sets is empty; give {'train': dataset} or one of val and test")
    parts: dict[str, MapStyle] = {}
    for key, dataset in given.items():
        name = split_of(key) if isinstance(key, str) else None
        if name is None:
            raise DataError(f"{str(key)[:60]!r} is no split: the keys of a dict of data sets are train, val and test")
        if name in parts:
            raise DataError(f"two of the dict's keys mean {name}: {', '.join(map(str, given))}; give one")
        if key != name:
            say(f"took {key} for {name}; choose otherwise by the keys train, val and test")
        parts[name] = _checked(dataset, f"{key!r}")
    return {name: parts[name] for name in SPLITS if name in parts}


def _checked(dataset: Any, what: str) -> MapStyle:
    """Give a map-style data set. Raises DataError for whatever else stands in its place, with the remedy."""
    kind = type(dataset).__name__
    if isinstance(dataset, type):
        raise DataError(f"{what} is the class {dataset.__name__}; make one of it: {dataset.__name__}(…)")
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise DataError(f"{what} is a DataLoader, which gives batches; give its data set: loader.dataset")
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__getitem__"):
        remedy = f"{HOW}; of what fits memory list(dataset) is one" if hasattr(dataset, "__iter__") else HOW
        raise DataError(f"{what} is {_a(kind)}, which has no item at a place; {remedy}")
    if isinstance(dataset, str | bytes | Mapping):
        raise DataError(f"{what} is {_a(kind)}; {HOW}")
    try:
        number = len(dataset)
    except Exception as error:  # it is the caller's code
        raise DataError(f"{what} ({kind}) does not know its length ({first_line(error)}); {HOW}") from None
    if not number:
        raise DataError(f"{what} ({kind}) is empty")
    checked: MapStyle = dataset
    return checked


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def _innermost(dataset: Any) -> Any:
    """Give what a Subset is of, and the first that a ConcatDataset joins."""
    for _ in range(100):
        inner = getattr(dataset, "dataset", None) or next(iter(getattr(dataset, "datasets", None) or ()), None)
        if inner is None or not hasattr(inner, "__getitem__"):
            break
        dataset = inner
    return dataset


def names_of(dataset: Any, *, given: bool = False) -> tuple[str, ...] | None:
    """Give the names of classes that a data set has itself; None where it has none.

    Raises DataError where parts of it have others, unless the caller has given names of all.
    """
    for attribute in ("classes", "class_names", "categories"):
        found = getattr(dataset, attribute, None)
        if isinstance(found, list | tuple) and found and all(isinstance(one, str | tuple) for one in found):
            return tuple(one if isinstance(one, str) else ", ".join(map(str, one)) for one in found)
    features = getattr(dataset, "features", None)  # of Hugging Face's
    if isinstance(features, Mapping):
        for key in LABEL_KEYS:
            if names := getattr(features.get(key), "names", None):
                return tuple(names)
    parts = getattr(dataset, "datasets", None)
    if isinstance(parts, list | tuple) and parts:
        first, *others = [names_of(part, given=given) for part in parts]
        if all(other == first for other in others):
            return first
        if given:
            return None
        raise DataError("the joined data sets name other classes, or in another order; give class_names of all")
    return names_of(dataset.dataset, given=given) if getattr(dataset, "dataset", None) is not None else None


def _names(
    spec: str, own: Mapping[str, tuple[str, ...] | None], given: "ClassNames | None", otherwise: Sequence[str]
) -> tuple[str, ...]:
    """Give the classes' names: as given, else those of the first split that has some, else `otherwise`."""
    named = [(split, names) for split, names in own.items() if names is not None]
    if given is not None:
        names = names_in_order(given)
        for split, theirs in named:
            if theirs != names and sorted(theirs) == sorted(names):
                what = f"class_names and the data set's own ({split}) are the same in another order"
                raise DataError(f"{what}: {shown(names)}; {shown(theirs)}; leave class_names out, or rename them")
        return names
    if not named:
        if otherwise:
            what = f"{spec} does not name its classes: its labels are taken for the model's, 0 for {otherwise[0]!r}"
            say(f"{what}; choose otherwise by class_names=[…]", doubtful=True)
            return tuple(otherwise)
        raise DataError(f"{spec} does not name its classes; say class_names=[…], a name for each index")
    first, names = named[0]
    for split, theirs in named[1:]:
        if missing := [name for name in theirs if name not in names]:
            raise DataError(f"{split} has classes that {first} has not: {shown(missing)}; say class_names=[…] of all")
    if nameless := [split for split, theirs in own.items() if theirs is None]:
        say(f"{' and '.join(nameless)} names no classes: those of {first} are taken; choose otherwise by class_names")
    return _checked_names(names)


def names_in_order(given: "ClassNames") -> tuple[str, ...]:
    """Give class names, in the order of their indices. Raises DataError for two of a name, and for gaps."""
    return _checked_names(_in_order(given))


def _in_order(given: Any) -> Sequence[Any]:
    given = given.tolist() if hasattr(given, "tolist") else given  # of numpy's and pandas' kinds
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise DataError(f"class_names is a {type(given).__name__}; give a list, a name for each index")
    if not isinstance(given, Mapping):
        return given
    by_index = {index: name for name, index in given.items()} if _is_by_name(given) else dict(given)
    try:
        by_index = {int(index): name for index, name in by_index.items()}
    except (TypeError, ValueError):
        by_index = {}
    if sorted(by_index) != list(range(len(given))):
        raise DataError("class_names is a dict whose indices are not 0, 1, 2, …; give a list, a name for each index")
    return [by_index[index] for index in range(len(by_index))]


def _is_by_name(given: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, int) for value in given.values())


def _checked_names(names: Sequence[Any]) -> tuple[str, ...]:
    told = tuple(str(name) if isinstance(name, int) else name for name in names)
    if not told or not all(isinstance(name, str) and name.strip() for name in told):
        raise DataError("class_names must hold a name, a text that is not empty, for each index")
    if twice := [name for name in dict.fromkeys(told) if told.count(name) > 1]:
        raise DataError(f"two classes have one name: {shown(twice)}; name them apart")
    return told


def _open_split(items: Items, names: tuple[str, ...]) -> ItemSplit:
    items.look()
    _check_errors(items)
    for note in items.notes:
        say(note)
    targets = _targets(items)
    if (own := tuple(items.numbers)) != names:
        targets = targets.mapped([names.index(one) for one in own], len(names))
    return ItemSplit(items, tuple(items.targets), targets)


def _targets(items: Items) -> Targets:
    of_rows = [place for place, target in items.targets.items() if isinstance(target, tuple)]
    if of_rows and len(of_rows) < len(items.targets):
        other = next(place for place in items.targets if place not in set(of_rows[:1000]))
        what = f"{items.name}: the target of item {of_rows[0]} is a row of 0 and 1, and that of item {other} an index"
        raise DataError(f"{what}; give all images of a set the same")
    values = list(items.targets.values())
    return ClassSets(torch.tensor(values, dtype=torch.uint8)) if of_rows else ClassIndices(torch.tensor(values))


def _check_errors(items: Items) -> None:
    """Raise DataError where no item can be read, or the length is said to be longer than it is."""
    errors, number = items.errors, len(items.dataset)
    if len(errors) == number:
        raise DataError(f"none of the {number:,} items of {items.name} can be read: {errors[0].error}")
    ends = (
        errors and all(one.is_end for one in errors) and [e.place for e in errors] == [*range(errors[0].place, number)]
    )
    if ends:
        what = f"{items.name} says that it has {number:,} items, but item {errors[0].place:,} and all behind it are not"
        raise DataError(f"{what} there ({errors[0].error}); mend its __len__")


def _left_out(split: ItemSplit) -> str:
    errors, items = split.items.errors, split.items
    what = f"{len(errors):,} of {len(items.dataset):,} items of {items.name} can't be read, and are left out"
    return f"{what}; the first: item {errors[0].place:,}, {errors[0].error}"


def _of_changes(name: str) -> str:
    so = "so that neither copies of an image nor the set itself can be known again by their contents"
    return f"the images of {name} are others each time they are read (random transforms), {so}"


def _share(items: Sequence[Items]) -> None:
    """Hold pixels of all splits or of none, so that they can be joined."""
    shapes = {None if one.pixels is None else one.pixels.shape[1:] for one in items}
    deep = any(one.deep for one in items)
    for one in items:
        one.deep = deep
        one.pixels = one.pixels if len(shapes) == 1 else None
