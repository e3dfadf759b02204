"""Images in which key points of people, or of other things, are marked: COCO's person_keypoints files, and their like.

`keypoints:DIR` takes annotations/person_keypoints_{train,val}2017.json beside train2017/ and val2017/, a folder with a
JSON file, or a file by its path; `?json=FILE`, `?images=FOLDER` and `?category=NAME` say what is meant where that is
open, `?empty=keep` takes images too in which nothing is marked. What is wrong is named by file and annotation and
refused, or left out where that is asked for: `?outside=keep`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from moganet.data.coco_json import CocoFile, coco_files
from moganet.data.findings import Finding, UnusableDataError
from moganet.data.paths import path_and_query
from moganet.data.people_read import FAULTS, WORDS, Found, Kind, kinds_of, read_people
from moganet.data.people_targets import People, PeopleTargets
from moganet.data.query import read_words
from moganet.data.skeletons import COCO, Skeleton, skeleton_of
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS
from moganet.errors import DataError
from moganet.numbers import count

TEXTS = ("json", "images", "category")
EMPTY = ("drop", "keep")  # images in which nothing is marked
MANY_FAULTS = 50  # of a kind that are named one by one


def open_people(path: str | None) -> Dataset:
    """Open images with key points. Raises UnusableDataError, with all faults and what can be looked at, for others."""
    if not path:
        raise DataError("the source 'keypoints' needs a path: --data keypoints:DIR")
    given, query = path_and_query(path)
    said = read_words(query, "a set of key points", TEXTS, {**FAULTS, "broken": ("refuse", "drop"), "empty": EMPTY})
    answers = {fault: said.get(fault, "drop" if said.get("broken") == "drop" else "refuse") for fault in FAULTS}
    answers["empty"] = said.get("empty", EMPTY[0])
    files = coco_files(given, kind="person_keypoints", named=said.get("json", ""), images=said.get("images", ""))
    files = sorted(files, key=lambda file: SPLITS.index(file.split))
    kinds = kinds_of(files, said.get("category", ""))
    skeleton = skeleton_of(kinds[0].points, kinds[0].lines)
    splits: dict[str, Split] = {}
    notes, findings, seen = _guesses(skeleton), list[Finding](), 0
    for file, kind in zip(files, kinds, strict=True):
        found = read_people(file, kind, answers)
        findings += _findings(file, found, answers)
        notes += _notes(file, found, kind, answers)
        if any(found.things.values()):
            splits[file.split] = _split(file, found, skeleton, seen)
            seen += len(file.images)
    spec = f"keypoints:{given.absolute()}" + (f"?{query}" if query else "")
    notes += [one.detail for one in findings if one.kind == "passed-over"]
    dataset = Dataset(spec, skeleton.names, splits, tuple(notes), tuple(findings))
    if faults := [one for one in findings if one.kind == "structure"]:
        raise UnusableDataError(faults, dataset)
    if not splits:
        raise DataError(f"{spec} has no {kinds[0].name} in an image that is there; give others")
    return dataset


def looks_like_people(root: Path) -> bool:
    """Tell whether a folder has files of key points by COCO's names, and no other ones of COCO's."""
    names = [path.name for path in (root / "annotations").glob("*.json")] if (root / "annotations").is_dir() else []
    return bool(names) and all(name.startswith("person_keypoints_") for name in names)


def _guesses(skeleton: Skeleton) -> list[str]:
    """Say what the names of key points other than COCO's were taken to mean."""
    if skeleton.names == COCO.names:
        return []
    pairs = sum(i != other for i, other in enumerate(skeleton.mirrored)) // 2
    sides = f"{count(pairs, 'pair')} of left and right by their names" if pairs else "none of them left or right"
    return [
        f"the {len(skeleton.names)} key points are not COCO's: {sides}, and all are taken to be equally hard to mark "
        f"(sigma {skeleton.sigmas[0]:.3f} in OKS)"
    ]


def _split(file: CocoFile, found: Found, skeleton: Skeleton, first: int) -> FileSplit:
    places = sorted(found.things)
    entries = [file.images[place] for place in places]
    paths = [file.image(entry["file_name"]) for entry in entries]
    by_image = [found.things[place] for place in places]
    every = [thing for things in by_image for thing in things]
    people = People(
        np.cumsum([0, *map(len, by_image)]).astype(np.int64),
        skeleton,
        np.array([first + place for place in places], np.int64),
        np.array([entry["id"] for entry in entries], np.int64),
        np.array([thing.box for thing in every], np.float64).reshape(-1, 4),
        np.array([thing.points for thing in every], np.float64).reshape(-1, len(skeleton.names), 3),
        np.array([thing.area for thing in every], np.float64),
        np.array([thing.crowd for thing in every], bool),
    )
    return FileSplit([path for path in paths if path is not None], PeopleTargets(people, np.arange(len(places))))


def _findings(file: CocoFile, found: Found, answers: Mapping[str, str]) -> list[Finding]:
    by_kind: dict[str, list[str]] = {}
    for kind, text in found.faults:
        by_kind.setdefault(kind, []).append(text)
    made = []
    for kind, texts in by_kind.items():
        if answers[kind] != "refuse":
            text = f"passed over: {count(len(texts), 'annotation')} of {file.path} ({kind}), the first: {texts[0]}"
            made.append(Finding("passed-over", str(file.path), text))
            continue
        ways = " or ".join(f"{WORDS[way]} (?{kind}={way})" for way in FAULTS[kind][1:])
        more = f" (and {len(texts) - 1:,} more of this kind)" if len(texts) > 1 else ""
        made.append(Finding("structure", str(file.path), f"{file.path}: {texts[0]}{more}; mend it, or {ways}"))
        made += [Finding("structure", str(file.path), f"{file.path}: {text}") for text in texts[1:MANY_FAULTS]]
        if len(texts) > MANY_FAULTS:
            rest = f"and {len(texts) - MANY_FAULTS:,} more of this kind ({kind})"
            made.append(Finding("structure", str(file.path), rest))
    return made


def _notes(file: CocoFile, found: Found, kind: Kind, answers: Mapping[str, str]) -> list[str]:
    notes = []
    if empty := len(file.images) - len(found.things):
        keep = " (?empty=keep takes them too)" if answers["empty"] == "drop" else ""
        images = f"{count(empty, 'image')} of {file.path.name}"
        notes.append(f"passed over: {images} in which no {kind.name} is marked{keep}")
    if found.others:
        notes.append(f"passed over: {count(found.others, 'annotation')} of {file.path.name} that are of no {kind.name}")
    if found.without_area:
        what = f"{count(found.without_area, 'annotation')} of {file.path.name} without an area"
        notes.append(f"{what}: 0.53 of the box is taken for it")
    return notes
