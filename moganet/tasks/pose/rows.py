"""What is marked and what is found, as rows of numbers that processes exchange and reports keep.

A row of what is found: image, thing, box with its score (5), x, y and score of each key point (3K). Of what is marked:
image, thing, box (4), area, whether it is many at once, x, y and mark of each key point (3K).
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.tasks.overlaps import overlaps
from moganet.tasks.pose.heatmaps import decoded, in_image
from moganet.tasks.pose.oks import Poses, Truth

FOUND, MARKED = 7, 8  # numbers before the key points
OVERLAP = 0.5  # IoU, from which on a box is one of a marked thing
Rows = NDArray[np.float64]


def found_rows(heatmaps: Tensor, images: Tensor, things: Tensor, boxes: Tensor, parts: Tensor) -> Tensor:
    """Give a row for each of the heat maps (N, K, h, w). boxes (N, 5), parts (N, 4): as `see` gives them."""
    maps = heatmaps.float().cpu().numpy()
    points = in_image(decoded(maps), parts.cpu().numpy(), maps.shape[2:])
    ids = torch.stack([images.cpu(), things.cpu()], 1).double()
    return torch.cat([ids, boxes.cpu().double(), torch.from_numpy(points.reshape(len(points), points.shape[1] * 3))], 1)


def marked_rows(target: Mapping[str, Tensor]) -> Tensor:
    """Give a row for each thing of an image."""
    number = len(target["boxes"])
    ids = torch.stack([target["image"].expand(number), torch.arange(number)], 1).double()
    rest = torch.stack([target["areas"], target["crowds"].double()], 1)
    return torch.cat([ids, target["boxes"], rest, target["points"].flatten(1)], 1)


def marked_in_crops(targets: Mapping[str, Tensor]) -> Tensor:
    """Give the rows of the things of which crops are."""
    ids = torch.stack([targets["image"], targets["thing"]], 1).double().cpu()
    rest = torch.stack([targets["area"], torch.zeros_like(targets["area"])], 1).cpu()
    return torch.cat([ids, targets["box"].cpu(), rest, targets["points"].flatten(1).cpu()], 1)


def of_image(outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Give the rows of what was found in an image; of other boxes than those marked it is of no marked thing."""
    is_marked = (target["points"][..., 2] > 0).any(1) & ~target["crowds"]
    things, boxes = torch.nonzero(is_marked)[:, 0], outputs["boxes"].double()
    if len(boxes) != len(things) or not torch.equal(boxes[:, :4], target["boxes"][things]):
        things = torch.arange(len(boxes)) + len(is_marked)
    images = target["image"].expand(len(boxes))
    return found_rows(outputs["heatmaps"], images, things, boxes, outputs["parts"])


def once(rows: Tensor) -> Rows:
    """Give rows but once each, and none that begins with NaN: several processes may have seen a thing twice."""
    every = rows.cpu().double().numpy()
    every = every[~np.isnan(every[:, 0])]
    _, first = np.unique(every[:, :2], axis=0, return_index=True)
    return np.asarray(every[np.sort(first)])


def told(found: Rows, marked: Rows, joints: int) -> tuple[Truth, Poses]:
    """Give rows by their parts."""
    points = marked[:, MARKED:].reshape(-1, joints, 3)
    truth = Truth(marked[:, 0].astype(np.int64), marked[:, 2:6], points, marked[:, 6], marked[:, 7] > 0)
    return truth, Poses(found[:, 0].astype(np.int64), found[:, FOUND:].reshape(-1, joints, 3), found[:, 2:FOUND])


def paired(found: Rows, marked: Rows) -> tuple[Rows, Rows]:
    """Give the rows of the things of which both are known, in one order.

    What was found in other boxes than those marked is of the thing whose box overlaps its own most, by half at least.
    """
    place = {(row[0], row[1]): i for i, row in enumerate(marked)}
    known = {i: place[row[0], row[1]] for i, row in enumerate(found) if (row[0], row[1]) in place}
    single = (marked[:, 7] == 0) & (marked[:, MARKED + 2 :: 3] > 0).any(1)
    single[list(known.values())] = False
    others = np.array([i not in known for i in range(len(found))], bool)
    for image in np.unique(found[others, 0]):
        own = np.flatnonzero((found[:, 0] == image) & others)
        things = np.flatnonzero((marked[:, 0] == image) & single)
        alike = overlaps(_corners(found[own]), _corners(marked[things]), np.zeros(len(things), bool))
        while alike.size and alike.max() >= OVERLAP:
            i, j = np.unravel_index(alike.argmax(), alike.shape)
            known[int(own[i])] = int(things[j])
            alike[i], alike[:, j] = 0, 0
    both = sorted(known.items())
    return found[[i for i, _ in both]], marked[[i for _, i in both]]


def _corners(rows: Rows) -> Rows:
    return np.column_stack([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]])
