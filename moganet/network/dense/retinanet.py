"""RetinaNet's head (Lin et al. 2017): which class each place's nine anchors hold, and where it lies."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from moganet.config import RetinaHead
from moganet.network.dense.boxes import RATIOS, UNIT, anchors_on, base_anchors, decode, encode, rows_of
from moganet.network.dense.kept import NOTHING, best, chosen_of
from moganet.network.dense.layers import Conv
from moganet.network.dense.matching import Limits, Objects, Size, inside, matched_inside

OCTAVE = 3  # anchors of each shape
PRIOR = 0.01  # the score that training begins with
CANDIDATES = 1000  # of each level
LIMITS = Limits(positive=0.5, negative=0.4, best=0.0)


class RetinaNetHead(nn.Module):
    """Maps of a pyramid to boxes of classes. strides: of the maps, the finest first."""

    def __init__(self, head: RetinaHead, strides: Sequence[int], classes: int) -> None:
        super().__init__()
        self.head, self.strides, self.classes = head, tuple(strides), classes
        number = OCTAVE * len(RATIOS)
        self.cls_convs = nn.ModuleList(Conv(head.neck, head.neck, 3) for _ in range(head.convs))
        self.reg_convs = nn.ModuleList(Conv(head.neck, head.neck, 3) for _ in range(head.convs))
        self.retina_cls = nn.Conv2d(head.neck, number * classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(head.neck, number * 4, 3, padding=1)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.normal_(conv.weight, std=0.01)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Give each level's logits (B, 9 * classes, h, w) and differences (B, 36, h, w)."""
        return [self._through(self.cls_convs, self.retina_cls, x) for x in maps], [
            self._through(self.reg_convs, self.retina_reg, x) for x in maps
        ]

    def _through(self, convs: nn.ModuleList, last: nn.Conv2d, x: Tensor) -> Tensor:
        for conv in convs:
            x = F.relu(conv(x))
        y: Tensor = last(x)
        return y

    def anchors(self, maps: list[Tensor]) -> list[Tensor]:
        """Give each level's anchors (h * w * 9, 4)."""
        scales = [self.head.scale * 2 ** (i / OCTAVE) for i in range(OCTAVE)]
        return [
            anchors_on(base_anchors(stride, scales), x, stride) for x, stride in zip(maps, self.strides, strict=True)
        ]

    def find(self, maps: list[Tensor], sizes: Tensor) -> dict[str, Tensor]:
        """Find the boxes of images. sizes: (B, 2), each image's own height and width. As Detector.forward."""
        logits, differences = self(maps)
        return self.chosen(logits, differences, self.anchors(maps), sizes)

    def chosen(
        self, logits: list[Tensor], differences: list[Tensor], anchors: list[Tensor], sizes: Tensor
    ) -> dict[str, Tensor]:
        """Choose boxes by what `forward` gave."""
        rows = [rows_of(x, self.classes) for x in logits], [rows_of(x, 4) for x in differences]
        found = [
            self._of_one([x[i] for x in rows[0]], [x[i] for x in rows[1]], anchors, sizes[i])
            for i in range(logits[0].shape[0])
        ]
        return {name: torch.stack([one[name] for one in found]) for name in found[0]}

    def _of_one(
        self, logits: list[Tensor], differences: list[Tensor], anchors: list[Tensor], size: Tensor
    ) -> dict[str, Tensor]:
        head, scores, labels, boxes = self.head, [], [], []
        for own, shift, base in zip(logits, differences, anchors, strict=True):
            probabilities = own.float().sigmoid().flatten()  # anchor by anchor, class by class
            probabilities = probabilities.masked_fill(probabilities <= head.score, NOTHING)
            values, places = best(probabilities, CANDIDATES)
            anchor = places // self.classes
            scores.append(values)
            labels.append(places % self.classes)
            boxes.append(decode(base[anchor], shift[anchor], UNIT, size))
        return chosen_of(torch.cat(boxes), torch.cat(scores), torch.cat(labels), head.overlap, head.most)

    def losses(self, maps: list[Tensor], sizes: Sequence[Size], targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Give the losses of classes and boxes, each over the batch's number of anchors with objects.

        sizes: of each image's own, padded part. Unlike torchvision's, not image by image.
        """
        logits, differences = self(maps)
        by_level = self.anchors(maps)
        anchors = torch.cat(by_level)
        rows = (
            torch.cat([rows_of(x, self.classes) for x in logits], 1),
            torch.cat([rows_of(x, 4) for x in differences], 1),
        )
        sums, number = [anchors.new_zeros(()), anchors.new_zeros(())], 0
        for i, (size, objects) in enumerate(zip(sizes, targets, strict=True)):
            valid = inside(by_level, maps, self.strides, size)
            owners = matched_inside(anchors, valid, objects.boxes, LIMITS)
            positive = (owners >= 0).nonzero()[:, 0]
            wanted = torch.zeros_like(rows[0][i])
            wanted[positive, objects.labels[owners[positive]]] = 1
            learns = owners >= -1
            sums[0] = sums[0] + sigmoid_focal_loss(rows[0][i][learns], wanted[learns], 0.25, 2, "sum")
            moves = encode(anchors[positive], objects.boxes[owners[positive]], UNIT)
            sums[1] = sums[1] + F.l1_loss(rows[1][i][positive], moves, reduction="sum")
            number += max(len(positive), 1)
        return {"loss_cls": sums[0] / number, "loss_bbox": sums[1] / number}
