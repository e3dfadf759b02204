"""What a network for key points learns by: the squared difference of heat maps."""

import torch
from torch import Tensor, nn

from moganet.tasks.pose.description import PoseLoss

REACH = 3  # deviations, beyond which a bell is 0


class HeatmapLoss(nn.Module):
    """Heat maps (B, K, h, w) and places (B, K, 3) in the crop of size (H, W) to a loss, the mean over all values."""

    def __init__(self, config: PoseLoss, size: tuple[int, int]) -> None:
        super().__init__()
        self.sigma, self.size = config.sigma, size

    def forward(self, heatmaps: Tensor, places: Tensor) -> Tensor:
        """Give the loss: maps of key points that are not marked, or lie outside, count as equal."""
        target, weight = bells(places, self.size, (heatmaps.shape[2], heatmaps.shape[3]), self.sigma)
        difference = (heatmaps.float() - target) * weight[..., None, None]
        return difference.square().mean()


def bells(places: Tensor, size: tuple[int, int], map_size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """Give heat maps (B, K, h, w) of places (B, K, 3), and which of them count (B, K).

    A bell of height 1 at the nearest place, within three deviations along x and y; one that touches the map counts.
    size: of the crop (H, W). map_size: of the maps (h, w).
    """
    (height, width), reach = map_size, int(REACH * sigma)
    strides = places.new_tensor([size[1] / width, size[0] / height])
    middles = (places[..., :2] / strides + 0.5).trunc()  # towards 0, as the reference's int()
    steps = [torch.arange(side, device=places.device, dtype=places.dtype) for side in (width, height)]
    away = [step - middles[..., i, None] for i, step in enumerate(steps)]
    rows = [torch.exp(-each.square() / (2 * sigma**2)) * (each.abs() <= reach) for each in away]
    x, y = middles[..., 0], middles[..., 1]
    touches = (x - reach < width) & (y - reach < height) & (x + reach + 1 > 0) & (y + reach + 1 > 0)
    weight = (touches & (places[..., 2] > 0)).to(places.dtype)
    return rows[1][..., :, None] * rows[0][..., None, :], weight
