"""Which column of Hugging Face's data sets holds the images, which their classes, and what the values there mean."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from moganet.data.class_names import shown
from moganet.data.items import IMAGE_KEYS, LABEL_KEYS
from moganet.data.targets import ClassIndices, ClassSets, TensorTargets
from moganet.errors import DataError, choose_of

Row = tuple[str, ...] | None  # the names of an image's classes; None: it is not labelled


class Columns(NamedTuple):
    """The columns of images and of labels; names: of the classes, where the label column keeps them; several: lists."""

    image: str
    label: str
    names: tuple[str, ...] | None
    several: bool


def choose_columns(features: Mapping[str, Any], asked: Mapping[str, str], spec: str) -> tuple[Columns, list[str]]:
    """Choose by the columns' types, else by their usual names, and say so. Raises DataError where there is a choice."""
    for role in ("image", "label"):
        if role in asked and asked[role] not in features:
            raise DataError(f"{spec} has no column {asked[role]!r}; {choose_of(asked[role], features)}")
    image = asked.get("image") or _image_column(features, spec)
    label = asked.get("label") or _label_column({k: v for k, v in features.items() if k != image}, spec)
    names, several = _names_of(features[label])
    unused = [name for name in features if name not in (image, label)]
    rest = f"; not used: {shown(unused)}" if unused else ""
    note = f"{spec}: image is {image!r}, label is {label!r}{rest}; choose with ?image=…&label=…"
    is_guess = bool(unused) and not {"image", "label"} <= asked.keys()
    return Columns(image, label, names, several), [note] if is_guess or names is None else []


def _image_column(features: Mapping[str, Any], spec: str) -> str:
    typed = [name for name, feature in features.items() if _kind(feature) == "Image"]
    found = typed or [name for name, feature in features.items() if _holds_bytes(feature)]
    if len(found) == 1:
        return found[0]
    if usual := [name for name in found if name.lower() in IMAGE_KEYS]:
        return usual[0] if len(usual) == 1 else _ask("image", spec, usual)
    return _ask("image", spec, found or list(features))


def _label_column(features: Mapping[str, Any], spec: str) -> str:
    typed = [name for name, feature in features.items() if _names_of(feature)[0] is not None]
    if len(typed) == 1:
        return typed[0]
    usual = [name for name in typed or features if name.lower() in LABEL_KEYS]
    return usual[0] if len(usual) == 1 else _ask("label", spec, usual or typed or list(features))


def _ask(role: str, spec: str, found: Sequence[str]) -> str:
    place = spec.partition("?")[0]
    raise DataError(f"which column of {spec} is the {role}? it may be {shown(found)}; say {place}?{role}={found[0]}")


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _holds_bytes(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return {"bytes", "path"} >= set(feature) and "bytes" in feature
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _names_of(feature: Any) -> tuple[tuple[str, ...] | None, bool]:
    """Give the names that a column keeps for its numbers, and whether it holds lists."""
    if isinstance(feature, list) and len(feature) == 1:  # as older versions write a list's type
        return _names_of(feature[0])[0], True
    inner = getattr(feature, "feature", None)
    if inner is not None and not isinstance(inner, Mapping):
        return _names_of(inner)[0], True
    return (tuple(feature.names) if _kind(feature) == "ClassLabel" and feature.names else None), False


def read_rows(values: Sequence[Any], columns: Columns, spec: str) -> list[Row]:
    """Give the names of each row's classes."""
    return [_row(value, columns, f"row {number} of {spec}") for number, value in enumerate(values)]


def _row(value: Any, columns: Columns, where: str) -> Row:
    if value is None or (not columns.several and value in (-1, "")):
        return None
    if columns.several != isinstance(value, list | tuple):
        raise DataError(f"{where} has {str(value)[:60]!r} in {columns.label!r}, and other rows are of another kind")
    found = list[str]()
    for one in value if columns.several else [value]:
        if columns.names is not None:
            if not isinstance(one, int) or not 0 <= one < len(columns.names):
                raise DataError(f"{where} has class {one!r}, and {columns.label!r} names {len(columns.names)}")
            found.append(columns.names[one])
        elif isinstance(one, str | int):
            found.append(str(one))
        else:
            what = f"{where} has {str(one)[:60]!r} in {columns.label!r}, which is neither a class's name nor its number"
            raise DataError(f"{what}; say which column is: ?label=COLUMN")
    return tuple(dict.fromkeys(found))


def class_names_of(columns: Columns, rows: Sequence[Row]) -> tuple[str, ...]:
    """Give the classes' names: those that are kept, else those that occur, numbers in their order."""
    if columns.names is not None:
        return columns.names
    found = {name for row in rows if row is not None for name in row}
    are_numbers = all(name.lstrip("-").isdecimal() for name in found)
    return tuple(sorted(found, key=int) if are_numbers else sorted(found))


def targets_of(rows: Sequence[Row], class_names: Sequence[str], *, several: bool) -> TensorTargets:
    """Give labelled rows as numbers."""
    number = {name: i for i, name in enumerate(class_names)}
    if not several:
        return ClassIndices(torch.tensor([number[row[0]] for row in rows if row is not None], dtype=torch.long))
    values = torch.zeros(len(rows), len(class_names), dtype=torch.uint8)
    for i, row in enumerate(rows):
        values[i, [number[name] for name in row or ()]] = 1
    return ClassSets(values)
