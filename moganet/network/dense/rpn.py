"""The network that proposes boxes (Ren et al. 2015), on a feature pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moganet.config import RoiHead
from moganet.network.dense.boxes import RATIOS, UNIT, anchors_on, base_anchors, decode, encode, rows_of
from moganet.network.dense.kept import NOTHING, best, kept, take
from moganet.network.dense.matching import Drawn, Limits, Objects, Sampling, Size, draw, inside, matched_inside

OVERLAP = 0.7  # from which on only the better of two proposals of a level is kept
CANDIDATES = {False: 1000, True: 2000}  # of each level, at test and in training
LIMITS = Limits(positive=0.7, negative=0.3, best=0.3)
BETA = 1 / 9  # of a cascade's loss: where it becomes linear


class RpnHead(nn.Module):
    """Maps of a pyramid to proposals. strides: of the maps, the finest first."""

    def __init__(self, head: RoiHead, strides: Sequence[int]) -> None:
        super().__init__()
        self.head, self.strides = head, tuple(strides)
        self.is_cascade = head.stages > 1
        self.rpn_conv = nn.Conv2d(head.neck, head.neck, 3, padding=1)
        self.rpn_cls = nn.Conv2d(head.neck, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(head.neck, len(RATIOS) * 4, 1)
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Give each level's logits (B, 3, h, w) and differences (B, 12, h, w)."""
        shared = [F.relu(self.rpn_conv(x)) for x in maps]
        return [self.rpn_cls(x) for x in shared], [self.rpn_reg(x) for x in shared]

    def anchors(self, maps: list[Tensor]) -> list[Tensor]:
        """Give each level's anchors (h * w * 3, 4)."""
        return [
            anchors_on(base_anchors(stride, [self.head.scale]), x, stride)
            for x, stride in zip(maps, self.strides, strict=True)
        ]

    def propose(
        self, given: tuple[list[Tensor], list[Tensor]], anchors: list[Tensor], sizes: Tensor, number: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Give for each image its best boxes (number, 4) and which are there, by what `forward` gave.

        sizes: (B, 2), each image's own height and width. number: that of training; None is the head's own.
        """
        rows = [rows_of(x, 1) for x in given[0]], [rows_of(x, 4) for x in given[1]]
        return [
            self._of_one([x[i, :, 0] for x in rows[0]], [x[i] for x in rows[1]], anchors, sizes[i], number)
            for i in range(given[0][0].shape[0])
        ]

    def _of_one(
        self, logits: list[Tensor], shifts: list[Tensor], anchors: list[Tensor], size: Tensor, number: int | None
    ) -> tuple[Tensor, Tensor]:
        scores, boxes, levels = [], [], []
        for level, (own, shift, base) in enumerate(zip(logits, shifts, anchors, strict=True)):
            values, places = best(own.sigmoid(), CANDIDATES[number is not None])
            decoded = decode(base[places], shift[places], UNIT, size)
            is_box = (decoded[:, 2:] > decoded[:, :2]).all(1)
            scores.append(values.masked_fill(~is_box, NOTHING))
            boxes.append(decoded)
            levels.append(torch.full_like(places, level))
        every = torch.cat(boxes)
        chosen = kept(every, torch.cat(scores), torch.cat(levels), OVERLAP, number or self.head.proposals)
        return take(every, chosen), chosen >= 0

    def losses(
        self,
        given: tuple[list[Tensor], list[Tensor]],
        anchors: list[Tensor],
        sizes: Sequence[tuple[Size, Size]],
        targets: Sequence[Objects],
        sampling: Sampling,
    ) -> dict[str, Tensor]:
        """Give the losses of what `forward` gave. sizes: of each image, and of its own, padded part."""
        every, limits = torch.cat(anchors), LIMITS._replace(best=sampling.rpn_least)
        drawn = []
        for (size, padded), objects in zip(sizes, targets, strict=True):
            owners = matched_inside(every, self.valid(anchors, given[0], size, padded), objects.boxes, limits)
            drawn.append(draw(owners, sampling.rpn, sampling.rpn_positive))
        return self.losses_of(given, every, targets, drawn)

    def valid(self, anchors: list[Tensor], maps: list[Tensor], size: Size, padded: Size) -> Tensor:
        """Tell which anchors of an image may learn. padded: the size of its own, padded part."""
        valid = inside(anchors, maps, self.strides, padded)
        if self.is_cascade:  # whose anchors must moreover lie within the image
            every = torch.cat(anchors)
            ends = every.new_tensor([size[1], size[0]])
            valid &= (every[:, :2] >= 0).all(1) & (every[:, 2:] < ends).all(1)
        return valid

    def losses_of(
        self,
        given: tuple[list[Tensor], list[Tensor]],
        anchors: Tensor,
        targets: Sequence[Objects],
        drawn: Sequence[Drawn],
    ) -> dict[str, Tensor]:
        """Give the losses over the anchors that were drawn, divided by their number."""
        logits, shifts = (torch.cat([rows_of(x, n) for x in maps], 1) for maps, n in zip(given, (1, 4), strict=True))
        sums, number = [logits.new_zeros(()), logits.new_zeros(())], 0
        for i, (objects, own) in enumerate(zip(targets, drawn, strict=True)):
            wanted = torch.zeros_like(logits[i, own.places, 0])
            wanted[: len(own.positive)] = 1
            sums[0] = sums[0] + F.binary_cross_entropy_with_logits(logits[i, own.places, 0], wanted, reduction="sum")
            moves = encode(anchors[own.positive], objects.boxes[own.owners[own.positive]], UNIT)
            sums[1] = sums[1] + self._apart(shifts[i, own.positive], moves)
            number += max(len(own.positive), 1) + max(len(own.negative), 1)
        return {"loss_rpn_cls": sums[0] / number, "loss_rpn_bbox": sums[1] / number}

    def _apart(self, given: Tensor, wanted: Tensor) -> Tensor:
        if self.is_cascade:
            return F.smooth_l1_loss(given, wanted, reduction="sum", beta=BETA)
        return F.l1_loss(given, wanted, reduction="sum")
