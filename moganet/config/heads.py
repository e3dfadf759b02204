"""What stands on a network's four maps and answers for places in the image; each kind of head is known by its name."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from moganet.config.settings import Fraction, Settings, Width, told

HEADS = ("fpn", "upernet", "smp", "heatmap")
SMP = "smp:"  # before the name of a decoder of segmentation_models.pytorch


class PixelHead(Settings):
    """What all heads have.

    dropout: share of the channels that training drops before the last convolution. auxiliary: channels of a second,
    small head on the map of stride 16, by which training also learns; None has none.
    """

    name: str
    dropout: Fraction = told(
        0.1, "Share of the channels that training drops before the last convolution.", "probability"
    )
    auxiliary: Width | None = told(None, "Width of a second, small head that training has; null: none.", "channels")

    @property
    def title(self) -> str:
        """Give the name by which a recipe asks for it."""
        return self.name


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


class HeatmapHead(Settings):
    """Simple baselines' head (Xiao et al. 2018): transposed convolutions on the last map, and a map a key point.

    channels: width of each transposed convolution, which doubles both sides of the map.
    """

    name: Literal["heatmap"] = told("heatmap", "A head with a map for each key point.")
    channels: tuple[Width, ...] = told(
        (256, 256, 256), "Width of each transposed convolution, which doubles a map's sides.", "channels"
    )

    @property
    def title(self) -> str:
        """Give the name by which a recipe asks for it."""
        return self.name


def _by_name(value: Any) -> Any:
    """Let a name stand for a head with its defaults: "fpn", "upernet", "smp:Unet"."""
    if isinstance(value, str):
        value = {"name": "smp", "decoder": value.removeprefix(SMP)} if value.startswith(SMP) else {"name": value}
    if isinstance(value, dict) and value.get("name") not in HEADS:
        what = f"{value['name']!r} is no head" if "name" in value else "a head has a name: {name: fpn, channels: 64}"
        known = "fpn, upernet, smp:Unet and other decoders of segmentation_models.pytorch, heatmap"
        raise ValueError(f"{what}; known: {known}")
    return value


# Of a network's description, and of what answers for pixels, and for key points.
AnyHead = Annotated[FpnHead | UperHead | SmpHead | HeatmapHead, Field(discriminator="name"), BeforeValidator(_by_name)]
Head = Annotated[FpnHead | UperHead | SmpHead, Field(discriminator="name"), BeforeValidator(_by_name)]
PoseHead = Annotated[HeatmapHead, BeforeValidator(_by_name)]
