"""Large images by tiles that overlap, each seen at the network's size, and what they found brought together; numpy.

The whole image is seen too: what is larger than the tiles' overlap is found there. Of a tile nothing is taken that ends
at an edge within the image: the next tile, or the whole, sees all of it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from moganet.tasks.detect.seeing import found_at
from moganet.tasks.overlaps import overlaps
from moganet.tasks.task import Array, Outputs
from moganet.tasks.windows import Window, windows

EDGE = 2.0  # pixels from a tile's edge, within which a box is cut off by it
OVERLAP = 0.25  # of a tile's side
Find = Callable[[NDArray[np.uint8]], Outputs]  # one image (C, H, W) to what it shows, in its own pixels


def tiles_of(side: int) -> Window:
    """Give square tiles that overlap by a quarter."""
    step = max(1, round(side * (1 - OVERLAP)))
    return Window(size=(side, side), stride=(step, step))


def by_tiles(pixels: NDArray[np.uint8], window: Window, find: Find, overlap: float) -> dict[str, Array]:
    """Find what an image (C, H, W) shows, whole and by tiles; of boxes of a class that overlap the surer is kept."""
    whole = find(pixels)
    found = [found_at(whole, 0)]
    found += (_of_tile(pixels, part, find) for part in windows((pixels.shape[1], pixels.shape[2]), window))
    together = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    order = best_of(together["boxes"], together["scores"], together["labels"], overlap)
    return {**{name: values[order][None] for name, values in together.items()}, "size": whole["size"]}


def _of_tile(pixels: NDArray[np.uint8], part: Sequence[slice], find: Find) -> dict[str, Array]:
    rows, columns = part
    found = found_at(find(np.ascontiguousarray(pixels[:, rows, columns])), 0)
    boxes = found["boxes"]
    inner = rows.start > 0, columns.start > 0, rows.stop < pixels.shape[1], columns.stop < pixels.shape[2]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    ends = boxes[:, 1] < EDGE, boxes[:, 0] < EDGE, boxes[:, 3] > height - EDGE, boxes[:, 2] > width - EDGE
    cut = np.any([within & end for within, end in zip(inner, ends, strict=True)], 0)
    shift = np.array([columns.start, rows.start] * 2, boxes.dtype)
    return {name: values[~cut] for name, values in {**found, "boxes": boxes + shift}.items()}


def best_of(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], labels: NDArray[np.integer], overlap: float
) -> list[int]:
    """Give the places of the boxes that are kept, the surest first: each with no surer one of its class over it."""
    kept: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        own = [one for one in kept if labels[one] == labels[place]]
        one, others = boxes[place : place + 1].astype(np.float64), boxes[own].astype(np.float64)
        if not own or (overlaps(one, others, np.zeros(len(own), bool)) <= overlap).all():
            kept.append(place)
    return kept
