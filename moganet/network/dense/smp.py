"""A decoder of segmentation_models.pytorch on our maps; an extra."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from moganet.errors import ConfigError, import_extra
from moganet.network.dense.layers import sized
from moganet.network.dense.pyramid import Level

# The others want a backbone that is dilated (DeepLabV3, DeepLabV3Plus), or one of tokens (DPT).
DECODERS = ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "UPerNet", "Segformer")
STRIDES = [4, 8, 16, 32]
OURS = "moganet-maps"  # under which smp knows what stands for our backbone while a decoder is built


class SmpDecoder(nn.Module):
    """Four maps of strides 4 to 32 to logits, by smp's decoder of a name, and its last convolution as `conv_seg`."""

    def __init__(self, name: str, levels: Sequence[Level], classes: int) -> None:
        super().__init__()
        if [level.stride for level in levels] != STRIDES:
            found = ", ".join(str(level.stride) for level in levels)
            raise ConfigError(f"smp's decoders need maps of the strides 4, 8, 16, 32, not {found}; use fpn or upernet")
        known = {one.lower(): one for one in DECODERS}
        if name.lower() not in known:
            raise ConfigError(f"smp:{name[:60]} is no decoder that fits; choose one of {', '.join(DECODERS)}")
        model = _build(known[name.lower()], [level.width for level in levels], classes)
        self.decoder, self.conv_seg = model.decoder, model.segmentation_head[0]

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give the logits (B, classes, h, w); some decoders give them at the image's size."""
        height, width = maps[-1].shape[2:]
        # Decoders take each map for exactly half of the one before, which those of odd sizes are not.
        even = [sized(y, (height * 2**i, width * 2**i)) for y, i in zip(maps, (3, 2, 1, 0), strict=True)]
        finer = [even[0].new_empty(len(even[0]), 0, height * 2**i, width * 2**i) for i in (5, 4)]
        logits: Tensor = self.conv_seg(self.decoder([*finer, *even]))
        return logits


def _build(name: str, widths: Sequence[int], classes: int) -> Any:
    smp = import_extra("segmentation_models_pytorch", f"the head smp:{name}", "dense")
    encoders = smp.encoders.encoders
    options = {"encoder_output_stride": STRIDES[-1]} if name == "PAN" else {}
    encoders[OURS] = {"encoder": _Widths, "params": {"widths": tuple(widths)}}
    try:
        return getattr(smp, name)(OURS, encoder_depth=5, encoder_weights=None, classes=classes, **options)
    finally:
        del encoders[OURS]


class _Widths(nn.Module):
    """Stands for a backbone as smp asks it: the image, nothing at half of its size, and four maps."""

    output_stride = STRIDES[-1]

    def __init__(self, widths: Sequence[int], depth: int, **_: Any) -> None:
        super().__init__()
        self.out_channels = [3, 0, *widths]

    def set_in_channels(self, channels: int, pretrained: bool) -> None:
        """Need nothing: the backbone takes what it takes."""
