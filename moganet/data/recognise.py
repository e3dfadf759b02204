"""What a folder, or a file, is when its path alone is given: by its layout; where two readings fit, none is taken."""

from collections.abc import Callable, Mapping
from pathlib import Path

from moganet.data import masks, people
from moganet.data.boxes_voc import looks_like_voc
from moganet.data.boxes_yolo import looks_like_yolo
from moganet.data.coco_json import looks_like_coco, looks_like_coco_folder
from moganet.data.hub_datasets import is_saved
from moganet.data.paths import is_file
from moganet.data.shards_files import is_shards
from moganet.errors import DataError
from moganet.notices import say

WHAT = {
    "coco": "COCO's annotations (boxes)",
    "yolo": "a set of YOLO's (boxes)",
    "voc": "PASCAL VOC's annotations (boxes)",
    "keypoints": "images with key points",
    "masks": "images with masks",
}
LOOKS: Mapping[str, Callable[[Path], bool]] = {
    "coco": looks_like_coco_folder,
    "yolo": looks_like_yolo,
    "voc": looks_like_voc,
    "keypoints": people.looks_like_people,
    "masks": masks.looks_like_masks,
}

OWN: Mapping[str, Callable[[Path], bool]] = {"shards": is_shards, "hub": is_saved}  # which are nothing else


def recognised_folder(given: Path, spec: str) -> str | None:
    """Give the source whose layout a folder has, and say so; None where it has none of them.

    Raises DataError where two fit.
    """
    if own := next((source for source, wrote in OWN.items() if wrote(given)), None):
        return own
    found = [source for source, looks in LOOKS.items() if _looks(looks, given)]
    if "keypoints" in found:  # all of its files are of these, which also hold boxes and outlines
        found = ["keypoints"]
    if len(found) > 1:
        readings = " or ".join(f"{WHAT[one]}: --data {one}:{spec}" for one in found)
        raise DataError(f"{spec} may be read in {len(found)} ways; say which is meant, {readings}")
    if not found:
        return None
    say(f"took {spec} for {WHAT[found[0]]}; choose otherwise by --data folder:{spec}")
    return found[0]


def recognised_file(given: Path, spec: str) -> str | None:
    """Give the source whose file a path is: COCO's JSON, YOLO's YAML; None for others."""
    suffix = given.suffix.lower()
    if not is_file(given) or suffix not in (".json", ".yaml", ".yml"):
        return None
    source = "yolo" if suffix != ".json" else "coco" if looks_like_coco(given) else None
    if source == "coco" and given.name.startswith("person_keypoints_"):
        source = "keypoints"
    if source is not None:
        say(f"took {spec} for {WHAT[source]}; choose otherwise by --data SOURCE:PATH")
    return source


def _looks(looks: Callable[[Path], bool], given: Path) -> bool:
    try:
        return looks(given)
    except (OSError, DataError):  # whoever opens it says what is wrong
        return False
