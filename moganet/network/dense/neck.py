"""The feature pyramid (Lin et al. 2017): maps of one width, each with what the coarser ones know."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from moganet.network.dense.layers import Conv


class FeaturePyramid(nn.Module):
    """Maps of growing stride to as many of width `dim`, and coarser ones behind them.

    pooled: further maps, every second place of the one before. convolved: further maps, the first of them from the last
    of those given (not from the pyramid's own, and without ReLU between them, both unlike torchvision's).
    """

    def __init__(self, widths: Sequence[int], dim: int = 256, *, pooled: int = 0, convolved: int = 0) -> None:
        super().__init__()
        self.pooled = pooled
        self.lateral_convs = nn.ModuleList(Conv(width, dim) for width in widths)
        self.fpn_convs = nn.ModuleList(Conv(dim, dim, 3) for _ in widths)
        self.fpn_convs.extend(Conv(dim if i else widths[-1], dim, 3, stride=2) for i in range(convolved))
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.xavier_uniform_(conv.weight)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], laterals[i - 1].shape[2:], mode="nearest")
        levels = [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=False)]
        for _ in range(self.pooled):
            levels.append(F.max_pool2d(levels[-1], 1, stride=2))
        coarser = maps[-1]
        for conv in list(self.fpn_convs)[len(maps) :]:
            coarser = conv(coarser)
            levels.append(coarser)
        return levels
