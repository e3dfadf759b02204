"""What looks at proposals again: their classes, their boxes and their masks (He et al. 2017; Cai and Vasconcelos 2018).

Unlike torchvision's, parts of maps are taken aligned and by as many samples as a part has places, and the background is
the last class.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from moganet.config import RoiHead
from moganet.network.dense.layers import Conv, ConvNorm, is_traced

BOX_SIDE, MASK_SIDE = 7, 14  # places of a part that is looked at, for boxes and for masks
MASK_CONVS = 4
FINEST = 56  # the side from which on, doubling, parts are taken of the next coarser map


def parts_of(maps: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], side: int) -> Tensor:
    """Give what maps show in each image's boxes (N, 4), each of the level of its size, (sum of N, C, side, side)."""
    every = torch.cat(list(boxes))
    owners = torch.cat([own.new_full((len(own), 1), i) for i, own in enumerate(boxes)])
    area = (every[:, 2] - every[:, 0]) * (every[:, 3] - every[:, 1])
    levels = (area.clamp(min=0).sqrt() / FINEST + 1e-6).log2().floor().clamp(0, len(maps) - 1)
    every = torch.cat([owners, every], 1).to(maps[0])
    if is_traced() or every.is_meta:
        return _of_all(maps, strides, every, levels, side)
    parts = maps[0].new_zeros(len(every), maps[0].shape[1], side, side)
    for level, (x, stride) in enumerate(zip(maps, strides, strict=True)):
        own = (levels == level).nonzero()[:, 0]
        parts = parts.index_put((own,), _aligned(x, every[own], side, stride))
    return parts


def _of_all(maps: Sequence[Tensor], strides: Sequence[int], every: Tensor, levels: Tensor, side: int) -> Tensor:
    """Take every level's parts, for a graph whose shapes know no levels: of boxes of other levels, a small corner."""
    parts = []
    for level, (x, stride) in enumerate(zip(maps, strides, strict=True)):
        own = (levels == level)[:, None]
        corner = every.new_tensor([0, 0, 0, stride, stride])
        found = _aligned(x, torch.where(own, every, corner), side, stride)
        parts.append(found * own[:, :, None, None])
    return torch.stack(parts).sum(0)


def _aligned(x: Tensor, boxes: Tensor, side: int, stride: int) -> Tensor:
    found: Tensor = roi_align(x, boxes, side, 1 / stride, sampling_ratio=0, aligned=True)
    return found


class BoxLook(nn.Module):
    """Parts (N, C, 7, 7) to logits (N, classes + 1), the background last, and differences (N, classes or 1, 4)."""

    def __init__(self, head: RoiHead, classes: int) -> None:
        super().__init__()
        dim, hidden = head.neck, head.hidden
        self.shared_convs = nn.ModuleList(ConvNorm(dim, dim, 3) for _ in range(head.convs))
        widths = [dim * BOX_SIDE**2, *[hidden] * head.fcs]
        self.shared_fcs = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.fc_cls = nn.Linear(widths[-1], classes + 1)
        self.fc_reg = nn.Linear(widths[-1], 4 * (1 if head.one_box else classes))
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.normal_(self.fc_reg.weight, std=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.shared_convs:
            x = conv(x)
        x = x.flatten(1)
        for linear in self.shared_fcs:
            x = F.relu(linear(x))
        return self.fc_cls(x).float(), self.fc_reg(x).float().unflatten(1, (-1, 4))


class MaskLook(nn.Module):
    """Parts (N, C, 14, 14) to the logits of masks (N, classes, 28, 28)."""

    def __init__(self, head: RoiHead, classes: int) -> None:
        super().__init__()
        dim = head.neck
        self.convs = nn.ModuleList(Conv(dim, dim, 3) for _ in range(MASK_CONVS))
        self.upsample = nn.ConvTranspose2d(dim, dim, 2, 2)
        self.conv_logits = nn.Conv2d(dim, classes, 1)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x))
        logits: Tensor = self.conv_logits(F.relu(self.upsample(x)))
        return logits.float()


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """Give of values (N, classes or 1, …) each one's own class's, (N, …)."""
    own = labels.clamp(min=0) if values.shape[1] > 1 else torch.zeros_like(labels)
    shape = (-1, 1, *[1] * (values.dim() - 2))
    return values.gather(1, own.view(shape).expand(-1, 1, *values.shape[2:]))[:, 0]
