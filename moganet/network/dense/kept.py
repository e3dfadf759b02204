"""Which boxes are kept: the best of those that overlap, as an operation whose answer has a length known beforehand.

So that a detector can be traced into a graph, and asked for its cost, no shape in it depends on what an image shows.
"""

import torch
from torch import Tensor
from torchvision.ops import nms

from moganet.network.dense.layers import is_traced

NOTHING = -1.0  # the score of a place without a box


@torch.library.custom_op("moganet::kept", mutates_args=())
def kept(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, most: int) -> Tensor:
    """Give the places (most,) of the boxes that are kept, the best first, and -1 behind them.

    boxes: (N, 4). scores: (N,), those below 0 are no boxes. groups: (N,), only boxes of one group compete.
    """
    found = (scores >= 0).nonzero()[:, 0]
    places = found[nms(apart(boxes[found], groups[found]), scores[found], overlap)[:most]]
    return torch.cat([places, places.new_full((most - len(places),), -1)])


@kept.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, most: int) -> Tensor:
    return boxes.new_empty((most,), dtype=torch.long)


def apart(boxes: Tensor, groups: Tensor) -> Tensor:
    """Move boxes so that those of different groups do not overlap, as the reference does."""
    if not len(boxes):
        return boxes
    return boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]


def best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Give the highest of scores (N,) and their places; of fewer than `number` all, and in a graph nothing for more."""
    if is_traced():
        scores = torch.cat([scores, scores.new_full((number,), NOTHING)])
        values, places = scores.topk(number)
        return values, places.clamp(max=scores.shape[0] - number - 1)
    values, places = scores.topk(min(number, len(scores)))
    return values, places


def take(values: Tensor, places: Tensor) -> Tensor:
    """Give rows (K, …) of values by their places, and some row for -1."""
    return values[places.clamp(min=0)]


def chosen_of(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, most: int) -> dict[str, Tensor]:
    """Give an image's best boxes (most, 4), their scores and labels, and 0 and -1 behind them."""
    places = kept(boxes, scores, labels, overlap, most)
    there = places >= 0
    return {
        "boxes": torch.where(there[:, None], take(boxes, places), 0),
        "scores": torch.where(there, take(scores, places), 0),
        "labels": torch.where(there, take(labels, places), -1),
    }
