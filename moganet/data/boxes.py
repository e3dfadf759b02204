"""Images in which things are marked by boxes, and by outlines where the format has them: a source for each format.

COCO's JSON, YOLO's folders, PASCAL VOC's XML and tables are read into one form (`boxes_raw`) and judged by one rule
(`boxes_check`): what is wrong is named by file and place and refused, or left out or mended where that is asked for, as
`coco:DIR?outside=clip&missing=skip`; `?broken=drop` answers all of it so.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from moganet.data.boxes_check import GoodImage, Judged, judge
from moganet.data.boxes_coco import read_coco_boxes
from moganet.data.boxes_query import Asked, read_query
from moganet.data.boxes_raw import Fault, RawSet
from moganet.data.boxes_targets import BoxTargets, Marks
from moganet.data.findings import Finding, UnusableDataError
from moganet.data.paths import path_and_query
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS
from moganet.errors import DataError
from moganet.numbers import count

MANY_FAULTS = 50  # of a kind that are named one by one
NAMES = {"missing": "images", "size": "images", "turned": "images", "names": "images", "file": "files"}
Reader = Callable[[Path, Asked], RawSet]


def opener(source: str, read: Reader) -> Callable[[str | None], Dataset]:
    """Make what opens a source by its path and query."""

    def open_boxes(path: str | None) -> Dataset:
        if not path:
            raise DataError(f"the source {source!r} needs a path: --data {source}:{_EXAMPLES[source]}")
        given, query = path_and_query(path)
        asked = read_query(source, query)
        raw = read(given, asked)
        spec = f"{source}:{given.absolute()}" + (f"?{query}" if query else "")
        return dataset_of(spec, raw, judge(raw, asked), asked)

    return open_boxes


_EXAMPLES = {"coco": "DIR", "yolo": "data.yaml", "voc": "DIR", "table": "boxes.csv"}
OPENERS = {"coco": opener("coco", read_coco_boxes)}


def dataset_of(spec: str, raw: RawSet, judged: Judged, asked: Asked) -> Dataset:
    """Make a data set of what was judged. Raises UnusableDataError, with all faults, where any was not answered."""
    notes = [*raw.notes, *_counted(judged.left, "passed over: {}"), *_counted(judged.mended, "mended: {}")]
    findings = [*_findings(judged.faults, "structure", asked), *_findings(judged.left, "passed-over", None)]
    findings += _findings(judged.mended, "note", None)
    splits: dict[str, Split] = {}
    for name in SPLITS:
        some = [image for image in judged.images if image.raw.split == name]
        if some:
            splits[name] = _split(some, raw, masks=judged.has_masks)
    dataset = Dataset(spec, raw.class_names, splits, tuple(notes), tuple(findings))
    if judged.faults:
        raise UnusableDataError([one for one in findings if one.kind == "structure"], dataset)
    if not splits:
        raise DataError(f"{spec}: no image is left that can be used; {notes[0] if notes else 'give others'}")
    return dataset


def _split(some: Sequence[GoodImage], raw: RawSet, *, masks: bool) -> FileSplit:
    marks = Marks.of(some, masks=masks)
    files = [image.raw.file for image in some if image.raw.file is not None]
    return FileSplit(files, BoxTargets(marks, np.arange(len(some)), len(raw.class_names), raw.numbers))


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


def _findings(faults: Sequence[Fault], kind: str, asked: Asked | None) -> list[Finding]:
    """Name each fault, the first of them with how many there are of its kind and with the remedy."""
    found = []
    total = Counter(fault.kind for fault in faults)
    for of, some in _by_kind(faults).items():
        for place, fault in enumerate(some[:MANY_FAULTS]):
            text = _said(fault)
            if asked is not None and place == 0:
                more = f" (and {total[of] - 1:,} more of this kind)" if total[of] > 1 else ""
                text = f"{text}{more}; {asked.remedy(of)}; ?broken=drop for all faults" if asked else text
            found.append(Finding(kind, fault.file, text))
        if len(some) > MANY_FAULTS:
            found.append(Finding(kind, some[0].file, f"and {len(some) - MANY_FAULTS:,} more of this kind ({of})"))
    return found
