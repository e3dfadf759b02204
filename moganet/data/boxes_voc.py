"""Boxes of PASCAL VOC's XML files, one an image: its own layout, or files beside their images; no torch.

Pixels are counted from 1, and a box's last pixel belongs to it, as the challenge has it: left and top are one less than
written (`?base=0`: as written). Objects that are marked as difficult are neither learned nor counted, as there.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from moganet.data.boxes_query import Asked
from moganet.data.boxes_raw import Fault, RawImage, RawObject, RawSet, whole
from moganet.data.class_names import normal, shown
from moganet.data.formats import readable_suffixes
from moganet.data.paths import is_file, is_folder
from moganet.data.split_names import SPLITS, SplitName, split_of
from moganet.errors import DataError
from moganet.files import read_small, typed_path

LIMIT = 1 << 24  # bytes of an XML file
LISTS = ("ImageSets/Main", "ImageSets", "")  # where the splits' lists lie
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(given: Path, asked: Asked) -> RawSet:
    """Read a folder with XML files. Classes are in the order of their names, or of `?names=FILE`."""
    if not is_folder(given):
        what = f"{given} is no folder" if is_file(given) else f"there is no folder {given}"
        raise DataError(f"{what}; give one with Annotations/ and JPEGImages/, or with XML files beside its images")
    files = xml_files(given)
    if not files:
        raise DataError(f"{given} has no XML files of PASCAL VOC's form; put them into Annotations/")
    raw = RawSet((), used=tuple(files))
    splits = _splits(given, files, raw)
    labels: list[list[str]] = []
    zeros = 0
    for file in files:
        for split in splits.get(file, ()):
            image, names, begins = _read(file, split, asked, raw)
            if image is not None:
                raw.images.append(image)
                labels.append(names)
                zeros += begins
    _name_classes(raw, labels, given, asked)
    if zeros and asked.word("base") == "1":
        raw.notes.append(
            f"{zeros:,} boxes of {given} begin at 0, where PASCAL VOC counts pixels from 1: if all do, say ?base=0"
        )
    return raw


def xml_files(root: Path) -> list[Path]:
    """List the annotations: those of Annotations/, else all that lie at most two folders deep."""
    folder = root / "Annotations"
    if is_folder(folder):
        return sorted(folder.rglob("*.xml"))
    return sorted([*root.glob("*.xml"), *root.glob("*/*.xml"), *root.glob("*/*/*.xml")])


def looks_like_voc(root: Path) -> bool:
    """Tell whether the first XML file of a folder is an annotation."""
    if not is_folder(root / "Annotations") and not any(root.glob("*.xml")) and not any(root.glob("*/*.xml")):
        return False
    for file in xml_files(root)[:1]:
        try:
            return "<annotation" in read_small(file, LIMIT)[:4096]
        except DataError:
            return False
    return False


def _splits(root: Path, files: Sequence[Path], raw: RawSet) -> dict[Path, list[SplitName]]:
    """Give the splits of each file: by lists of names, else by the folder that it lies in, else "train"."""
    for folder in LISTS:
        lists = {name: root / folder / f"{name}.txt" for name in ("train", "val", "test", "trainval")}
        there = {name: path for name, path in lists.items() if is_file(path)}
        if there:
            return _by_lists(root, files, there, raw)
    found: dict[Path, list[SplitName]] = {}
    for file in files:
        parts = reversed(file.relative_to(root).parts[:-1])
        found[file] = [next((split for part in parts if (split := split_of(part))), "train")]
    return found


def _by_lists(root: Path, files: Sequence[Path], lists: dict[str, Path], raw: RawSet) -> dict[Path, list[SplitName]]:
    """Read lists of names; "trainval" is "train" where there is no list of that."""
    if "train" in lists:
        lists.pop("trainval", None)
    by_stem = {file.stem: file for file in files}
    found: dict[Path, list[SplitName]] = {}
    raw.used = (*raw.used, *lists.values())
    for name, path in lists.items():
        split = "train" if name == "trainval" else next(one for one in SPLITS if one == name)
        for line in read_small(path, LIMIT).splitlines():
            stem = line.split()[0] if line.split() else ""
            if not stem:
                continue
            if stem in by_stem:
                found.setdefault(by_stem[stem], []).append(split)
            else:
                raw.faults.append(Fault("file", str(path), f"{stem} has no XML file in {root}"))
    if unused := [file.name for file in files if file not in found]:
        raw.notes.append(f"passed over: {len(unused):,} XML files of {root} that are in no list ({shown(unused)})")
    return found


def _read(file: Path, split: SplitName, asked: Asked, raw: RawSet) -> tuple[RawImage | None, list[str], int]:
    """Read an XML file: its image, the classes of its objects, and how many of these begin at 0."""
    try:
        root = _parsed(file)
    except DataError as error:
        raw.faults.append(Fault("file", str(file), str(error)))
        return None, [], 0
    name = (root.findtext("filename") or "").strip()
    found = RawImage(image_of(file, name), name or f"{file.stem}.*", split, str(file))
    found.said = _said(root)
    names, zeros = list[str](), 0
    for place, one in enumerate(root.iterfind("object"), 1):
        difficult = (one.findtext("difficult") or "0").strip() == "1"
        if difficult and asked.word("difficult") == "drop":
            continue
        label = normal((one.findtext("name") or "").strip())
        thing = RawObject(f"object {place} ({label or 'without a name'})", label or "a name that is empty", None)
        thing.crowd = difficult and asked.word("difficult") == "ignore"
        box = one.find("bndbox")
        if box is None:
            thing.wrong = ("numbers", "it has no bndbox")
        else:
            thing.box = [_number(box.findtext(side)) for side in CORNERS]
            zeros += 0.0 in thing.box[:2]
            if asked.word("base") == "1":
                thing.box = [
                    value - (i < 2) if isinstance(value, float) else value for i, value in enumerate(thing.box)
                ]
        found.objects.append(thing)
        names.append(label)
    return found, names, zeros


def _parsed(file: Path) -> ElementTree.Element:
    text = read_small(file, LIMIT)
    if "<!ENTITY" in text or "<!DOCTYPE" in text:  # entities grow without end, and an annotation has none
        raise DataError("it declares a document type or entities, which no annotation needs")
    try:
        root = ElementTree.fromstring(text.encode())  # no entities
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"it is no XML ({error})") from None
    if root.tag != "annotation":
        raise DataError(f"it is XML of another kind (<{root.tag[:40]}>, and not <annotation>)")
    return root


def _said(root: ElementTree.Element) -> tuple[object, object] | None:
    size = root.find("size")
    if size is None:
        return None
    width, height = (_number(size.findtext(side)) for side in ("width", "height"))
    if width in (None, 0.0) and height in (None, 0.0):
        return None  # as some tools write where they don't know
    return whole(width, height)


def _number(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text.strip() if text else text


def image_of(file: Path, name: str) -> Path | None:
    """Find the image of an XML file: by the name that it says, else by its own."""
    folders = [file.parent, *(file.parent.parent / other for other in ("JPEGImages", "images", "Images", "imgs"))]
    if file.parent.name.casefold() in ("annotations", "labels", "xml", "xmls"):
        folders.append(file.parent.parent)
    elif file.parent.parent.name == "Annotations":  # Annotations/train/a.xml
        folders += [
            file.parent.parent.parent / "JPEGImages" / file.parent.name,
            file.parent.parent.parent / "JPEGImages",
        ]
    base = name.replace("\\", "/").rpartition("/")[2]
    for folder in folders if base else ():
        if is_file(folder / base) and not base.endswith(".xml"):
            return folder / base
    for folder in folders:
        for suffix in sorted(readable_suffixes()):
            for end in (suffix, suffix.upper()):
                if is_file(folder / f"{file.stem}{end}"):
                    return folder / f"{file.stem}{end}"
    return None


def _name_classes(raw: RawSet, labels: Iterable[Sequence[str]], root: Path, asked: Asked) -> None:
    """Give each object its class's place."""
    rows = list(labels)
    said = asked.word("names")
    if said:
        file = root / said if is_file(root / said) else typed_path(said)
        names = [line.strip() for line in read_small(file, LIMIT).splitlines() if line.strip()]
    else:
        names = sorted({name for row in rows for name in row if name})
    if not names and not raw.faults:
        raise DataError(f"no XML file of {root} has an object, so that there are no classes; name them: ?names=FILE")
    raw.class_names = tuple(dict.fromkeys(names))
    places = {name: place for place, name in enumerate(raw.class_names)}
    for image, row in zip(raw.images, rows, strict=True):
        for one, name in zip(image.objects, row, strict=True):
            one.label = places.get(name, repr(name) if name else "a name that is empty")
