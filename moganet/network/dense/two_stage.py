"""One head that looks at proposals, or a cascade of three, each on the boxes of the one before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss, roi_align

from moganet.config import RoiHead
from moganet.network.dense.boxes import Deviations, decode, encode
from moganet.network.dense.kept import NOTHING, best, chosen_of
from moganet.network.dense.matching import Limits, Objects, Sampling, Size, draw, match
from moganet.network.dense.roi import BOX_SIDE, MASK_SIDE, BoxLook, MaskLook, of_class, parts_of

CANDIDATES = 10_000  # pairs of box and class among which the kept ones are sought
GIOU = 10.0  # the factor of the loss of decoded boxes
BETA = 1.0  # of a cascade's loss: where it becomes linear


@dataclass(frozen=True)
class Stage:
    """How a head's boxes are told, what it learns of which, and how much its losses count."""

    deviations: Deviations
    limits: Limits
    weight: float = 1.0


ONE = (Stage((0.1, 0.1, 0.2, 0.2), Limits(0.5, 0.5, best=0.5)),)
CASCADE = (
    Stage((0.1, 0.1, 0.2, 0.2), Limits(0.5, 0.5, best=None)),
    Stage((0.05, 0.05, 0.1, 0.1), Limits(0.6, 0.6, best=None), weight=0.5),
    Stage((0.033, 0.033, 0.067, 0.067), Limits(0.7, 0.7, best=None), weight=0.25),
)


class Learned(NamedTuple):
    """An image's boxes that learn, those with objects first: whose these are; and which of all are objects' own."""

    objects: Objects
    boxes: Tensor
    owners: Tensor
    is_own: Tensor

    @property
    def named(self) -> Tensor:
        """Give the class of each box with an object."""
        return self.objects.labels[self.owners]

    def labels(self, background: int) -> Tensor:
        """Give a label for each of the boxes."""
        labels = torch.full_like(self.is_own, background, dtype=torch.long)
        labels[: len(self.owners)] = self.named
        return labels


class Looks(nn.Module):
    """The heads that look at proposals: `bbox_head` and `mask_head`, of a cascade three of each."""

    def __init__(self, head: RoiHead, strides: Sequence[int], classes: int) -> None:
        super().__init__()
        self.head, self.strides, self.classes = head, tuple(strides), classes
        self.is_cascade = head.stages > 1
        self.stages = CASCADE if self.is_cascade else ONE
        self.bbox_head = self._made(BoxLook, classes)
        if head.masks:
            self.mask_head = self._made(MaskLook, classes)

    def _made(self, kind: Any, classes: int) -> nn.Module:
        if not self.is_cascade:
            made: nn.Module = kind(self.head, classes)
            return made
        return nn.ModuleList(kind(self.head, classes) for _ in self.stages)

    def box_looks(self) -> list[nn.Module]:
        """Give the heads of boxes, a stage each."""
        return list(self.bbox_head.children()) if self.is_cascade else [self.bbox_head]

    def mask_looks(self) -> list[nn.Module]:
        """Give the heads of masks, a stage each."""
        return list(self.mask_head.children()) if self.is_cascade else [self.mask_head]

    def look(self, stage: int, maps: list[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the logits and differences of all images' boxes by a stage's head."""
        found: tuple[Tensor, Tensor] = self.box_looks()[stage](parts_of(maps, self.strides, boxes, BOX_SIDE))
        return found

    def refined(self, stage: int, boxes: Tensor, labels: Tensor, differences: Tensor, size: Tensor) -> Tensor:
        """Give an image's boxes as a stage's head moves them, for labels (N,)."""
        return decode(boxes, of_class(differences, labels), self.stages[stage].deviations, size)

    # At test

    def find(self, maps: list[Tensor], proposals: Sequence[tuple[Tensor, Tensor]], sizes: Tensor) -> dict[str, Tensor]:
        """Find the boxes of images, and their masks. As Detector.forward; proposals: as RpnHead.propose gives them."""
        boxes, counts = [own for own, _ in proposals], [len(own) for own, _ in proposals]
        summed: Any = 0
        for stage in range(len(self.stages)):
            logits, differences = self.look(stage, maps, boxes)
            summed = summed + logits
            moves = torch.split(differences, counts)
            if stage < len(self.stages) - 1:
                labels = torch.split(logits[:, :-1].argmax(1), counts)
                boxes = [
                    self.refined(stage, own, named, moved, size)
                    for own, named, moved, size in zip(boxes, labels, moves, sizes, strict=True)
                ]
        scores = torch.split((summed / len(self.stages)).softmax(1)[:, :-1], counts)
        there = [is_there for _, is_there in proposals]
        found = [self._of_one(*each) for each in zip(boxes, moves, scores, there, sizes, strict=True)]
        named = {name: torch.stack([one[name] for one in found]) for name in found[0]}
        return {**named, "masks": self.masks_of(maps, named)} if self.head.masks else named

    def _of_one(
        self, boxes: Tensor, differences: Tensor, scores: Tensor, there: Tensor, size: Tensor
    ) -> dict[str, Tensor]:
        is_found = (scores > self.head.score) & there[:, None]
        values, places = best(torch.where(is_found, scores, NOTHING).flatten(), CANDIDATES)
        own, labels = places // self.classes, places % self.classes
        decoded = self.refined(len(self.stages) - 1, boxes[own], labels, differences[own], size)
        return chosen_of(decoded, values, labels, self.head.overlap, self.head.most)

    def masks_of(self, maps: list[Tensor], found: dict[str, Tensor]) -> Tensor:
        """Give the masks (B, K, 28, 28) of boxes (B, K, 4) and labels (B, K), as probabilities."""
        labels = found["labels"]
        parts = parts_of(maps, self.strides, list(found["boxes"]), MASK_SIDE)
        masks = [of_class(look(parts), labels.flatten()).sigmoid() for look in self.mask_looks()]
        return torch.stack(masks).mean(0).reshape(*labels.shape, *masks[0].shape[1:])

    # In training

    def losses(
        self,
        maps: list[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[Size],
        targets: Sequence[Objects],
        sampling: Sampling,
    ) -> dict[str, Tensor]:
        """Give the losses of all stages, of a cascade's as "s0.loss_cls" and so on."""
        losses: dict[str, Tensor] = {}
        boxes = list(proposals)
        for number, stage in enumerate(self.stages):
            drawn = self._drawn(stage, boxes, targets, sampling)
            found, logits, differences = self._losses_of(number, maps, drawn)
            prefix = f"s{number}." if self.is_cascade else ""
            losses |= {f"{prefix}{name}": stage.weight * loss for name, loss in found.items()}
            if number < len(self.stages) - 1:
                boxes = self._refined_all(number, drawn, logits.detach(), differences.detach(), sizes)
        return losses

    def _drawn(
        self, stage: Stage, boxes: Sequence[Tensor], targets: Sequence[Objects], sampling: Sampling
    ) -> list[Learned]:
        """Draw each image's boxes that learn, its objects' own among them."""
        drawn = []
        for own, objects in zip(boxes, targets, strict=True):
            every = torch.cat([objects.boxes, own])
            number = len(objects.boxes)
            owners = match(every, objects.boxes, stage.limits)
            owners[:number] = torch.arange(number, device=own.device)
            chosen = draw(owners, sampling.rois, sampling.roi_positive)
            drawn.append(Learned(objects, every[chosen.places], owners[chosen.positive], chosen.places < number))
        return drawn

    def _losses_of(
        self, number: int, maps: list[Tensor], drawn: Sequence[Learned]
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        boxes = [one.boxes for one in drawn]
        logits, differences = self.look(number, maps, boxes)
        labels = torch.cat([one.labels(self.classes) for one in drawn])
        positive = labels < self.classes
        own = torch.cat(boxes)[positive]
        wanted = torch.cat([one.objects.boxes[one.owners] for one in drawn])
        moved = of_class(differences[positive], labels[positive])
        losses = {
            "loss_cls": F.cross_entropy(logits, labels) if len(labels) else logits.sum(),
            "loss_bbox": self._apart(number, own, moved, wanted) / max(len(labels), 1),
        }
        if self.head.masks:
            losses["loss_mask"] = self._mask_loss(number, maps, drawn)
        return losses, logits, differences

    def _apart(self, number: int, boxes: Tensor, moved: Tensor, wanted: Tensor) -> Tensor:
        deviations = self.stages[number].deviations
        if self.head.convs:  # the reference's heads with convolutions learn by boxes, and not by differences
            apart: Tensor = generalized_box_iou_loss(decode(boxes, moved, deviations), wanted, "sum")
            return GIOU * apart
        differences = encode(boxes, wanted, deviations)
        if self.is_cascade:
            return F.smooth_l1_loss(moved, differences, reduction="sum", beta=BETA)
        return F.l1_loss(moved, differences, reduction="sum")

    def _mask_loss(self, number: int, maps: list[Tensor], drawn: Sequence[Learned]) -> Tensor:
        own = [one.boxes[: len(one.owners)] for one in drawn]
        logits: Tensor = self.mask_looks()[number](parts_of(maps, self.strides, own, MASK_SIDE))
        if not len(logits):
            return logits.sum()
        named = torch.cat([one.named for one in drawn])
        wanted = [mask_targets(boxes, one.objects, one.owners) for boxes, one in zip(own, drawn, strict=True)]
        return F.binary_cross_entropy_with_logits(of_class(logits, named), torch.cat(wanted))

    def _refined_all(
        self,
        number: int,
        drawn: Sequence[Learned],
        logits: Tensor,
        differences: Tensor,
        sizes: Sequence[Size],
    ) -> list[Tensor]:
        """Give the boxes that the next stage learns by: this one's, but for the objects' own."""
        counts, refined = [len(one.boxes) for one in drawn], []
        labels = torch.split(logits[:, :-1].argmax(1), counts)
        for one, names, moves, size in zip(drawn, labels, torch.split(differences, counts), sizes, strict=True):
            names[: len(one.owners)] = one.named
            moved = self.refined(number, one.boxes, names, moves, one.boxes.new_tensor(size))
            refined.append(moved[~one.is_own])
        return refined


def mask_targets(boxes: Tensor, objects: Objects, owners: Tensor) -> Tensor:
    """Give what masks of boxes (N, 4) shall be, (N, 28, 28) of 0 and 1: what their objects' own have there."""
    assert objects.masks is not None  # as Detector.losses saw
    numbers = torch.arange(len(boxes), device=boxes.device)[:, None].to(boxes)
    own = objects.masks[owners][:, None].to(boxes.dtype)
    found: Tensor = roi_align(own, torch.cat([numbers, boxes], 1), 2 * MASK_SIDE, 1.0, sampling_ratio=0, aligned=True)
    return (found[:, 0] >= 0.5).to(boxes.dtype)
