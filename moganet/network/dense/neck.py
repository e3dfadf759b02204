"""The feature pyramid (Lin et al. 2017): four maps of one width, each with what the coarser ones know."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from moganet.network.dense.layers import Conv


class FeaturePyramid(nn.Module):
    """Maps of growing stride to as many of width `dim`."""

    def __init__(self, widths: Sequence[int], dim: int = 256) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Conv(width, dim) for width in widths)
        self.fpn_convs = nn.ModuleList(Conv(dim, dim, 3) for _ in widths)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.xavier_uniform_(conv.weight)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], laterals[i - 1].shape[2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=True)]
