"""mmpose's `.pth` of a network for key points: backbone and head in `state_dict`, its configuration in `meta`.

The reference's published ones are such files, of COCO's 17 key points. Where one says no more than its tensors, what
the reference's configurations say is taken, and said to be a guess. mmpose 1 calls the head `head.` only.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from moganet.config import Architecture, HeatmapHead, Preprocessing, validate
from moganet.data.skeletons import COCO
from moganet.errors import ConfigError, WeightsError
from moganet.models.choices import Choices
from moganet.models.description import ModelDescription
from moganet.models.formats.format import Format, differences
from moganet.models.formats.mm import (
    META,
    Said,
    config_of,
    how_tested,
    meta_of,
    networks_with,
    read_whole,
    say_strange,
    write_mm,
)
from moganet.models.formats.official import OFFICIAL
from moganet.models.reading.checkpoint import Checkpoint
from moganet.models.reading.contents import Content
from moganet.models.reading.heads import KEYPOINT, has_keypoint_head
from moganet.models.reading.mm_config import steps_of, values_at, values_of
from moganet.models.reading.networks import Network
from moganet.models.timms import default_names
from moganet.network import VARIANTS
from moganet.tasks.pose.description import PoseDescription

NEWER = "head."  # what mmpose 1 calls the head
SIZE_IN_NAME = re.compile(r"(?<!\d)(\d{2,4})x(\d{2,4})(?!\d)")  # height x width, as in the published files' names
# The reference's own: a person's box with a margin of a quarter, ImageNet's colours, OpenCV's pixels.
REFERENCE = Preprocessing(
    size=(256, 192), crop_mode="box", crop_fraction=0.8, interpolation="bilinear", antialias=False
)


def _networks(content: Content) -> list[Network]:
    """Give the networks for key points of a file, their heads under the older name."""
    found = networks_with(content, (KEYPOINT,), has_keypoint_head)
    return found or [_renamed(one) for one in networks_with(content, (NEWER,), _is_newer)]


def _is_newer(parts: Mapping[str, Any]) -> bool:
    return has_keypoint_head({name.replace(NEWER, KEYPOINT, 1): value for name, value in parts.items()})


def _renamed(network: Network) -> Network:
    named = {
        KEYPOINT + name.removeprefix(NEWER) if name.startswith(NEWER) else name: t for name, t in network.state.items()
    }
    return replace(network, state=named)


def is_mmpose(content: Content) -> bool:
    """Tell whether a file holds a network for key points with the reference's head."""
    return bool(_networks(content))


def read_mmpose(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content: the whole network, its key points, and how it was tested."""
    return read_whole("mmpose", content, choices, _networks(content), _said)


def _said(content: Content, architecture: Architecture) -> Said:
    values = values_of(config_of(meta_of(content)))
    _say_differences(values)
    names, task = _task(values, architecture.num_classes or 0)
    preprocessing, is_guess = _preprocessing(values, content.path)
    return Said(architecture, names, task, preprocessing, is_guess)


def _task(values: Mapping[str, Any], joints: int) -> tuple[tuple[str, ...] | None, PoseDescription]:
    """Give the key points' names where they are said, and what is answered: COCO's where 17 are not named."""
    info: Any = next(
        filter(None, (values_at(values, "data", part, "dataset_info") for part in ("test", "val", "train"))), {}
    )
    given = values_at(info, "keypoint_info")
    if not isinstance(given, dict) or len(given) != joints:
        names = COCO.names if joints == len(COCO.names) else default_names(joints)
        return None, PoseDescription(class_names=names)
    points = [given[key] for key in sorted(given, key=lambda key: _number(given[key], key))]
    names = tuple(str(values_at(one, "name")) for one in points)
    lines = [values_at(one, "link") for one in (values_at(info, "skeleton_info") or {}).values()]
    known = {
        "class_names": names,
        "lines": tuple((names.index(a), names.index(b)) for a, b in lines if a in names and b in names),
        "mirrored": tuple(
            names.index(swap) if (swap := values_at(one, "swap")) in names else i for i, one in enumerate(points)
        ),
        "sigmas": tuple(values_at(info, "sigmas") or ()),
    }
    try:
        return names, validate(PoseDescription, known, "its dataset_info")
    except ConfigError as error:
        raise WeightsError(f"its {META}'s config names its key points, but they can't be read: {error}") from None


def _number(point: Any, key: Any) -> int:
    number = values_at(point, "id")
    return number if isinstance(number, int) else int(key) if str(key).isdigit() else 0


def _say_differences(values: Mapping[str, Any]) -> None:
    """Say what a configuration tests by that is not computed here."""
    tested = values_at(values, "model", "test_cfg") or {}
    usual = {"post_process": ("default", True), "use_udp": (False,), "shift_heatmap": (True,)}
    strange = [
        f"{name}={tested[name]!r}" for name, known in usual.items() if name in tested and tested[name] not in known
    ]
    if strange:
        say_strange(", ".join(strange), "mmpose's")


def _preprocessing(values: Mapping[str, Any], path: Path) -> tuple[Preprocessing, bool]:
    """Give how images are prepared, and whether that is a guess: of the configuration, or by the file's name."""
    size = values_at(values, "data_cfg", "image_size") or values_at(values, "codec", "input_size")
    if not (isinstance(size, list | tuple) and len(size) == 2):
        named = SIZE_IN_NAME.search(path.name)
        return (REFERENCE.changed(size=(int(named[1]), int(named[2]))) if named else REFERENCE), True
    changes: dict[str, Any] = {"size": (size[1], size[0])}
    for step in steps_of(values.get("val_pipeline") or values.get("test_pipeline")):
        if step.get("type") == "NormalizeTensor":
            changes |= {name: step[name] for name in ("mean", "std") if isinstance(step.get(name), list | tuple)}
        if step.get("type") == "TopDownGetBboxCenterScale" and isinstance(step.get("padding"), int | float):
            changes["crop_fraction"] = 1 / step["padding"]
    with how_tested():
        return validate(Preprocessing, {**dict(REFERENCE), **changes}, f"its {META}'s config"), False


def write_mmpose(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write what mmpose 0 reads, with our description beside it. Raises ConfigError for another network."""
    warnings = differences(description.architecture, OFFICIAL, "the reference's networks for key points")
    if not fits(description.architecture):
        raise ConfigError("mmpose's layout is for networks with the head heatmap; write a model file")
    write_mm(path, state, description, {})
    return warnings


def fits(architecture: Architecture) -> bool:
    """Tell whether the layout knows a network."""
    return architecture.name in VARIANTS and isinstance(architecture.head, HeatmapHead)


FORMAT = Format("mmpose's .pth", is_mmpose, read_mmpose, write_mmpose, (".pth",), fits)
