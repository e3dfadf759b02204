"""`annotations`: a set of boxes in another layout: COCO's, YOLO's or PASCAL VOC's."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from moganet.data import open_data
from moganet.data.boxes_write import Layout, write_boxes
from moganet.errors import ConfigError, OutputError, choose_of
from moganet.notices import noted, say
from moganet.progress import Progress, no_progress
from moganet.results import Result

if TYPE_CHECKING:
    from moganet.data.in_python import Data


class Annotations(Result):
    """A set in another layout. data: what it was. out, layout: where, in which. images: by split. objects: of all."""

    data: str
    out: str
    layout: Layout
    images: dict[str, int]
    objects: int
    lost: tuple[str, ...]


@noted
def annotations(
    data: "Data", out: str | Path, layout: Layout, *, link: bool = False, progress: Progress = no_progress
) -> Annotations:
    """Write images and boxes as another layout has them; the folder appears whole or not at all.

    link: link images instead of copying them. What the layout can't hold is said, and counted in `lost`.
    """
    out = Path(out)
    if layout not in get_args(Layout):
        raise ConfigError(f"there is no layout {layout!r} to write; {choose_of(layout, get_args(Layout))}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} is there already; choose a folder that is new or empty")
    dataset = open_data(data)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{out.name[:40]}.partial-"
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=prefix, ignore_cleanup_errors=True) as made:
            whole = Path(made, "set")  # with the permissions that a new folder has here
            whole.mkdir()
            lost = write_boxes(dataset, whole, layout, link=link, progress=progress)
            os.replace(whole, out)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"can't write {out}: {reason}; choose another place or make room") from None
    for note in lost:
        say(note, doubtful=True)
    splits = dataset.distinct()
    marked = [split.targets.marked() for split in splits.values()]
    return Annotations(
        data=dataset.spec,
        out=str(out),
        layout=layout,
        images={name: len(split) for name, split in splits.items()},
        objects=sum(int(of.classes.sum()) + of.crowds for of in marked if of is not None),
        lost=tuple(lost),
    )
