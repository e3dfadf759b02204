"""From a head's description to the segmenter, detector or network for key points with it."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from moganet.config import BoxHead, FpnHead, HeatmapHead, MapsHead, PixelHead, RetinaHead, RoiHead, SmpHead, UperHead
from moganet.errors import ConfigError
from moganet.network.dense.detector import Detector
from moganet.network.dense.neck import FeaturePyramid
from moganet.network.dense.outline import AUXILIARY
from moganet.network.dense.pose import KeypointHead, PoseNetwork
from moganet.network.dense.pyramid import Level, levels_of
from moganet.network.dense.retinanet import RetinaNetHead
from moganet.network.dense.rpn import RpnHead
from moganet.network.dense.segmenter import Segmenter
from moganet.network.dense.semantic_fpn import SemanticFpn
from moganet.network.dense.two_stage import Looks
from moganet.network.dense.upernet import Fcn, UperNet


def build_on_maps(backbone: nn.Module, head: MapsHead, classes: int) -> Segmenter | Detector | PoseNetwork:
    """Put a head on a backbone. Raises ConfigError for a backbone without four maps, or no classes."""
    if classes < 1:
        raise ConfigError(f"a head for {classes} classes answers nothing; num_classes must be at least 1")
    if isinstance(head, PixelHead):
        return _segmenter(backbone, head, classes)
    if isinstance(head, HeatmapHead):
        return PoseNetwork(backbone, KeypointHead(levels_of(backbone)[-1].width, head.channels, classes))
    assert isinstance(head, BoxHead)
    return _detector(backbone, head, classes)


def _detector(backbone: nn.Module, head: BoxHead, classes: int) -> Detector:
    levels = levels_of(backbone)
    widths, strides = [level.width for level in levels], [level.stride for level in levels]
    if any(stride * 2 != coarser for stride, coarser in pairwise(strides)):
        raise ConfigError(f"the head {head.title} needs maps whose strides double, not {strides}; use another network")
    if isinstance(head, RetinaHead):
        neck = FeaturePyramid(widths[1:], head.neck, convolved=2)
        return Detector(backbone, neck, RetinaNetHead(head, [*strides[1:], *_on(strides, 2)], classes), first=1)
    assert isinstance(head, RoiHead)
    parts = RpnHead(head, [*strides, *_on(strides, 1)]), Looks(head, strides, classes)
    return Detector(backbone, FeaturePyramid(widths, head.neck, pooled=1), parts, first=0)


def _on(strides: Sequence[int], number: int) -> list[int]:
    """Give the strides of so many coarser maps."""
    return [strides[-1] * 2 ** (i + 1) for i in range(number)]


def _segmenter(backbone: nn.Module, head: PixelHead, classes: int) -> Segmenter:
    levels = levels_of(backbone)
    neck, decode_head = _parts(head, levels, classes)
    auxiliary = None
    if head.auxiliary is not None:
        auxiliary = Fcn(levels[AUXILIARY].width, head.auxiliary, classes, head.dropout, AUXILIARY)
    return Segmenter(backbone, decode_head, neck, auxiliary)


def _parts(head: PixelHead, levels: Sequence[Level], classes: int) -> tuple[nn.Module | None, nn.Module]:
    widths, strides = [level.width for level in levels], [level.stride for level in levels]
    match head:
        case FpnHead():
            decoder = SemanticFpn(head.neck, head.channels, strides, classes, head.dropout)
            return FeaturePyramid(widths, head.neck), decoder
        case UperHead():
            return None, UperNet(widths, head.channels, head.pools, classes, head.dropout)
        case SmpHead():
            from moganet.network.dense.smp import SmpDecoder  # an extra

            return None, SmpDecoder(head.decoder, levels, classes)
    raise ConfigError(f"there is no head {head.title}")
