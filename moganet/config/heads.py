"""What stands on a network's four maps: heads that answer for each pixel, find objects, or key points, by name."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from moganet.config.settings import Fraction, Settings, Width, told

HEADS = ("fpn", "upernet", "smp")
FINDERS = ("retinanet", "maskrcnn", "cascade")
POSES = ("heatmap",)
Layers = Annotated[int, Field(ge=0, le=64)]
Share = Annotated[float, Field(gt=0, le=1)]
SMP = "smp:"  # before the name of a decoder of segmentation_models.pytorch


class MapsHead(Settings):
    """What all heads have: a name."""

    name: str

    @property
    def title(self) -> str:
        """Give the name by which a recipe asks for it."""
        return self.name


class PixelHead(MapsHead):
    """What answers for each pixel.

    dropout: share of the channels that training drops before the last convolution. auxiliary: channels of a second,
    small head on the map of stride 16, by which training also learns; None has none.
    """

    dropout: Fraction = told(
        0.1, "Share of the channels that training drops before the last convolution.", "probability"
    )
    auxiliary: Width | None = told(None, "Width of a second, small head that training has; null: none.", "channels")


class FpnHead(PixelHead):
    """Semantic FPN (Kirillov et al. 2019). neck, channels: widths of the feature pyramid, and of the head on it."""

    name: Literal["fpn"] = "fpn"
    neck: Width = told(256, "Width of the feature pyramid.", "channels")
    channels: Width = told(128, "Width of the head on it.", "channels")


class UperHead(PixelHead):
    """UPerNet (Xiao et al. 2018). pools: sides of the maps that the last stage is pooled to."""

    name: Literal["upernet"] = "upernet"
    channels: Width = told(512, "Width of the head.", "channels")
    pools: tuple[Width, ...] = told((1, 2, 3, 6), "Sides of the maps that the last stage is pooled to.", "places")
    auxiliary: Width | None = told(256, "Width of a second, small head that training has; null: none.", "channels")


class SmpHead(PixelHead):
    """A decoder of segmentation_models.pytorch by its name there ("Unet"), with its own defaults."""

    name: Literal["smp"] = "smp"
    decoder: str

    @property
    def title(self) -> str:
        return f"{SMP}{self.decoder}"


class HeatmapHead(MapsHead):
    """Simple baselines' head (Xiao et al. 2018): transposed convolutions on the last map, and a map a key point.

    channels: width of each transposed convolution, which doubles both sides of the map.
    """

    name: Literal["heatmap"] = told("heatmap", "A head with a map for each key point.")
    channels: tuple[Width, ...] = told(
        (256, 256, 256), "Width of each transposed convolution, which doubles a map's sides.", "channels"
    )


class BoxHead(MapsHead):
    """What finds objects on a feature pyramid. The defaults are the reference's.

    neck: width of the pyramid, and of the convolutions on it. scale: side of a square anchor, in strides of its map.
    score, overlap, most: at test, the least score, the IoU from which of two boxes of a class the better alone is kept,
    and how many boxes an image keeps.
    """

    neck: Width = told(256, "Width of the feature pyramid, and of the convolutions on it.", "channels")
    scale: Annotated[float, Field(gt=0, le=64)] = told(8.0, "Side of a square anchor.", "strides of its map")
    score: Fraction = told(0.05, "The least score of a box that is kept.", "probability")
    overlap: Share = told(0.5, "From which overlap on only the better of two boxes of a class is kept.", "IoU")
    most: Annotated[int, Field(ge=1, le=10_000)] = told(100, "How many boxes an image keeps at most.", "boxes")
    masks: bool = False

    @property
    def stages(self) -> int:
        """Give how many heads look at proposals one after the other, 0 without proposals."""
        return 0


class RetinaHead(BoxHead):
    """RetinaNet (Lin et al. 2017): each place of each map tells of nine anchors what they hold. convs: before that."""

    name: Literal["retinanet"] = "retinanet"
    masks: Literal[False] = False
    scale: Annotated[float, Field(gt=0, le=64)] = told(4.0, "Side of the smallest square anchor.", "strides of its map")
    convs: Layers = told(4, "Convolutions before the classes, and before the boxes.", "layers")


class RoiHead(BoxHead):
    """What proposes boxes, and looks at each of them again.

    proposals: how many boxes are looked at. hidden: width of the layers that look. convs, fcs: how many of these are
    convolutions with a norm, and how many see the whole. one_box: whether all classes share one refined box.
    """

    proposals: Annotated[int, Field(ge=1, le=10_000)] = told(1000, "How many proposals are looked at.", "boxes")
    hidden: Width = told(1024, "Width of the layers that look at a proposal.", "channels")
    convs: Layers = told(0, "Convolutions, with a norm each, that look at a proposal first.", "layers")
    fcs: Layers = told(2, "Layers that see a proposal whole.", "layers")
    one_box: bool = told(False, "Whether all classes share one refined box.")
    masks: bool = told(True, "Whether there is a mask beside each box.")


class MaskRcnnHead(RoiHead):
    """Mask R-CNN (He et al. 2017); without masks, Faster R-CNN (Ren et al. 2015)."""

    name: Literal["maskrcnn"] = "maskrcnn"

    @property
    def stages(self) -> int:
        return 1


class CascadeHead(RoiHead):
    """Cascade Mask R-CNN (Cai and Vasconcelos 2018): three heads, each refines the boxes of the one before."""

    name: Literal["cascade"] = "cascade"
    one_box: bool = told(True, "Whether all classes share one refined box.")

    @property
    def stages(self) -> int:
        return 3


def _by_name(value: Any) -> Any:
    """Let a name stand for a head with its defaults: "fpn", "upernet", "smp:Unet", "maskrcnn"."""
    if isinstance(value, str):
        value = {"name": "smp", "decoder": value.removeprefix(SMP)} if value.startswith(SMP) else {"name": value}
    if isinstance(value, dict) and value.get("name") not in (*HEADS, *FINDERS, *POSES):
        what = f"{value['name']!r} is no head" if "name" in value else "a head has a name: {name: fpn, channels: 64}"
        pixels = "fpn, upernet, smp:Unet and other decoders of segmentation_models.pytorch"
        others = f"{', '.join(FINDERS)}, for objects; {', '.join(POSES)}, for key points"
        raise ValueError(f"{what}; known: {pixels}, for each pixel; {others}")
    return value


def _of(kind: type[MapsHead], what: str, known: str) -> AfterValidator:
    """Refuse a head of the other kind."""

    def check(head: MapsHead) -> MapsHead:
        if not isinstance(head, kind):
            raise ValueError(f"the head {head.title} {what}; known: {known}")
        return head

    return AfterValidator(check)


_Any = FpnHead | UperHead | SmpHead | RetinaHead | MaskRcnnHead | CascadeHead | HeatmapHead
Head = Annotated[_Any, Field(discriminator="name"), BeforeValidator(_by_name)]
PixelHeads = Annotated[Head, _of(PixelHead, "tells no pixel's class", "fpn, upernet, smp:NAME")]
BoxHeads = Annotated[Head, _of(BoxHead, "finds no objects", ", ".join(FINDERS))]
PoseHeads = Annotated[Head, _of(HeatmapHead, "finds no key points", ", ".join(POSES))]
