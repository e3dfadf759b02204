"""The targets of images in shards: KINDS, by name. Each writes a member beside an image, as webdataset's users expect
it, and what the index says of it; and reads the index again.
"""

import io
import json
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from pydantic import JsonValue, TypeAdapter, ValidationError

from moganet.data.contents import hash_bytes
from moganet.data.masks_coding import IGNORED, VOID, Coding
from moganet.data.masks_read import MaskFile
from moganet.data.masks_targets import MaskTargets
from moganet.data.shards_boxes import Boxes
from moganet.data.shards_kind import Kind, Told, Written, check_range
from moganet.data.shards_people import KeyPoints
from moganet.data.shards_read import Members, Place
from moganet.data.targets import ClassIndices, ClassSets, Targets
from moganet.errors import DataError

DEEP_VOID = 65535  # where masks have more classes than a byte tells


class _Classes:
    """One class an image: `.cls`, its number."""

    of: type[Targets] = ClassIndices

    def shared(self, targets: Targets) -> dict[str, JsonValue]:
        return {}

    def write(self, targets: Targets, index: int, class_names: Sequence[str]) -> Written:
        number = int(targets[index])
        return Written("cls", str(number).encode(), lambda start: number)

    def read(self, told: Told) -> Targets:
        values = TypeAdapter(list[int]).validate_python(list(told.values), strict=True)
        check_range(values, told)
        return ClassIndices(torch.tensor(values, dtype=torch.long))


class _Sets:
    """Any number of classes an image: `.json`, with their names as `labels`."""

    of: type[Targets] = ClassSets

    def shared(self, targets: Targets) -> dict[str, JsonValue]:
        return {}

    def write(self, targets: Targets, index: int, class_names: Sequence[str]) -> Written:
        numbers: list[int] = targets[index].nonzero()[:, 0].tolist()
        names = [class_names[number] for number in numbers]
        return Written("json", json.dumps({"labels": names}).encode(), lambda start: list(numbers))

    def read(self, told: Told) -> Targets:
        rows = TypeAdapter(list[list[int]]).validate_python(list(told.values), strict=True)
        check_range([number for row in rows for number in row], told)
        values = torch.zeros(len(rows), len(told.class_names), dtype=torch.uint8)
        places = [(i, number) for i, row in enumerate(rows) for number in row]
        if places:
            values[tuple(torch.tensor(places).T)] = 1
        return ClassSets(values)


class _Masks:
    """A mask an image: `.mask.png`, grey, its values the numbers of classes, and the largest value where there is none.

    The index keeps where a mask lies, its hash, and the pixels of each class.
    """

    of: type[Targets] = MaskTargets

    def shared(self, targets: Targets) -> dict[str, JsonValue]:
        assert isinstance(targets, MaskTargets)
        return {"colours": [list(colour) for colour in targets.colours]}

    def write(self, targets: Targets, index: int, class_names: Sequence[str]) -> Written:
        labels = np.asarray(targets[index])
        number = len(class_names)
        kind, void = (np.uint8, VOID) if number <= VOID else (np.uint16, DEEP_VOID)
        file = io.BytesIO()
        Image.fromarray(np.where(labels == IGNORED, void, labels).astype(kind)).save(file, "PNG")
        content, counts = file.getvalue(), np.bincount(labels[labels != IGNORED].ravel(), minlength=number)
        hashed = hash_bytes(content).hex()
        pixels: dict[str, JsonValue] = {str(i): int(counts[i]) for i in np.flatnonzero(counts)}
        return Written("mask.png", content, lambda start: [start, len(content), hashed, pixels])

    def read(self, told: Told) -> Targets:
        kind = TypeAdapter(list[tuple[int, int, str, dict[int, int]]])
        masks = kind.validate_json(json.dumps(list(told.values)))
        places = [Place(shard, *mask[:3]) for shard, mask in zip(told.shards, masks, strict=True)]
        members = Members(told.store, told.names, places)
        files = members.files([f"mask {i}" for i in range(len(masks))])
        pixels = np.zeros((len(masks), len(told.class_names)), np.int64)
        check_range([number for mask in masks for number in mask[3]], told)
        for i, mask in enumerate(masks):
            pixels[i, list(mask[3])] = list(mask[3].values())
        number = len(told.class_names)
        classes = {**{i: i for i in range(number)}, (VOID if number <= VOID else DEEP_VOID): IGNORED}
        colours = TypeAdapter(tuple[tuple[int, int, int], ...]).validate_python(told.shared.get("colours", ()))
        hashes: dict[MaskFile, bytes] = {file: members.hash_of(i) for i, file in enumerate(files)}
        return MaskTargets(tuple(files), Coding.of(classes), pixels, (None,) * len(files), colours, hashes)


KINDS: dict[str, Kind] = {
    "class": _Classes(),
    "classes": _Sets(),
    "masks": _Masks(),
    "boxes": Boxes(),
    "keypoints": KeyPoints(),
}


def kind_of(targets: Targets) -> str:
    """Give the name of a split's kind of targets. Raises DataError for one that shards do not hold yet."""
    found = next((name for name, kind in KINDS.items() if isinstance(targets, kind.of)), None)
    if found is None:
        raise DataError(f"targets of this kind ({type(targets).__name__}) can't be written into shards")
    return found


def read_targets(kind: str, told: Told, where: str) -> Targets:
    """Give the targets that an index tells. Raises DataError for what it can't mean."""
    if kind not in KINDS:
        raise DataError(f"{where} has targets called {kind!r}; this moganet knows {', '.join(KINDS)}")
    try:
        return KINDS[kind].read(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"{where} is damaged: of its targets, {first['msg']}; make the shards anew") from None
    except ValueError as error:
        raise DataError(f"{where} is damaged: {error}; make the shards anew") from None
