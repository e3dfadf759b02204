"""The classes of a set of masks, and what stands for them: said, read from a list, of a well-known set, or counted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moganet.data.ade20k import ade20k
from moganet.data.class_names import shown
from moganet.data.masks_coding import IGNORED, VOID, Coding, Colour, Scanned
from moganet.data.masks_find import TRAIN_IDS, Found
from moganet.data.masks_names import LISTS, ClassList, camvid, cityscapes, of_entries, read_names, voc
from moganet.data.masks_query import Asked
from moganet.data.masks_read import as_colour, as_numbers
from moganet.errors import DataError
from moganet.files import typed_path

CAMVID_FRAME = re.compile(r"(0001TP_\d{6}|0006R0_f\d{5}|0016E5_\d{5}|Seq05VD_f\d{5})")
GREY = 0x010101  # a grey colour as a number is its value times this
VOID_16 = 65535
MOST_CLASSES = 32_000  # what int16 holds
OTHERWISE = "choose otherwise by masks:DIR?names=FILE&ignore=VALUE,…"


@dataclass(frozen=True)
class Decided:
    """What was decided of a set: what stands for which class, the classes' names and colours, what was guessed."""

    coding: Coding
    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    notes: tuple[str, ...] = ()


def decide(root: Path, asked: Asked, scanned: Sequence[Scanned], found: Found) -> Decided:
    """Decide what the values of masks mean. Raises DataError where that can't be told, and says how to say it."""
    if not scanned:
        return Decided(Coding((0,), (0,)), ("0",))
    coloured = sum(one.coloured for one in scanned) * 2 >= len(scanned) and any(one.coloured for one in scanned)
    kind = [one for one in scanned if one.coloured == coloured]
    known, notes = _list_of(root, asked, kind, found, coloured)
    if known is not None and not coloured and known.colours and _needs_colours(kind, known):
        coloured, kind = True, [one.in_colours() for one in kind]
    if known is not None and coloured and known.colours and not _all_grey(kind, known):
        return _by_colour(known, asked, notes)
    if coloured:
        kind = [_as_grey(root, one) for one in kind]
        notes.append(f"took the grey colours of masks in {root} for numbers: 0, 0, 0 for 0, 1, 1, 1 for 1 and so on")
    elif known is None:
        _refuse_other_palettes(root, kind)
    values = sorted({value for one in kind for value in one.counts})
    if known is None:
        known = _unnamed(root, values, asked, notes)
    elif known.values == (0, 1) and set(values) == {0, VOID} and asked.ignore is None:
        known = replace(known, values=(0, VOID))
        notes.append(f"took 255 of the masks in {root} for {known.names[1]}; if it is void say masks:DIR?ignore=255")
    decided = _by_value(known, asked, notes, kind)
    if coloured:
        decided = replace(decided, coding=_of_greys(decided.coding))
    return decided


def _of_greys(own: Coding) -> Coding:
    """Give a coding of values for grey colours."""
    kept = {value * GREY: one for value, one in zip(own.values, own.classes, strict=True) if 0 <= value <= VOID}
    return replace(own, values=tuple(kept), classes=tuple(kept.values()), coloured=True)


def _list_of(
    root: Path, asked: Asked, scanned: Sequence[Scanned], found: Found, coloured: bool
) -> tuple[ClassList | None, list[str]]:
    """Find the classes' list: as said, beside the images, or of a well-known set; and what was guessed for that."""
    if asked.names:
        path = typed_path(asked.names)
        return _zero(read_names(path if path.is_absolute() or path.exists() else root / path), asked), []
    if asked.values is not None:
        return of_entries(((v, str(v), None) for v in asked.values), "values="), []
    masks = [pair.mask for pairs in found.pairs.values() for pair in pairs]
    if all(path.stem.startswith("ADE_") for path in masks) or (root / "objectInfo150.txt").is_file():
        return _of_ade(root, asked)
    if beside := next((root / name for name in LISTS if (root / name).is_file()), None):
        said = f"took {beside} for the list of classes; choose otherwise by masks:DIR?names=FILE"
        return _zero(read_names(beside), asked), [said]
    guess: ClassList | None = None
    if all(TRAIN_IDS.fullmatch(path.stem) for path in masks):
        guess = cityscapes(train_ids=True)
    elif all(path.stem.lower().endswith("_labelids") for path in masks):
        guess = cityscapes(train_ids=False)
    elif all(CAMVID_FRAME.fullmatch(path.stem) for path in masks) and not coloured and _within(scanned, 11):
        guess = camvid()
    elif all(path.parent.name == "SegmentationClass" for path in masks) and not coloured and _within(scanned, 20):
        guess = voc()
    if guess is None or asked.reduce_zero:
        return None, []
    void = f"; {', '.join(map(str, guess.void[:3]))}{' and others' if len(guess.void) > 3 else ''} is void"
    return guess, [f"took {root} for {guess.origin} ({shown(guess.names, 12)}{void * bool(guess.void)}); {OTHERWISE}"]


def _within(scanned: Sequence[Scanned], most: int) -> bool:
    return all(value <= most or value == VOID for one in scanned for value in one.counts)


def _of_ade(root: Path, asked: Asked) -> tuple[ClassList | None, list[str]]:
    """Give ADE20K's classes, in whose masks 0 is unlabelled."""
    own = root / "objectInfo150.txt"
    (names, colours), origin = ade20k(), "ADE20K's 150 classes"
    known = of_entries(zip(range(len(names)), names, colours, strict=True), origin)
    if own.is_file() and len(listed := read_names(own).names) != len(names):
        raise DataError(f"{own} names {len(listed)} classes, ADE20K has {len(names)}; say masks:DIR?names=FILE")
    if asked.reduce_zero is False:
        return known, []
    return known.shifted(), [f"took {root} for ADE20K ({len(known.names)} classes; 0 is of none); {OTHERWISE}"]


def _zero(known: ClassList, asked: Asked) -> ClassList:
    return known.shifted() if asked.reduce_zero else known


def _needs_colours(scanned: Sequence[Scanned], known: ClassList) -> bool:
    """Tell whether indexed images number their colours in another order than a list of colours does."""
    if not all(one.palette is not None for one in scanned):
        return False
    colours = {int(as_numbers(colour)): value for value, colour in zip(known.values, known.colours, strict=True)}
    mismatch = any(
        colours.get(number, value) != value
        for one in scanned
        for value, number in one.palette_colours().items()
        if value in one.counts
    )
    listed = colours.keys() | {int(as_numbers(colour)) for colour in known.void_colours}
    return mismatch and all(number in listed for one in scanned for number in one.in_colours().counts)


def _all_grey(scanned: Sequence[Scanned], known: ClassList) -> bool:
    colours = {int(as_numbers(colour)) for colour in (*known.colours, *known.void_colours)}
    seen = {value for one in scanned for value in one.counts}
    return all(value % GREY == 0 for value in seen) and not seen <= colours


def _as_grey(root: Path, one: Scanned) -> Scanned:
    if other := next((value for value in one.counts if value % GREY), None):
        what = f"the masks of {root} hold colours ({', '.join(map(str, as_colour(other)))} for one)"
        raise DataError(
            f"{what}; say which class each stands for: masks:DIR?names=FILE, with lines like road:128,64,128"
        )
    return replace(one, counts={value // GREY: number for value, number in one.counts.items()}, coloured=False)


def _refuse_other_palettes(root: Path, scanned: Sequence[Scanned]) -> None:
    """Raise DataError where the same number has another colour in another mask: then it is no class."""
    colours: dict[int, int] = {}
    for one in scanned:
        table = one.palette_colours()
        if all(table.get(value) == value * GREY for value in one.counts):
            continue  # each number in its own grey: no palette was chosen
        for value in one.counts:
            if table and colours.setdefault(value, table.get(value, -1)) != table.get(value, -1):
                two = " and ".join(str(as_colour(number)) for number in (colours[value], table.get(value, 0)))
                what = f"the masks of {root} are indexed images with palettes of their own: {value} is {two}"
                raise DataError(f"{what}; say which class each colour stands for: masks:DIR?names=FILE")


def _unnamed(root: Path, values: Sequence[int], asked: Asked, notes: list[str]) -> ClassList:
    """Take values for classes from 0 on; 255 (65535) is void, but for masks of nothing but 0 and 255."""
    ignored = _ignored(asked) | ({0} if asked.reduce_zero else set())
    kept = [value for value in values if value not in ignored]
    if asked.ignore is None and set(values) == {0, VOID} and not asked.reduce_zero:
        notes.append(f"took 0 and 255 of the masks in {root} for two classes; if 255 is void say masks:DIR?ignore=255")
        return of_entries([(0, "0", None), (VOID, "255", None)], "the masks' values")
    if not kept:
        raise DataError(f"the masks of {root} hold nothing but {shown(map(str, values))}, which is of no class")
    first, last = (1 if asked.reduce_zero else 0), max(kept)
    absent = [value for value in range(first, last + 1) if value not in kept and value not in ignored]
    if min(kept) < 0 or last >= MOST_CLASSES or 2 * len(absent) > last + 1 - first:
        what = f"the values {shown(map(str, kept), 8)} of the masks in {root} do not count classes from {first} on"
        how = (
            "masks:DIR?values=0,128,255 names those of the classes, ?names=FILE a list of them, ?ignore=VALUE void ones"
        )
        raise DataError(f"{what}; {how}")
    every = [value for value in range(first, last + 1) if value not in ignored]
    void = [value for value in values if value in ignored]
    said = f"{len(every)} classes without names ({first} to {last})"
    if void:
        said += f", {', '.join(map(str, void))} of none"
    if absent:
        said += f"; {shown(map(str, absent))} in no mask"
    notes.append(f"took the masks of {root} for {said}; name them by masks:DIR?names=FILE, void ones by ?ignore=VALUE")
    return of_entries([(value, str(value - first), None) for value in every], "the masks' values")


def _ignored(asked: Asked) -> set[int]:
    """Give the values of no class: 255 and 65535, and those that were said; none by `ignore=none`."""
    return set() if asked.ignore == () else {VOID, VOID_16, *(asked.ignore or ())}


def _by_value(known: ClassList, asked: Asked, notes: list[str], scanned: Sequence[Scanned]) -> Decided:
    void = {*known.void, *_ignored(asked)} - (set(known.values) - set(asked.ignore or ()))
    seen = {value for one in scanned for value in one.counts}
    if unseen := sorted(set(asked.ignore or ()) - seen - {VOID, VOID_16}):
        notes.append(f"ignore: no mask holds {', '.join(map(str, unseen))}")
    void |= {0} if asked.reduce_zero else set()
    kept = [i for i, value in enumerate(known.values) if value not in void]
    if not kept:
        raise DataError(f"{known.origin}: all classes are ignored; leave some")
    classes = dict.fromkeys(void, IGNORED) | {known.values[i]: new for new, i in enumerate(kept)}
    coding = Coding.of(classes, lenient=asked.unknown == "ignore")
    colours = known.colours or _of_palettes(scanned, known.values)
    chosen = tuple(colours[i] for i in kept) if colours else ()
    return Decided(coding, tuple(known.names[i] for i in kept), chosen, tuple(notes))


def _of_palettes(scanned: Sequence[Scanned], values: Sequence[int]) -> tuple[Colour, ...]:
    """Give the colours that indexed images themselves have for the classes; none where these are not all different."""
    table = scanned[0].palette_colours()
    colours = tuple(as_colour(table[value]) for value in values if value in table)
    return colours if len(set(colours)) == len(values) else ()


def _by_colour(known: ClassList, asked: Asked, notes: list[str]) -> Decided:
    if len(set(known.colours)) < len(known.colours):
        raise DataError(f"{known.origin} has one colour for two classes; give each its own")
    ignored = set(asked.ignore or ())  # numbers of classes in their list, as for masks of numbers
    if strange := sorted(ignored - {*known.values, *known.void, VOID, VOID_16}):
        what = f"ignore={strange[0]}: masks hold colours, and {known.origin} has no class {strange[0]}"
        raise DataError(f"{what}; its classes are {known.values[0]} to {known.values[-1]}")
    kept = [i for i, value in enumerate(known.values) if value not in ignored]
    if not kept:
        raise DataError(f"{known.origin}: all classes are ignored; leave some")
    colours = [int(as_numbers(colour)) for colour in known.colours]
    classes = {int(as_numbers(colour)): IGNORED for colour in known.void_colours} | dict.fromkeys(colours, IGNORED)
    classes |= {colours[i]: new for new, i in enumerate(kept)}
    coding = Coding.of(classes, coloured=True, lenient=asked.unknown == "ignore")
    return Decided(coding, tuple(known.names[i] for i in kept), tuple(known.colours[i] for i in kept), tuple(notes))
