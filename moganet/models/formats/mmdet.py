"""mmdetection's `.pth` of a whole detector: backbone, neck and heads in `state_dict`, its classes in `meta`.

The reference's published detectors are such files. Where one says no more than its tensors, what the reference's
configurations say is taken, and said to be a guess.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from moganet.config import Architecture, BoxHead, Preprocessing, RoiHead
from moganet.data.coco80 import coco80
from moganet.errors import ConfigError
from moganet.models.choices import Choices
from moganet.models.description import ModelDescription
from moganet.models.formats.format import Format, differences
from moganet.models.formats.mm import (
    Said,
    how_tested,
    meta_of,
    names_in,
    networks_with,
    read_whole,
    tested_as,
    write_mm,
)
from moganet.models.formats.official import OFFICIAL
from moganet.models.reading.checkpoint import Checkpoint
from moganet.models.reading.contents import Content
from moganet.models.reading.finders import FINDERS, has_finder
from moganet.models.reading.mm_config import Testing, values_at
from moganet.models.timms import default_names
from moganet.network import VARIANTS
from moganet.notices import say
from moganet.tasks.detect.description import DetectDescription

# The reference's own: 1333x800, whole images, ImageNet's colours, OpenCV's pixels; zeros make multiples of 32.
REFERENCE = Preprocessing(size=(800, 1333), crop_mode="fit", interpolation="bilinear", antialias=False)
# What mm's `test_cfg` calls a head's settings, and under which keys a detector of two stages keeps them.
SETTINGS = {"score": ("score_thr",), "overlap": ("nms", "iou_threshold"), "most": ("max_per_img",)}
SECOND, FIRST = "rcnn", "rpn"


def is_mmdet(content: Content) -> bool:
    """Tell whether a file holds a detector with one of the reference's heads."""
    return bool(networks_with(content, FINDERS, has_finder))


def read_mmdet(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content: the whole detector, its classes, and how it was tested."""
    return read_whole("mmdet", content, choices, networks_with(content, FINDERS, has_finder), _said)


def _said(content: Content, architecture: Architecture) -> Said:
    meta = meta_of(content)
    tested = tested_as(meta, "mmdetection's")
    assert isinstance(architecture.head, BoxHead)
    architecture = architecture.changed(head=_as_tested(architecture.head, tested))
    names, task = _task(meta, architecture.num_classes or 0)
    preprocessing = REFERENCE if tested is None else tested.preprocessing
    return Said(architecture, names, task, preprocessing, is_guess=tested is None)


def _as_tested(head: BoxHead, tested: Testing | None) -> BoxHead:
    """Give a head the thresholds with which it was tested, where its configuration says them."""
    settings = {} if tested is None else tested.settings
    own = settings.get(SECOND, {}) if isinstance(head, RoiHead) else settings
    found = {name: values_at(own, *keys) for name, keys in SETTINGS.items()}
    if isinstance(head, RoiHead):
        found["proposals"] = values_at(settings, FIRST, "max_per_img")
    if (kind := values_at(own, "nms", "type")) not in (None, "nms"):
        say(f"its configuration has {str(kind)[:40]}, and plain nms is computed here", doubtful=True)
    with how_tested():
        return head.changed(**{name: value for name, value in found.items() if value is not None})


def _task(meta: Mapping[str, Any], classes: int) -> tuple[tuple[str, ...] | None, DetectDescription]:
    """Give the classes where they are said, and what is answered: COCO's where 80 are not named."""
    names, (known, numbers) = names_in(meta), coco80()
    taken = names or (known if classes == len(known) else default_names(classes))
    return names, DetectDescription(class_names=taken, category_ids=numbers if taken == known else ())


def write_mmdet(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write what mmdetection reads, with our description beside it. Raises ConfigError for a head that it lacks."""
    warnings = differences(description.architecture, OFFICIAL, "the reference's detectors")
    if not fits(description.architecture):
        raise ConfigError("mmdetection's layout is for detectors over a MogaNet; write a model file")
    write_mm(path, state, description, {"CLASSES": description.class_names})
    return warnings


def fits(architecture: Architecture) -> bool:
    """Tell whether the layout knows a network."""
    return architecture.name in VARIANTS and isinstance(architecture.head, BoxHead)


FORMAT = Format("mmdetection's .pth", is_mmdet, read_mmdet, write_mmdet, (".pth",), fits)
