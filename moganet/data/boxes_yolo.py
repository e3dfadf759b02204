"""Boxes and outlines of YOLO's folders: a text file an image, a line an object, numbers as shares of it; no torch.

`data.yaml` says where images are and what classes are called; labels lie where Ultralytics looks for them: in the
folder `labels` in the place of the last `images`, else beside the image. Without such a file `images/` and `labels/`,
or images with text files beside them, are read, and the classes' names from `classes.txt` or `?names=FILE`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moganet.data.boxes_query import Asked
from moganet.data.boxes_raw import AROUND, Fault, RawImage, RawObject, RawSet
from moganet.data.class_names import shown
from moganet.data.paths import exists, is_file, is_folder
from moganet.data.scan import scan
from moganet.data.split_names import SPLITS, SplitName, split_of
from moganet.errors import DataError
from moganet.files import read_small, typed_path

YAML_LIMIT, LABEL_LIMIT = 1 << 20, 1 << 24  # bytes
YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES = ("classes.txt", "obj.names", "labels.txt")
BOX, FEWEST = 5, 7  # numbers of a line: class and box; class and three points
OTHER_TEXTS = frozenset({*NAMES, "train.txt", "val.txt", "test.txt", "readme.txt", "readme.roboflow.txt"})


@dataclass(frozen=True)
class _Layout:
    """What a set says: names, the images of each split, how many numbers of key points a line may have, its files."""

    names: tuple[str, ...]
    images: Mapping[SplitName, Sequence[Path]]
    points: int = 0
    used: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def read_yolo(given: Path, asked: Asked) -> RawSet:
    """Read a folder, or its YAML file. An image without a text file, or with an empty one, has no objects."""
    layout = _layout(given, asked)
    raw = RawSet(layout.names, form="cxcywh", relative=True, used=layout.used, notes=[*layout.notes])
    raw.faults += layout.faults
    bare, labels = 0, dict[Path, Path]()  # the first image of each label file
    for split in SPLITS:
        for image in layout.images.get(split, ()):
            label = label_file(image)
            if (first := labels.setdefault(label, image)) != image:
                raw.faults.append(Fault("names", str(label), f"it belongs to {first.name} and to {image.name}"))
            bare += not is_file(label)
            raw.images.append(RawImage(image if is_file(image) else None, image.name, split, str(label)))
            if is_file(label):
                _read_lines(label, raw.images[-1], layout, raw)
    raw.faults += _without_image(labels, layout.used)
    raw.used = (*layout.used, *labels)
    if not raw.images and not raw.faults:
        raise DataError(
            f"{given} has no images of a set of YOLO's; put them into images/, and their boxes into labels/"
        )
    if bare and bare == len(raw.images):
        what = f"none of the {bare:,} images of {given} has a label file ({raw.images[0].source})"
        raise DataError(f"{what}; put a text file for each into labels/ in the place of images/, or beside it")
    if bare:
        raw.notes.append(f"{bare:,} of {len(raw.images):,} images of {given} have no label file: nothing lies in them")
    return raw


def _without_image(labels: Mapping[Path, Path], used: Sequence[Path]) -> list[Fault]:
    """Find the label files beside others that no image has."""
    faults = []
    for folder in dict.fromkeys(label.parent for label in labels):
        for path in sorted(folder.glob("*.txt")) if is_folder(folder) else ():
            if path not in labels and path not in used and path.name.lower() not in OTHER_TEXTS and _is_label(path):
                faults.append(Fault("missing", str(path), "there is no image of this stem"))
    return faults


def _is_label(path: Path) -> bool:
    """Tell whether the first line of a text file is an object's, or there is none."""
    try:
        words = read_small(path, LABEL_LIMIT).split("\n", 1)[0].split()
    except DataError:
        return False
    return not words or (len(words) >= BOX and all(isinstance(_number(word), float) for word in words))


def label_file(image: Path) -> Path:
    """Give the text file of an image: in "labels" in the place of the last folder "images", else beside it."""
    parts = list(image.parts[:-1])
    places = [i for i, part in enumerate(parts) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts, f"{image.stem}.txt") if parts else Path(f"{image.stem}.txt")


def yaml_of(folder: Path) -> Path | None:
    """Find a folder's YAML file: of several by their usual names, else the only one that names classes."""
    for name in YAMLS:
        if is_file(folder / name):
            return folder / name
    named = [path for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if _names_classes(path)]
    if len(named) > 1:
        raise DataError(f"{folder} has {shown(path.name for path in named)}; say which is meant: yolo:{named[0]}")
    return named[0] if named else None


def _names_classes(path: Path) -> bool:
    try:
        return "names" in _yaml(path)
    except DataError:
        return False


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        plain = yaml.safe_load(read_small(path, YAML_LIMIT))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(plain, dict):
        raise DataError(f"{path} is no YAML file of a set: it needs names, and train")
    return {str(key): value for key, value in plain.items()}


def _layout(given: Path, asked: Asked) -> _Layout:
    if is_file(given):
        return _of_yaml(given, asked)
    if not is_folder(given):
        raise DataError(f"there is no file or folder {given}; give a YAML file, or a folder with images/ and labels/")
    path = yaml_of(given)
    return _of_folder(given, asked) if path is None else _of_yaml(path, asked)


def _of_yaml(path: Path, asked: Asked) -> _Layout:
    plain = _yaml(path)
    names = _names(path, plain) if not asked.word("names") else _from_file(path.parent, asked.word("names"))
    base = _base(path, plain.get("path"))
    images: dict[SplitName, Sequence[Path]] = {}
    used, notes, faults = [path], list[str](), list[Fault]()
    for key, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
        said = plain.get(key)
        if said in (None, "") or split in images:
            continue
        found: list[Path] = []
        for one in said if isinstance(said, list) else [said]:
            place = _place(path, base, one, key)
            if place is None:
                text = f"{key}: {one} is not there"
                faults.append(Fault("file", str(path), text))
            elif is_folder(place):
                found += scan(place).all_images
            else:
                used.append(place)
                found += _listed(place, base)
        images[split] = list(dict.fromkeys(found))  # type: ignore[index]
    if not images:
        raise DataError(f"{path} names no images; it needs train: FOLDER, and val: FOLDER")
    return _Layout(names, images, _points(plain.get("kpt_shape")), tuple(used), tuple(notes), tuple(faults))


def _names(path: Path, plain: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the classes' names: a list, or a dict by number."""
    said, number = plain.get("names"), plain.get("nc")
    if isinstance(said, dict):
        if sorted(said) != list(range(len(said))):
            raise DataError(f"{path}: names has the numbers {shown(map(str, said))}, and not 0 to {len(said) - 1}")
        said = [said[i] for i in range(len(said))]
    if said is None and type(number) is int and number > 0:
        said = [f"class {i}" for i in range(number)]
    if not isinstance(said, list) or not said:
        raise DataError(f"{path} names no classes; it needs names: a list, or a dict by number")
    names = tuple(str(one) for one in said)
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise DataError(f"{path} names two classes {twice!r}; give each a name of its own")
    if number is not None and number != len(names):
        raise DataError(f"{path} says nc: {number}, but names {len(names)} classes; mend one of the two")
    return names


def _points(shape: Any) -> int:
    """Give how many numbers of key points a line may have after its box."""
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(one) is int and 0 < one < 1000 for one in shape)
    return shape[0] * shape[1] if whole else 0


def _base(path: Path, said: Any) -> Path:
    """Give the folder from which a file's paths start: the one it names, where that is here, else its own."""
    if not isinstance(said, str) or not said:
        return path.parent
    folder = typed_path(said)
    for place in (folder if folder.is_absolute() else path.parent / folder, Path.cwd() / folder):
        if is_folder(place):
            return place
    return path.parent


def _place(path: Path, base: Path, said: Any, key: str) -> Path | None:
    """Find a folder or a list that a YAML file names; Roboflow's "../train/images" may mean "train/images"."""
    if not isinstance(said, str):
        raise DataError(f"{path}: {key} is {str(said)[:60]}, and no folder or list of images")
    given = typed_path(said)
    tried = [base / given, path.parent / given]
    if said.startswith("../"):
        tried += [base / said[3:], path.parent / said[3:]]
    return next((place for place in tried if exists(place)), None)


def _listed(file: Path, base: Path) -> list[Path]:
    """Read a list of images, a path a line; relative ones start at the list's folder, else at the set's."""
    lines = [line.strip() for line in read_small(file, LABEL_LIMIT).splitlines()]
    paths = [typed_path(line) for line in lines if line and not line.startswith("#")]
    return [next((p for p in (file.parent / one, base / one) if is_file(p)), file.parent / one) for one in paths]


def _of_folder(root: Path, asked: Asked) -> _Layout:
    """Read a folder without a YAML file."""
    said = asked.word("names")
    file = next((root / one for one in NAMES if is_file(root / one)), None)
    if said:
        names = _from_file(root, said)
    elif file is not None:
        names = _from_file(root, file.name)
    else:
        raise DataError(
            f"{root} does not say what its classes are called; add data.yaml or classes.txt, or say ?names=FILE"
        )
    tree = scan(root)
    images: dict[SplitName, list[Path]] = {}
    for path in tree.all_images:
        folders = path.relative_to(root).parts[:-1]
        split = next((found for part in folders if (found := split_of(part))), None)
        images.setdefault(split or "train", []).append(path)
    return _Layout(names, images, used=(file,) if file else ())


def _from_file(root: Path, said: str) -> tuple[str, ...]:
    file = root / said if is_file(root / said) else typed_path(said)
    if not is_file(file):
        raise DataError(f"names={said}: there is no such file, neither here nor in {root}")
    if file.suffix.lower() in (".yaml", ".yml"):
        return _names(file, _yaml(file))
    return _names(file, {"names": [line.strip() for line in read_small(file, YAML_LIMIT).splitlines() if line.strip()]})


def _read_lines(label: Path, image: RawImage, layout: _Layout, raw: RawSet) -> None:
    try:
        text = read_small(label, LABEL_LIMIT)
    except DataError as error:
        raw.faults.append(Fault("file", str(label), str(error)))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            image.objects.append(_object(f"line {number}", line.split(), layout))


def _object(where: str, words: Sequence[str], layout: _Layout) -> RawObject:
    """Read a line: a class, then a box, or the points of an outline."""
    label: int | str = f"class {words[0][:20]!r}"
    if re.fullmatch(r"\d{1,9}(\.0*)?", words[0]) and int(float(words[0])) < len(layout.names):
        label = int(float(words[0]))
    numbers = [_number(word) for word in words[1:]]
    found = RawObject(where, label, None)
    if len(words) == BOX or (layout.points and len(words) == BOX + layout.points):
        found.box = numbers[:4]
    elif len(words) >= FEWEST and len(words) % 2:
        found.box, found.outline = AROUND, [numbers]
    else:
        what = "a class and 4 numbers, or a class and pairs of numbers for 3 points and more"
        few = " (a polygon of two points)" if len(words) == BOX - 2 else ""
        scored = "; a score after the box is no part of a set" if len(words) == BOX + 1 else ""
        found.wrong = ("numbers", f"it has {len(words)} words{few}, and not {what}{scored}")
    return found


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def looks_like_yolo(root: Path) -> bool:
    """Tell whether a folder holds a set of YOLO's: its YAML file, or images/ with labels/."""
    try:
        path = yaml_of(root)
        if path is not None and {"train", "val"} & _yaml(path).keys():
            return True
    except DataError:
        return True  # several, or a damaged one: whoever opens it says so
    for folder in (root, *(below for below in root.iterdir() if below.is_dir() and split_of(below.name))):
        if is_folder(folder / "images") and _has_lines(folder / "labels"):
            return True
    return any(is_file(root / name) for name in NAMES[:2]) and _has_lines(root)


def _has_lines(folder: Path) -> bool:
    """Tell whether a folder, or one below it, has a text file whose first line is an object's."""
    if not is_folder(folder):
        return False
    for path in [*sorted(folder.glob("*.txt"))[:50], *sorted(folder.glob("*/*.txt"))[:50]]:
        if path.name.lower() not in OTHER_TEXTS and path.stat().st_size and _is_label(path):
            return True
    return False
