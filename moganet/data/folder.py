"""A folder of photographs, a sub-folder a class: `train/` and `val/` (and `test/`), or one folder for all.

It is looked through once (`scan.py`). Where names leave a choice, nothing is guessed: the error says how to say what is
meant, `folder:PATH?train=NAME&val=NAME&test=NAME` (none for no such split) or `folder:PATH?split=none`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import torch

from moganet.data.class_names import likeness, normal, shown
from moganet.data.findings import Finding, UnusableDataError
from moganet.data.paths import exists, is_folder, path_and_query
from moganet.data.scan import Folder, Passed, describe, places, scan
from moganet.data.source import Dataset, FileSplit
from moganet.data.split_names import SPLITS, SplitName, split_of
from moganet.data.table_read import TABLE_SUFFIXES
from moganet.data.targets import ClassIndices
from moganet.errors import DataError, did_you_mean
from moganet.files import neighbours

DOCUMENTED = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
NONE = ("", "none")


@dataclass
class _Reading:
    """What is found out while a folder is opened: what it was taken for, what is wrong, what stood out."""

    root: Path
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def fault(self, text: str, kind: str = "structure", place: Path | None = None) -> None:
        self.findings.append(Finding(kind, str(place or self.root), text))

    def how(self, *queries: str) -> str:
        return " or ".join(f"--data 'folder:{self.root}?{query}'" for query in queries)


def open_folder(path: str | None) -> Dataset:
    """Open a folder. Where it has no `val/`, the run holds back a stratified part of "train".

    Raises UnusableDataError, with all faults and what can be looked at, where its structure is not clear.
    """
    if not path:
        raise DataError("the source 'folder' needs a path: --data folder:PATH")
    root, query = path_and_query(path)
    if not is_folder(root):
        what = f"{root} is no folder" if exists(root) else f"there is no folder {root}"
        raise DataError(
            f"{what}; {did_you_mean(root, neighbours(root), 0.75)}give one with a sub-folder of images for each class"
        )
    reading, tree = _Reading(root), scan(root)
    if not tree.all_images:
        said = [finding.detail for finding in describe(root, _all_passed(tree))]
        lacks = "images" if tree.folders else "sub-folders"
        what = f"{root} has no {lacks}; put images into a sub-folder for each class{_or_table(tree)}"
        raise DataError("; ".join([what, *said]))
    dataset = _label(_divide(tree, _told(query, root, tree), reading), tree, reading)
    dataset = replace(dataset, spec=f"folder:{root.absolute()}" + (f"?{query}" if query else ""))
    if faults := [finding for finding in dataset.findings if finding.kind == "structure"]:
        raise UnusableDataError(faults, dataset)
    return dataset


def _told(query: str, root: Path, tree: Folder) -> dict[str, Folder | None]:
    """Read train=NAME&val=NAME&test=NAME or split=none: the folder of each split, None where there is to be none."""
    told: dict[str, Folder | None] = {}
    by_path = {folder.path: folder for folder in tree.walk()}
    asked = [part for part in query.split("&") if part]
    for part in asked:
        key, _, name = part.partition("=")
        if key in told or (key == "split" and len(asked) > 1):
            raise DataError(f"{query!r} says two things of {root}; say train, val and test once each, or split=none")
        if key == "split" and name in NONE:
            return {"train": tree, "val": None, "test": None}
        if key not in SPLITS:
            raise DataError(f"{part!r} is nothing that a folder knows; say train=NAME, val=NAME, test=NAME, split=none")
        folder = next((root / text for text in (name, unquote(name)) if _is_below(root, text)), None)
        if folder is None and name not in NONE:
            names = [folder.path.name for folder in tree.folders]
            like = did_you_mean(name, names)
            raise DataError(f"{root} has no folder {name!r}; {like}it has {shown(names)}")
        told[key] = None if folder is None else by_path.get(folder) or scan(folder)
    if told.get("train", tree) is None:
        raise DataError("train=none leaves nothing to train on; say which folder trains: train=NAME")
    return told


def _or_table(tree: Folder) -> str:
    tables = [one.path for part in tree.walk() for one in part.passed if one.path.suffix.lower() in TABLE_SUFFIXES]
    return f"; or, if {tables[0]} has a class for each image, give --data {tables[0]}" if tables else ""


def _is_below(root: Path, name: str) -> bool:
    inside = name not in ("", ".") and ".." not in Path(name).parts and not Path(name).is_absolute()
    return inside and is_folder(root / name)


def _divide(tree: Folder, told: Mapping[str, Folder | None], reading: _Reading) -> dict[str, Folder]:
    """Choose the folder of each split: as told, else by the names of the sub-folders, else one folder for all."""
    chosen = {split: folder for split, folder in told.items() if folder is not None}
    if chosen.get("train") is tree:
        return {"train": tree}
    used = {path for folder in chosen.values() for path in (folder.path, *folder.path.parents)}
    rest = [folder for folder in tree.filled if folder.path not in used]
    named = [(split, folder) for folder in rest if (split := split_of(folder.path.name)) and split not in told]
    divided = [(split, folder) for split, folder in named if folder.filled]
    if not chosen and not divided:
        return _undivided(tree, named, reading)
    others = [folder for folder in rest if not split_of(folder.path.name)]
    if not chosen and len(divided) == 1 and others:
        split, name = divided[0][0], divided[0][1].path.name
        what = f"{reading.root} has {name}/, which may be a split, beside {_names(others)}, which may be classes"
        reading.fault(f"{what}; say {reading.how(f'{split}={name}', 'split=none')}")
        return {"train": tree}
    return _by_name(tree, chosen, named, reading)


def _by_name(
    tree: Folder, chosen: dict[str, Folder], named: list[tuple[SplitName, Folder]], reading: _Reading
) -> dict[str, Folder]:
    for split in SPLITS:
        claims = [folder for name, folder in named if name == split and folder.filled]
        if len(claims) > 1:
            how = reading.how(*(f"{split}={folder.path.name}" for folder in claims))
            reading.fault(f"{reading.root} has {_names(claims)}, which all look like {split}; say {how}")
        if claims:
            chosen[split] = claims[0]
        for folder in [folder for name, folder in named if name == split and not folder.filled]:
            if split == "val" and not claims:
                what = f"{folder.path} has {len(folder.images)} images but no class folders, so that nothing can be"
                how = f"sort them into a sub-folder for each class, or say {reading.how('val=none')}"
                reading.fault(f"{what} measured on it; {how}")
            elif split == "test":
                reading.notes.append(f"left out: {folder.path} has no class folders, so that it can't measure")
    if "train" not in chosen:
        one = next(iter(chosen.values())).path
        what = f"{reading.root} has {_names(list(chosen.values()))} but no train/"
        reading.fault(f"{what}; say which trains: {reading.how('train=NAME')}, or give one as a whole: --data {one}")
        return {"train": tree}
    if guessed := [s for s, folder in chosen.items() if (s, folder) in named and folder.path.name not in DOCUMENTED[s]]:
        query = "&".join(f"{split}={folder.path.name}" for split, folder in chosen.items())
        taken = ", ".join(f"{chosen[split].path.name}/ for {split}" for split in guessed)
        reading.notes.append(f"took {taken}; choose otherwise by {reading.how(query, 'split=none')}")
    _leave_out(tree, chosen, reading)
    return {split: chosen[split] for split in SPLITS if split in chosen}


def _leave_out(tree: Folder, chosen: dict[str, Folder], reading: _Reading) -> None:
    used = {path for folder in chosen.values() for path in (*folder.all_images, *tree.images)}
    reading.passed += [Passed("loose", path) for path in tree.images]
    reading.passed += [Passed("unused", path) for path in tree.all_images if path not in used]
    for folder in tree.folders:
        if split_of(folder.path.name) and not folder.all_images:
            reading.fault(f"left out: {folder.path} has no images", "empty", folder.path)


def _undivided(tree: Folder, named: list[tuple[SplitName, Folder]], reading: _Reading) -> dict[str, Folder]:
    """Take every sub-folder for a class, unless their names or contents say otherwise."""
    classes = tree.filled
    names = [folder.path.name for folder in classes]
    inner = [{folder.path.name for folder in one.filled} for one in classes]
    if named and len(named) == len(classes) == len({split for split, _ in named}):
        what = f"{reading.root} has {_names(classes)}, named like splits, but without class folders"
        reading.fault(f"{what}; make a sub-folder for each class in them, or say {reading.how('split=none')}")
    elif named:
        taken = shown(f"{folder.path.name}/" for _, folder in named)
        reading.notes.append(f"took {taken} in {reading.root} for a class, since there are no class folders in it")
    for one, within in zip(classes, inner, strict=True):
        if len(classes) > 1 and len({split_of(name) for name in within} - {None}) > 1:
            what = f"{one.path} holds {shown(sorted(within))}, which look like splits, and not like images of one class"
            reading.fault(f"{what}; give --data {one.path}, or say {reading.how('split=none')}")
            return {"train": tree}
    common = set.intersection(*inner) if len(classes) > 1 else set()
    if len(common) > 1 and 2 * len(common) >= len(set.union(*inner)):
        what = f"{_names(classes)} in {reading.root} all hold the same sub-folders ({shown(sorted(common))})"
        how = reading.how(f"train={names[0]}&val={names[1]}", "split=none")
        reading.fault(f"{what}: they may be splits, or classes; say which, for instance {how}")
    return {"train": tree}


def _label(folders: dict[str, Folder], tree: Folder, reading: _Reading) -> Dataset:
    classes = {split: _classes(folder, reading) for split, folder in folders.items()}
    if not classes["train"]:
        place = folders["train"]
        what = f"{place.path} has {len(place.images)} images but no class folders"
        reading.fault(f"{what}; put them into a sub-folder for each class{_or_table(tree)}")
        classes["train"] = {normal(place.path.name): [place]}
    names = tuple(sorted(classes["train"]))
    for split in [split for split in folders if split != "train"]:
        _compare(split, folders, classes, reading)
    every = tuple(dict.fromkeys([*names, *sorted({name for found in classes.values() for name in found})]))
    splits = {split: _open_split(found, every) for split, found in classes.items() if found}
    if len(names) == 1 and folders["train"].filled:
        alone = _one_class(folders, names[0], classes["train"][names[0]][0], reading)
        reading.fault(alone + _or_table(tree), "one-class")
    stood_out = dict.fromkeys([*reading.passed, *_all_passed(tree, *folders.values())])
    findings = (*reading.findings, *describe(reading.root, stood_out))
    notes = (*(finding.detail for finding in findings if finding.kind != "structure"), *reading.notes)
    return Dataset("", every, splits, notes, findings)


def _classes(folder: Folder, reading: _Reading) -> dict[str, list[Folder]]:
    found: dict[str, list[Folder]] = {}
    for one in folder.filled:
        found.setdefault(normal(one.path.name), []).append(one)  # several, where it is written differently
    for name, several in found.items():
        spellings = " and ".join(ascii(one.path.name) for one in several)
        reading.notes += [f"took {spellings} in {folder.path} for one class, {name}"] if len(several) > 1 else []
    empty = [one for one in folder.folders if not one.all_images]
    if names := [one.path.name for one in empty if not any(p.kind == "output" for p in _all_passed(one))]:
        reading.fault(f"left out: classes without an image in {folder.path}: {shown(names)}", "empty", folder.path)
    reading.passed += [Passed("loose", path) for path in folder.images]
    deeper = [part.path for one in folder.filled for part in one.walk() if part is not one and part.images]
    if deeper and len(folder.filled) > 1:
        what = "images of folders within class folders count to the class above"
        reading.notes.append(f"{what}: {places(folder.path, deeper)}")
    return found


def _compare(
    split: str, folders: dict[str, Folder], classes: dict[str, dict[str, list[Folder]]], reading: _Reading
) -> None:
    here, known = classes[split], classes["train"]
    alike = {likeness(name): name for name in known}
    if unknown := [name for name in here if name not in known]:
        twins = [(name, alike[likeness(name)]) for name in unknown if likeness(name) in alike]
        hint = f" ({twins[0][0]!a} is {twins[0][1]!a} there)" if twins else ""
        how = f"add, rename or remove them, or leave the split out: {reading.how(f'{split}=none')}"
        what = f"{folders[split].path} has classes that {folders['train'].path.name}/ lacks: {shown(unknown)}{hint}"
        reading.fault(f"{what}; {how}")
    if missing := [name for name in known if name not in here]:
        reading.notes.append(f"{folders[split].path} has no images of {shown(missing)}")


def _one_class(folders: dict[str, Folder], name: str, inside: Folder, reading: _Reading) -> str:
    top = folders["train"].path
    text = f"{top} has one class, {name!r}, where a classifier needs two"
    while len(inside.filled) == 1 and not inside.images:
        inside = inside.filled[0]
    if len(inside.filled) < 2:
        return f"{text}; make a sub-folder for each class"
    depth = inside.path.relative_to(top)
    query = "&".join(f"{split}={(folder.path / depth).relative_to(reading.root)}" for split, folder in folders.items())
    there = f"--data {inside.path}" if top == reading.root else reading.how(query)
    names = [folder.path.name for folder in inside.filled]
    what = "since these look like splits" if any(map(split_of, names)) else "if these are the classes"
    return f"{text}; it holds {shown(names)}: {what}, give {there}"


def _open_split(classes: dict[str, list[Folder]], names: tuple[str, ...]) -> FileSplit:
    found = [sorted(path for part in classes.get(name, ()) for path in part.all_images) for name in names]
    labels = torch.arange(len(names)).repeat_interleave(torch.tensor([len(files) for files in found]))
    return FileSplit([file for files in found for file in files], ClassIndices(labels))


def _all_passed(*folders: Folder) -> list[Passed]:
    return [passed for folder in folders for part in folder.walk() for passed in part.passed]


def _names(folders: list[Folder]) -> str:
    return shown(f"{folder.path.name}/" for folder in folders)
