"""What a segmenter learns by: cross-entropy of each pixel, of the hardest ones, with weights of classes, and Dice."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moganet.data.masks_coding import IGNORED
from moganet.tasks.segment.description import SegmentLoss


class PixelLoss(nn.Module):
    """Logits (B, classes, h, w) and masks (B, H, W) of classes to a loss; logits are brought to the masks' size.

    Cross-entropy is averaged over all pixels, those of no class among them, as in mmsegmentation.
    """

    weights: Tensor | None

    def __init__(self, config: SegmentLoss, weights: Tensor | None = None) -> None:
        super().__init__()
        self.smoothing, self.hardest, self.dice = config.smoothing, config.hardest, config.dice
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Give the loss."""
        targets = masks.long()
        if logits.shape[2:] != targets.shape[1:]:
            logits = F.interpolate(logits, targets.shape[1:], mode="bilinear")
        how: dict[str, Any] = {"ignore_index": IGNORED, "label_smoothing": self.smoothing, "reduction": "none"}
        losses = F.cross_entropy(logits.float(), targets, self.weights, **how)
        loss = losses.mean() if self.hardest >= 1 else hardest(losses[targets != IGNORED], self.hardest)
        return loss + self.dice * dice_loss(logits, targets) if self.dice else loss


def hardest(losses: Tensor, share: float) -> Tensor:
    """Give the mean of the largest share of losses (N,), one at least (online hard example mining)."""
    if not len(losses):
        return losses.sum()
    return losses.topk(max(1, round(share * len(losses)))).values.mean()


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Give 1 minus the mean Dice coefficient of the classes that a batch has (Milletari et al. 2016)."""
    known = targets != IGNORED
    if not bool(known.any()):
        return logits.sum() * 0
    shares = logits.float().softmax(1) * known[:, None]
    truth = F.one_hot(targets.clamp(min=0), logits.shape[1]).movedim(-1, 1) * known[:, None]
    both, sizes = (shares * truth).sum((0, 2, 3)), (shares.square() + truth).sum((0, 2, 3))
    present = truth.sum((0, 2, 3)) > 0
    return 1 - (2 * both[present] / sizes[present].clamp(min=1e-6)).mean()


def class_weights(pixels: Tensor, *, power: float) -> Tensor:
    """Give each class the weight 1 / share ** power, scaled so that the mean over all pixels is 1.

    pixels: of each class (classes,); one without any has the weight 1.
    """
    shares = pixels.double() / pixels.sum().clamp(min=1)
    weights = torch.where(shares > 0, shares.clamp(min=1e-12) ** -power, torch.zeros_like(shares))
    weights = weights / (weights * shares).sum().clamp(min=1e-12)
    return torch.where(shares > 0, weights, torch.ones_like(weights)).float()
