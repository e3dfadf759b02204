"""Data sources by name, and one way to open any of them."""

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moganet.data import boxes, cifar, digits, folder, hub_datasets, masks, people, shards, table
from moganet.data.class_names import find_lookalikes, shown
from moganet.data.formats import readable_suffixes
from moganet.data.in_python import PREFIX, open_in_python
from moganet.data.paths import exists, is_file, is_folder, path_and_query
from moganet.data.recognise import recognised_file, recognised_folder
from moganet.data.source import Dataset
from moganet.data.table_read import TABLE_SUFFIXES
from moganet.errors import DataError, did_you_mean
from moganet.files import neighbours
from moganet.notices import say

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

SOURCES: dict[str, Callable[[str | None], Dataset]] = {
    "digits": digits.open_digits,
    **cifar.OPENERS,
    "folder": folder.open_folder,
    "table": table.open_table,
    "masks": masks.open_masks,
    "shards": shards.open_shards,
    "hub": hub_datasets.open_hub,
    **boxes.OPENERS,
    "keypoints": people.open_people,
}

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2", ".zst", ".7z", ".rar")


def open_data(
    spec: "Data", class_names: "ClassNames | None" = None, *, workers: int = 0, otherwise: Sequence[str] = ()
) -> Dataset:
    """Open a data set: "SOURCE", "SOURCE:PATH", a path whose kind is recognised, or a data set of the caller's.

    A caller's has an item (image, index of its class, or a row of 0 and 1) at each place, as torch's map-style data
    sets do, or is a dict of such by split; an image is anything that a Predictor takes. Its notes are said.
    class_names: names of a caller's classes, where it has no `classes`, or others. otherwise: those to take where
    neither names them. workers: processes that read a caller's set, where it bears that; 0 is this one alone. What
    `open_data` gave is given back as it is.
    Raises DataError that names the sources where a text is none, and says what is wrong with a caller's set.
    """
    if class_names is not None and isinstance(spec, str | os.PathLike | Dataset):
        raise DataError(f"class_names is for data sets of your own in Python; {_said(spec)} names its classes itself")
    if isinstance(spec, Dataset):
        return spec
    if isinstance(spec, str | os.PathLike):
        dataset = _open(os.fspath(spec))
    else:
        dataset = open_in_python(spec, class_names, otherwise, workers)
    alike = find_lookalikes(dataset.class_names, dataset.spec)
    for note in (*dataset.notes, *(finding.detail for finding in alike)):
        say(note, doubtful=True)
    return dataset


def _said(spec: "str | os.PathLike[str] | Dataset") -> str:
    return spec.spec if isinstance(spec, Dataset) else str(spec)


def _open(spec: str) -> Dataset:
    name, _, path = spec.partition(":")
    if name == PREFIX:
        what = f"{spec} is a data set that was handed over in Python, and can't be opened by its name"
        raise DataError(f"{what}; hand it over again as data=, or name another as SOURCE[:PATH]")
    if name in SOURCES:
        if spec == name and is_folder(spec):
            say(f"took {spec} for the data source, not for the folder here; choose otherwise by --data ./{spec}")
        return SOURCES[name](path or None)
    given, _ = path_and_query(spec)
    if not spec or not exists(given):
        known = f"sources: {', '.join(SOURCES)} (as SOURCE or SOURCE:PATH)"
        like = did_you_mean(name, SOURCES) or did_you_mean(given, neighbours(given), 0.75)
        raise DataError(f"{spec!r} is {_what_is_missing(spec)}; {like}{known}")
    if not is_folder(given) and not is_file(given):
        raise DataError(f"{spec} is a pipe, a socket or a device; give a folder or a file")
    if cifar_name := cifar.recognise_cifar(given):
        if beside := cifar.names_beside(cifar_name, given):
            taken = f"took {spec} for {cifar_name}, which lies in it; not looked at: {shown(beside)}"
            say(f"{taken}; choose otherwise by --data folder:{spec}")
        return SOURCES[cifar_name](spec)
    if given.suffix.lower() in TABLE_SUFFIXES and is_file(given):
        return table.open_table(spec)
    if is_folder(given):
        source = recognised_folder(given, spec)
        return folder.open_folder(spec) if source is None else SOURCES[source](spec)
    if source := recognised_file(given, spec):
        return SOURCES[source](spec)
    raise DataError(_no_set(spec, given))


def _what_is_missing(spec: str) -> str:
    if "://" in spec:
        return "an address, not a path: download it, and give the path"
    if spec != spec.strip() and exists(spec.strip()):
        return f"no path, but {spec.strip()!r} is: leave out the spaces around it"
    return "neither a path nor a data source"


def _no_set(spec: str, given: Path) -> str:
    if any(suffix in ARCHIVES for suffix in given.suffixes[-2:]) or zipfile.is_zipfile(given):
        return f"{spec} is an archive: unpack it, and give its folder"
    if given.suffix.lower() in readable_suffixes():
        return f"{spec} is one image: give the folder that holds a sub-folder of images for each class"
    if given.suffix.lower() in (".xlsx", ".xls", ".ods", ".json", ".jsonl"):
        return f"{spec} is no table that is read here: save it as CSV, with a row for each image"
    return f"can't tell what {spec} holds; say it as SOURCE:PATH with one of {', '.join(SOURCES)}"
