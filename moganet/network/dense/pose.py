"""A network for key points: a backbone, transposed convolutions on its last map, and a heat map a key point.

The head of Simple Baselines (Xiao et al. 2018, section 2.1), by the names that mmpose's checkpoints have.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moganet.network.dense.on_maps import OnMaps
from moganet.network.dense.pyramid import maps_of
from moganet.network.fuse import fastest, norm_affine

SIDE = 4  # places of a transposed convolution's kernel
DEVIATION = 0.001  # of the weights that the reference's heads begin with


class KeypointHead(nn.Module):
    """A map (B, in_dim, h, w) to heat maps (B, joints, 8h, 8w) by three transposed convolutions. dims: their widths."""

    def __init__(self, in_dim: int, dims: Sequence[int], joints: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, dim in zip((in_dim, *dims), dims, strict=False):
            layers.append(nn.ConvTranspose2d(before, dim, SIDE, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(dim), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d((in_dim, *dims)[-1], joints, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=DEVIATION)
        nn.init.zeros_(self.final_layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Give the heat maps."""
        heatmaps: Tensor = self.final_layer(self.deconv_layers(x))
        return heatmaps


class PoseNetwork(OnMaps):
    """Images (B, C, H, W) to heat maps (B, joints, H/4, W/4), near 1 where a joint is.

    Parameter names are those of the reference's checkpoints: `backbone.`, `keypoint_head.`.
    """

    def __init__(self, backbone: nn.Module, keypoint_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.keypoint_head = keypoint_head

    def forward(self, x: Tensor) -> Tensor:
        """Give the heat maps."""
        heatmaps: Tensor = self.keypoint_head(maps_of(self.backbone, x)[-1])
        return heatmaps


@fastest.register
def fuse_pose_network(network: PoseNetwork) -> PoseNetwork:
    """Give the network's function in evaluation mode, its backbone fused and its head's norms folded."""
    head = copy.deepcopy(network.keypoint_head)
    assert isinstance(head, KeypointHead)
    with torch.random.fork_rng(devices=[]):  # as in `fuse`
        layers = list(head.deconv_layers)
        for place in range(0, len(layers), 3):
            layers[place : place + 2] = [_folded(layers[place], layers[place + 1]), nn.Identity()]
        head.deconv_layers = nn.Sequential(*layers)
    return PoseNetwork(fastest(network.backbone), head).eval().requires_grad_(False)


def _folded(conv: nn.Module, norm: nn.Module) -> nn.ConvTranspose2d:
    """Give a transposed convolution that does what the norm behind it does too."""
    assert isinstance(conv, nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d)
    factor, shift = norm_affine(norm)
    made = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, SIDE, stride=2, padding=1)
    weight = conv.weight.detach().double() * factor[:, None, None]
    with torch.no_grad():
        made.to(conv.weight.device, conv.weight.dtype)
        made.weight.copy_(weight)
        made.bias.copy_(shift)  # type: ignore[union-attr]
    return made
