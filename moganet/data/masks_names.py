"""The classes of masks: read from a text file, a CSV or JSON file, or those of well-known sets."""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moganet.data.masks_coding import Colour
from moganet.errors import DataError
from moganet.files import read_small

NAME_HEADS = ("name", "class", "label", "class_name", "label_name", "category")  # of the column with the names
LIMIT = 4_000_000  # bytes of a file of names
VOID_NAMES = re.compile(
    r"(__)?(void|unlabell?ed|ignored?|ignore label|don'?t ?care|no label|unannotated|undefined)(__)?", re.IGNORECASE
)
LISTS = (  # names of such files beside images and masks
    *("classes.txt", "class_names.txt", "classnames.txt", "names.txt", "labels.txt", "codes.txt", "labelmap.txt"),
    *("label_colors.txt", "label_colours.txt", "class_dict.csv", "classes.csv", "class_dict_seg.csv"),
    *("classes.json", "id2label.json", "label_map.json", "palette.json", "objectInfo150.txt"),
)
CAMVID = (
    *(("sky", (128, 128, 128)), ("building", (128, 0, 0)), ("pole", (192, 192, 128)), ("road", (128, 64, 128))),
    *(("pavement", (60, 40, 222)), ("tree", (128, 128, 0)), ("sign", (192, 128, 128)), ("fence", (64, 64, 128))),
    *(("car", (64, 0, 128)), ("pedestrian", (64, 64, 0)), ("cyclist", (0, 128, 192)), ("void", (0, 0, 0))),
)
CITYSCAPES = (  # the number in labelIds, the name and the colour; in the order of the 19 trainIds
    *((7, "road", (128, 64, 128)), (8, "sidewalk", (244, 35, 232)), (11, "building", (70, 70, 70))),
    *((12, "wall", (102, 102, 156)), (13, "fence", (190, 153, 153)), (17, "pole", (153, 153, 153))),
    *((19, "traffic light", (250, 170, 30)), (20, "traffic sign", (220, 220, 0)), (21, "vegetation", (107, 142, 35))),
    *((22, "terrain", (152, 251, 152)), (23, "sky", (70, 130, 180)), (24, "person", (220, 20, 60))),
    *((25, "rider", (255, 0, 0)), (26, "car", (0, 0, 142)), (27, "truck", (0, 0, 70)), (28, "bus", (0, 60, 100))),
    *((31, "train", (0, 80, 100)), (32, "motorcycle", (0, 0, 230)), (33, "bicycle", (119, 11, 32))),
)
VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass(frozen=True)
class ClassList:
    """Classes in their order: names, the value of each in index masks, and colours where they are known.

    void: values and colours that are of no class. origin: where it was found, for a person.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[Colour, ...] = ()
    void: tuple[int, ...] = ()
    void_colours: tuple[Colour, ...] = ()
    origin: str = ""

    def shifted(self) -> "ClassList":
        """Give a list without "unlabelled" at 0 its place in masks that have that: all values are one higher."""
        return ClassList(self.names, tuple(value + 1 for value in self.values), self.colours, (0,), (), self.origin)


def of_entries(entries: Iterable[tuple[int, str, Colour | None]], origin: str) -> ClassList:
    """Make a list of values, names and colours; those that are called void are of no class.

    Raises DataError for names or values that stand twice, and where only some have colours.
    """
    every = sorted(entries)
    void = [one for one in every if VOID_NAMES.fullmatch(one[1].strip())]
    kept = [one for one in every if one not in void]
    for what, found in (("name", [name for _, name, _ in kept]), ("value", [str(value) for value, _, _ in every])):
        if twice := [one for one in found if found.count(one) > 1]:
            raise DataError(f"{origin} has the {what} {twice[0]!r} twice; name the classes apart")
    if not kept:
        raise DataError(f"{origin} names no class; it needs a name a line")
    colours = tuple(colour for _, _, colour in kept if colour is not None)
    if len(colours) not in (0, len(kept)):
        raise DataError(f"{origin} has colours for {len(colours)} of its {len(kept)} classes; give all or none")
    return ClassList(
        tuple(name for _, name, _ in kept),
        tuple(value for value, _, _ in kept),
        colours,
        tuple(value for value, _, _ in void),
        tuple(colour for _, _, colour in void if colour is not None),
        origin,
    )


def camvid() -> ClassList:
    """Give the 11 classes of CamVid as index masks have them; 11 is void."""
    return of_entries(((i, name, colour) for i, (name, colour) in enumerate(CAMVID)), "CamVid's 11 classes")


def cityscapes(*, train_ids: bool) -> ClassList:
    """Give the 19 classes of Cityscapes; all other labelIds are void."""
    numbers = range(19) if train_ids else [number for number, _, _ in CITYSCAPES]
    entries = ((value, name, colour) for value, (_, name, colour) in zip(numbers, CITYSCAPES, strict=True))
    known = of_entries(entries, "Cityscapes' 19 classes")
    void = (255, -1) if train_ids else tuple(n for n in (-1, *range(34), 255) if n not in known.values)
    return ClassList(known.names, known.values, known.colours, void, ((0, 0, 0),), known.origin)


def voc() -> ClassList:
    """Give the 21 classes of PASCAL VOC, background among them."""
    return of_entries(((i, name, None) for i, name in enumerate(VOC)), "PASCAL VOC's 21 classes")


def read_names(path: Path) -> ClassList:
    """Read a list of classes. Raises DataError that says which forms are known."""
    if path.suffix.lower() in (".yaml", ".yml"):
        raise DataError(f"{path} is YAML; give a list of classes as text, CSV or JSON")
    text = read_small(path, LIMIT).removeprefix("\ufeff")
    try:
        entries = _of_json(json.loads(text)) if path.suffix.lower() == ".json" else _of_lines(text)
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        forms = "a name a line, CSV with name,r,g,b, or JSON (a list, or names to numbers or colours)"
        raise DataError(f"{path} is no list of classes ({error}); known are: {forms}") from None
    return of_entries(entries, str(path))


def _of_lines(text: str) -> list[tuple[int, str, Colour | None]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines and lines[0].split("\t")[0] == "Idx":  # ADE20K's objectInfo150.txt
        return [(int(line.split("\t")[0]) - 1, line.split("\t")[-1].partition(",")[0], None) for line in lines[1:]]
    divider = next((sign for sign in ",;\t" if lines and sign in lines[0]), "")
    heads = [part.strip().strip('"').lower() for part in lines[0].split(divider)] if divider else []
    if set(NAME_HEADS) & set(heads) and not any(re.fullmatch(r"\d+", head) for head in heads):
        return [_of_row(i, row) for i, row in enumerate(csv.DictReader(lines, delimiter=divider))]
    ended = [re.fullmatch(r"(\D*?[^\d\s,;:])\s*[,;:\t ]\s*(\d+)", line) for line in lines]
    pairs = [(int(found[2]), found[1].strip(), None) for found in ended if found is not None]
    if len(pairs) == len(lines) and len({name for _, name, _ in pairs}) == len({v for v, _, _ in pairs}) == len(lines):
        return list(pairs)  # "sky 2": names, then numbers
    return [_of_line(i, line) for i, line in enumerate(lines)]


def _of_row(place: int, row: Mapping[str, Any]) -> tuple[int, str, Colour | None]:
    known = {str(key).strip().lower(): str(value).strip() for key, value in row.items()}
    keys = ("id", "index", "value", "class_id", "label_id", "pixel_value")
    value = next((int(known[key]) for key in keys if known.get(key, "").isdigit()), place)
    parts = [known[key] for keys in (("r", "red"), ("g", "green"), ("b", "blue")) for key in keys if key in known]
    return value, next(known[key] for key in NAME_HEADS if key in known), _colour(parts) if len(parts) == 3 else None


def _of_line(place: int, line: str) -> tuple[int, str, Colour | None]:
    """Read "sky", "0 sky", "0: sky", "64 128 64 Animal", or CVAT's "sky:128,128,128::"."""
    if found := re.fullmatch(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)", line):
        return place, found[4].strip(), _colour(found.groups()[:3])
    if found := re.fullmatch(r"([^:]+):(\d+),(\d+),(\d+)(:.*)?", line):
        return place, found[1].strip(), _colour(found.groups()[1:4])
    if found := re.fullmatch(r"(\S.*?)[,;\t ]+(\d+)[,;\t ]+(\d+)[,;\t ]+(\d+)", line):
        return place, found[1].strip(), _colour(found.groups()[1:4])
    if found := re.fullmatch(r"(\d+)(?:\s*[:,;\t]\s*|\s+)(\S.*)", line):
        return int(found[1]), found[2].strip(), None
    return place, line, None


def _colour(parts: Sequence[Any]) -> Colour:
    red, green, blue = (int(part) for part in parts[:3])
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{red}, {green}, {blue} is no colour")
    return red, green, blue


def _of_json(plain: Any) -> list[tuple[int, str, Colour | None]]:
    for key in ("classes", "categories", "labels", "names", "id2label"):
        if isinstance(plain, dict) and isinstance(plain.get(key), list | dict):
            plain = plain[key]
    if isinstance(plain, list):
        return [_of_item(i, item) for i, item in enumerate(plain)]
    if not isinstance(plain, dict):
        raise ValueError("it is neither a list nor an object")
    if all(str(key).lstrip("-").isdigit() for key in plain):
        return [(int(key), str(name), None) for key, name in plain.items()]
    if all(isinstance(value, int) for value in plain.values()):
        return [(value, str(name), None) for name, value in plain.items()]
    return [(i, str(name), _colour(colour)) for i, (name, colour) in enumerate(plain.items())]


def _of_item(place: int, item: Any) -> tuple[int, str, Colour | None]:
    if isinstance(item, str):
        return place, item, None
    number = next((item[key] for key in ("id", "index", "value", "label_id") if isinstance(item.get(key), int)), place)
    colour = next((item[key] for key in ("color", "colour", "rgb") if item.get(key)), None)
    if isinstance(colour, str):
        colour = tuple(bytes.fromhex(colour.lstrip("#")))
    name = next(item[key] for key in ("name", "label", "readable", "class") if isinstance(item.get(key), str))
    return number, name, None if colour is None else _colour(colour)
