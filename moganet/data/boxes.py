"""Images in which things are marked by boxes, and by outlines where the format has them: a source for each format.

COCO's JSON, YOLO's folders, PASCAL VOC's XML and tables are read into one form (`boxes_raw`) and judged by one rule
(`boxes_check`): what is wrong is named by file and place and refused, or left out or mended where that is asked for, as
`coco:DIR?outside=clip&missing=skip`; `?broken=drop` answers all of it so.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from moganet.data.boxes_check import GoodImage, Judged, judge
from moganet.data.boxes_coco import read_coco_boxes
from moganet.data.boxes_query import Asked, read_query
from moganet.data.boxes_raw import Fault, RawSet
from moganet.data.boxes_table import has_usual_boxes, read_table_boxes
from moganet.data.boxes_targets import BoxTargets, Marks
from moganet.data.boxes_voc import read_voc
from moganet.data.boxes_yolo import read_yolo
from moganet.data.findings import Finding, UnusableDataError
from moganet.data.paths import is_folder, path_and_query
from moganet.data.scan import describe, places, scan
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS
from moganet.data.table_read import Table
from moganet.errors import DataError
from moganet.numbers import count

MANY_FAULTS = 50  # of a kind that are named one by one
ALL = "?broken=drop leaves out all that is broken"
NAMES = {"missing": "images", "size": "images", "turned": "images", "names": "images", "file": "files"}
Reader = Callable[[Path, Asked], RawSet]


def opener(source: str, read: Reader) -> Callable[[str | None], Dataset]:
    """Make what opens a source by its path and query."""

    def open_boxes(path: str | None) -> Dataset:
        if not path:
            raise DataError(f"the source {source!r} needs a path: --data {source}:{_EXAMPLES[source]}")
        given, query = path_and_query(path)
        asked = read_query(source, query)
        return _opened(source, given, query, read(given, asked), asked)

    return open_boxes


def _opened(source: str, given: Path, query: str, raw: RawSet, asked: Asked) -> Dataset:
    raw.notes += unnamed(given, raw)
    spec = f"{source}:{given.absolute()}" + (f"?{query}" if query else "")
    return dataset_of(spec, raw, judge(raw, asked), asked)


def open_box_table(table: Table, query: str) -> Dataset | None:
    """Open a table that has columns of boxes; None where it has none, or where something else of it was asked for."""
    words = dict(part.partition("=")[::2] for part in query.split("&") if part)
    if "labels" in words or words.get("boxes") == "none":
        return None
    if not {"boxes", "form", "units"} & words.keys() and not has_usual_boxes(table):
        return None
    asked = read_query("table", query)
    return _opened("table", table.file, query, read_table_boxes(table, asked), asked)


_EXAMPLES = {"coco": "DIR", "yolo": "data.yaml", "voc": "DIR"}
OPENERS = {
    "coco": opener("coco", read_coco_boxes),
    "yolo": opener("yolo", read_yolo),
    "voc": opener("voc", read_voc),
}


def dataset_of(spec: str, raw: RawSet, judged: Judged, asked: Asked) -> Dataset:
    """Make a data set of what was judged. Raises UnusableDataError, with all faults, where any was not answered."""
    notes = [*raw.notes, *_counted(judged.left, "passed over: {}"), *_counted(judged.mended, "mended: {}")]
    findings = [*_findings(judged.faults, "structure", asked), *_findings(judged.left, "passed-over")]
    findings += _findings(judged.mended, "note")
    findings += [Finding("passed-over", spec, note) for note in raw.notes if "passed over" in note]
    splits: dict[str, Split] = {}
    for name in SPLITS:
        some = [image for image in judged.images if image.raw.split == name]
        if some:
            splits[name] = _split(some, raw, masks=judged.has_masks)
    dataset = Dataset(spec, raw.class_names, splits, tuple(notes), tuple(findings))
    if judged.faults:
        first, *others = judged.faults
        found = [Finding("structure", first.file, f"{_said(first)}; {asked.remedy(first.kind)}; {ALL}")]
        raise UnusableDataError([*found, *(Finding("structure", one.file, _said(one)) for one in others)], dataset)
    if not splits:
        raise DataError(f"{spec}: no image is left that can be used; {notes[0] if notes else 'give others'}")
    return dataset


def _split(some: Sequence[GoodImage], raw: RawSet, *, masks: bool) -> FileSplit:
    marks = Marks.of(some, masks=masks)
    files = [image.raw.file for image in some if image.raw.file is not None]
    groups = [image.raw.group or f"\0{i}" for i, image in enumerate(some)]
    grouped = groups if any(image.raw.group for image in some) else None
    return FileSplit(files, BoxTargets(marks, np.arange(len(some)), len(raw.class_names), raw.numbers), groups=grouped)


def unnamed(given: Path, raw: RawSet) -> list[str]:
    """Count what lies there and is no part of the set: images that no annotation names, and all that is passed over."""
    named, used = {image.file for image in raw.images}, set(raw.used)
    folders = [given] if is_folder(given) else sorted({file.parent for file in named if isinstance(file, Path)})
    notes = []
    for folder in folders:
        tree = scan(folder)
        if over := [path for path in tree.all_images if path not in named]:
            what = f"{count(len(over), 'image')} of {folder} that no annotation names ({places(folder, over)})"
            notes.append(f"passed over: {what}")
        passed = (one for part in tree.walk() for one in part.passed if one.path not in used)
        notes += [finding.detail for finding in describe(folder, passed)]
    return notes


def _by_kind(faults: Iterable[Fault]) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    for fault in faults:
        found.setdefault(fault.kind, []).append(fault)
    return found


def _counted(faults: Sequence[Fault], text: str) -> list[str]:
    """Give a line on each kind of what was left out or mended."""
    return [
        text.format(f"{count(len(some), NAMES.get(kind, 'objects')[:-1])} ({kind}), the first in {_said(some[0])}")
        for kind, some in _by_kind(faults).items()
    ]


def _said(fault: Fault) -> str:
    return f"{fault.file}: {fault.text}"


def _findings(faults: Sequence[Fault], kind: str, asked: Asked | None = None) -> list[Finding]:
    """Name each fault, the first of each kind with the remedy; of very many the first."""
    found = []
    for of, some in _by_kind(faults).items():
        for place, fault in enumerate(some[:MANY_FAULTS]):
            remedy = f"; {asked.remedy(of)}" if asked is not None and place == 0 else ""
            found.append(Finding(kind, fault.file, f"{_said(fault)}{remedy}"))
        if len(some) > MANY_FAULTS:
            found.append(Finding(kind, some[0].file, f"and {len(some) - MANY_FAULTS:,} more of this kind ({of})"))
    return found
