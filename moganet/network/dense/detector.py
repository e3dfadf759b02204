"""A detector: a backbone, a feature pyramid, and heads that find objects on it."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moganet.config import BoxHead
from moganet.errors import ConfigError
from moganet.network.dense.layers import fold_norms
from moganet.network.dense.matching import Objects, Sampling, Size
from moganet.network.dense.neck import FeaturePyramid
from moganet.network.dense.on_maps import OnMaps
from moganet.network.dense.pyramid import maps_of
from moganet.network.dense.retinanet import RetinaNetHead
from moganet.network.dense.rpn import RpnHead
from moganet.network.dense.two_stage import Looks
from moganet.network.fuse import fastest, layout

DIVISOR = 32  # of both sides of an image that is padded for itself
TRAINED_PROPOSALS = {False: 1000, True: 2000}  # an image, of one head and of a cascade


class Detector(OnMaps):
    """Images (B, C, H, W), each in the top left corner of zeros, to objects.

    Parameter names are those of the reference's checkpoints: `backbone.`, `neck.`, and `bbox_head.` of RetinaNet, or
    `rpn_head.` and `roi_head.` of those that look at proposals.
    """

    def __init__(
        self, backbone: nn.Module, neck: FeaturePyramid, head: RetinaNetHead | tuple[RpnHead, Looks], first: int
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.first = backbone, neck, first
        if isinstance(head, RetinaNetHead):
            self.bbox_head = head
        else:
            self.rpn_head, self.roi_head = head

    @property
    def head(self) -> BoxHead:
        """Give the description of what finds the objects."""
        described: BoxHead = self.bbox_head.head if self.is_single else self.roi_head.head
        return described

    @property
    def outputs(self) -> tuple[str, ...]:
        """Name what `forward` gives."""
        own = ("boxes", "scores", "labels")
        return (*own, "masks") if self.head.masks else own

    @property
    def is_single(self) -> bool:
        """Tell whether boxes are found without proposals."""
        return hasattr(self, "bbox_head")

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Give the maps on which the heads stand."""
        levels: list[Tensor] = self.neck(maps_of(self.backbone, x)[self.first :])
        return levels

    def forward(self, x: Tensor, sizes: Tensor | Sequence[Size] | None = None) -> dict[str, Tensor]:
        """Find objects. sizes: height and width (B, 2) of each image without its padding; None takes all.

        Gives "boxes" (B, K, 4) as x1 y1 x2 y2 in pixels, "scores" (B, K), "labels" (B, K), the best first, with zeros
        and the label -1 behind the last; and "masks" (B, K, 28, 28) where there are heads for them, as probabilities.
        """
        given = torch.tensor([x.shape[2:]] * x.shape[0]) if sizes is None else torch.as_tensor(sizes)
        return self.found(self.pyramid(x), given.to(x.device))

    def found(self, levels: list[Tensor], sizes: Tensor) -> dict[str, Tensor]:
        """Find objects on the pyramid's maps."""
        if self.is_single:
            return self.bbox_head.find(levels, sizes)
        rpn = self.rpn_head
        proposals = rpn.propose(rpn(levels), rpn.anchors(levels), sizes)
        return self.roi_head.find(levels[: len(self.roi_head.strides)], proposals, sizes)

    def losses(
        self,
        x: Tensor,
        sizes: Sequence[Size],
        targets: Sequence[Objects],
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
    ) -> dict[str, Tensor]:
        """Give the losses of a batch, by name; their sum is what training makes small.

        sizes: height and width of each image without its padding. Raises ConfigError where masks are learned, and a
        target has none.
        """
        levels = self.pyramid(x)
        padded = [(_up(height), _up(width)) for height, width in sizes]
        if self.is_single:
            return self.bbox_head.losses(levels, padded, targets)
        if self.head.masks and any(one.masks is None for one in targets):
            raise ConfigError("the head learns masks, and the objects have none; set task.head.masks to false")
        given, anchors = self.rpn_head(levels), self.rpn_head.anchors(levels)
        losses = self.rpn_head.losses(given, anchors, list(zip(sizes, padded, strict=True)), targets, sampling)
        with torch.no_grad():
            number = sampling.proposals or TRAINED_PROPOSALS[self.roi_head.is_cascade]
            ends = torch.tensor(list(sizes), device=x.device)
            every = self.rpn_head.propose(given, anchors, ends, number)
        proposals = [boxes[there] for boxes, there in every]
        return losses | self.roi_head.losses(levels[: len(self.roi_head.strides)], proposals, sizes, targets, sampling)


def _up(side: int) -> int:
    return -(-side // DIVISOR) * DIVISOR


@layout.register
def layout_of_detector(network: Detector) -> torch.memory_format:
    """Give the reference's layout: rounding decides which of two boxes of nearly one score is the first.

    In it the scores of the golden cascade are within 1.5e-6 of the reference's, channels last within 2.5e-6, where two
    of its hundred boxes change places; that would be 8 % faster.
    """
    return torch.contiguous_format


@fastest.register
def fuse_detector(network: Detector) -> Detector:
    """Give the network's function in evaluation mode, its backbone fused and its heads' norms folded."""
    backbone = network.backbone
    fused = copy.deepcopy(network, {id(backbone): fastest(backbone)})  # which stands in its place, and is not copied
    fold_norms(fused)
    return fused.eval().requires_grad_(False)
