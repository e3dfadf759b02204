"""From a head's description to the network with it."""

from collections.abc import Sequence

from torch import nn

from moganet.config import AnyHead, FpnHead, HeatmapHead, PixelHead, SmpHead, UperHead
from moganet.errors import ConfigError
from moganet.network.dense.neck import FeaturePyramid
from moganet.network.dense.outline import AUXILIARY
from moganet.network.dense.pose import KeypointHead, PoseNetwork
from moganet.network.dense.pyramid import Level, levels_of
from moganet.network.dense.segmenter import Segmenter
from moganet.network.dense.semantic_fpn import SemanticFpn
from moganet.network.dense.upernet import Fcn, UperNet


def build_on(backbone: nn.Module, head: AnyHead, classes: int) -> nn.Module:
    """Put a head on a backbone. Raises ConfigError for a backbone without four maps, or no classes."""
    if classes < 1:
        raise ConfigError(f"a head for {classes} classes answers nothing; num_classes must be at least 1")
    levels = levels_of(backbone)
    if isinstance(head, HeatmapHead):
        return PoseNetwork(backbone, KeypointHead(levels[-1].width, head.channels, classes))
    return _segmenter(backbone, head, classes, levels)


def _segmenter(backbone: nn.Module, head: PixelHead, classes: int, levels: Sequence[Level]) -> Segmenter:
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
    raise ConfigError(f"there is no head {type(head).__name__}")
