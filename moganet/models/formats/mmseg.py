"""mmsegmentation's `.pth` of a whole segmenter: backbone, neck and heads in `state_dict`, its classes in `meta`.

The reference's ten published segmenters are such files. Where one says no more than its tensors, what the reference's
configurations say is taken, and said to be a guess.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from moganet.config import Architecture, FpnHead, UperHead
from moganet.data.ade20k import Colour, ade20k
from moganet.errors import ConfigError, WeightsError
from moganet.models.choices import Choices
from moganet.models.description import ModelDescription
from moganet.models.formats.format import Format, differences
from moganet.models.formats.mm import META, Said, meta_of, names_in, networks_with, read_whole, tested_as, write_mm
from moganet.models.formats.official import OFFICIAL
from moganet.models.reading.checkpoint import Checkpoint
from moganet.models.reading.contents import Content
from moganet.models.reading.heads import HEADS, has_head
from moganet.models.reading.mm_config import REFERENCE, Testing
from moganet.models.timms import default_names
from moganet.network import VARIANTS
from moganet.notices import say
from moganet.tasks.segment.description import SegmentDescription


def is_mmseg(content: Content) -> bool:
    """Tell whether a file holds a segmenter with one of the reference's heads."""
    return bool(networks_with(content, HEADS, has_head))


def read_mmseg(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content: the whole segmenter, its classes and colours, and how it was tested."""
    return read_whole("mmseg", content, choices, networks_with(content, HEADS, has_head), _said)


def _said(content: Content, architecture: Architecture) -> Said:
    meta = meta_of(content)
    tested = tested_as(meta, "mmsegmentation's")
    if isinstance(architecture.head, UperHead):
        architecture = architecture.changed(head=_with_pools(architecture.head, tested))
    names, task = _task(meta, architecture.num_classes or 0, tested)
    preprocessing = REFERENCE if tested is None else tested.preprocessing
    return Said(architecture, names, task, preprocessing, is_guess=tested is None)


def _with_pools(head: UperHead, tested: Testing | None) -> UperHead:
    """Give UPerNet the sides to which it pools; where nothing says them, the reference's."""
    if tested is not None and tested.pools is not None:
        return head.changed(pools=tested.pools)
    if len(head.pools) != len(UperHead().pools):
        told = f"its {META}'s config would say them (pool_scales)"
        raise WeightsError(f"it pools to {len(head.pools)} maps, of sides that it does not say; {told}")
    return head


def _task(
    meta: Mapping[str, Any], classes: int, tested: Testing | None
) -> tuple[tuple[str, ...] | None, SegmentDescription]:
    """Give the classes where they are said, and what is answered: ADE20K's where 150 are not named."""
    names, palette = names_in(meta), _palette(meta.get("PALETTE"))
    known, colours = ade20k()
    taken = names or (known if classes == len(known) else default_names(classes))
    if palette is not None and len(palette) != len(taken):
        but = f"for {len(taken)} classes: its palette is passed over"
        say(f"its {META} has {len(palette)} colours {but}", doubtful=True)
        palette = None
    if palette is None:
        palette = colours if taken == known else ()
    window = tested.window if tested is not None else None
    return names, SegmentDescription(class_names=taken, palette=palette, window=window)


def _palette(given: Any) -> tuple[Colour, ...] | None:
    """Give a list's colours; None where there is none, or what is there are no colours, which is said."""
    if given is None:
        return None
    with suppress(TypeError, ValueError):
        colours = [(int(red), int(green), int(blue)) for red, green, blue in given]
        if all(0 <= part <= 255 for colour in colours for part in colour):
            return tuple(colours)
    say(f"its {META} has a PALETTE that is no list of colours: it is passed over", doubtful=True)
    return None


def write_mmseg(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write what mmsegmentation reads, with our description beside it. Raises ConfigError for a head that it lacks."""
    warnings = differences(description.architecture, OFFICIAL, "the reference's segmenters")
    if not fits(description.architecture):
        raise ConfigError(
            "mmsegmentation's layout is for segmenters with the heads fpn and upernet; write a model file"
        )
    task = description.task
    assert isinstance(task, SegmentDescription)
    meta: dict[str, Any] = {"CLASSES": task.class_names}
    if task.palette:
        meta["PALETTE"] = [list(colour) for colour in task.palette]
    write_mm(path, state, description, meta)
    return warnings


def fits(architecture: Architecture) -> bool:
    """Tell whether the layout knows a network."""
    return architecture.name in VARIANTS and isinstance(architecture.head, FpnHead | UperHead)


FORMAT = Format("mmsegmentation's .pth", is_mmseg, read_mmseg, write_mmseg, (".pth",), fits)
