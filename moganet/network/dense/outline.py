"""What a MogaNet with a head costs, told from its description; without torch (see network/outline.py)."""

from collections.abc import Sequence

from moganet.config import Architecture, FpnHead, HeatmapHead, MapsHead, PixelHead, UperHead
from moganet.network.outline import Outline, outline

AUXILIARY = 2  # the level whose map the auxiliary head reads: stride 16


def has_outline(head: MapsHead | None) -> bool:
    """Tell whether a head's cost is known without building it."""
    return head is None or isinstance(head, FpnHead | UperHead | HeatmapHead)


def outline_of(architecture: Architecture, size: tuple[int, int]) -> Outline:
    """Outline the network of a description, whatever stands on it, as `outline.outline` does one alone."""
    if architecture.head is None:
        return outline(architecture, size)
    made = outline(architecture.backbone, size)
    layers = [layer for layer in made.layers if layer.name != "global_pool"]
    made.layers = [layer.changed(name=f"backbone.{layer.name}") for layer in layers]
    if isinstance(architecture.head, HeatmapHead):
        _heatmaps(made, architecture.head, architecture.num_classes or 0)
    else:
        _add_head(made, architecture.head, architecture.num_classes or 0)
    return made


def _heatmaps(made: Outline, head: HeatmapHead, joints: int) -> None:
    for number, dim in enumerate(head.channels):
        each, name = 16 * made.channels, f"keypoint_head.deconv_layers.{3 * number}"
        made.size = 2 * made.size[0], 2 * made.size[1]
        made.add(name, "ConvTranspose2d", dim, dim * each, each // 4)  # of 16 places 4 meet each new one
        made.norm(f"keypoint_head.deconv_layers.{3 * number + 1}")
        made.add(f"keypoint_head.deconv_layers.{3 * number + 2}", "ReLU")
    made.conv("keypoint_head.final_layer", joints)


def _add_head(made: Outline, head: MapsHead, classes: int) -> None:
    """Add a head's layers to its backbone's, in the order of their execution; the auxiliary one only has parameters."""
    maps = [(dim, (height, width)) for dim, height, width in made.stages]
    assert isinstance(head, PixelHead)
    if isinstance(head, FpnHead):
        _semantic_fpn(made, head, maps)
    else:
        assert isinstance(head, UperHead)
        _upernet(made, head, maps)
    made.add("decode_head.dropout", "Dropout2d")
    made.conv("decode_head.conv_seg", classes)
    if head.auxiliary is not None:
        made.parameters += head.auxiliary * (9 * maps[AUXILIARY][0] + 2) + classes * (head.auxiliary + 1)


Map = tuple[int, tuple[int, int]]  # channels, and height and width


def _at(made: Outline, at: Map) -> None:
    made.channels, made.size = at


def _conv_norm(made: Outline, name: str, dim: int, kernel: int = 1) -> None:
    each = made.channels * kernel**2
    made.add(f"{name}.conv", "Conv2d", dim, dim * each, each)  # without a bias
    made.norm(f"{name}.bn")
    made.add(f"{name}.act", "ReLU")


def _semantic_fpn(made: Outline, head: FpnHead, maps: Sequence[Map]) -> None:
    for i, one in enumerate(maps):
        _at(made, one)
        made.conv(f"neck.lateral_convs.{i}.conv", head.neck)
    for i, (_, size) in enumerate(maps):
        _at(made, (head.neck, size))
        made.conv(f"neck.fpn_convs.{i}.conv", head.neck, 3)
    for i, (_, size) in enumerate(maps):
        _at(made, (head.neck, size))
        for number in range(max(1, i)):
            _conv_norm(made, f"decode_head.scale_heads.{i}.{2 * number}", head.channels, 3)
            if i:
                made.size = 2 * made.size[0], 2 * made.size[1]
                made.add(f"decode_head.scale_heads.{i}.{2 * number + 1}", "Upsample")
    made.size = maps[0][1]


def _upernet(made: Outline, head: UperHead, maps: Sequence[Map]) -> None:
    for i, one in enumerate(maps[:-1]):
        _at(made, one)
        _conv_norm(made, f"decode_head.lateral_convs.{i}", head.channels)
    last, size = maps[-1]
    for i, side in enumerate(head.pools):
        _at(made, (last, (side, side)))
        made.add(f"decode_head.psp_modules.{i}.0", "AdaptiveAvgPool2d")
        _conv_norm(made, f"decode_head.psp_modules.{i}.1", head.channels)
    _at(made, (last + len(head.pools) * head.channels, size))
    _conv_norm(made, "decode_head.bottleneck", head.channels, 3)
    for i, (_, own) in enumerate(maps[:-1]):
        _at(made, (head.channels, own))
        _conv_norm(made, f"decode_head.fpn_convs.{i}", head.channels, 3)
    _at(made, (len(maps) * head.channels, maps[0][1]))
    _conv_norm(made, "decode_head.fpn_bottleneck", head.channels, 3)
