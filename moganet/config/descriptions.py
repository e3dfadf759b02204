"""The descriptions in which the rooms meet: `Architecture` (network) and `Preprocessing` (data)."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from moganet.config.heads import Head
from moganet.config.settings import Fraction, Settings, Width, told

Gate = Literal["single", "double"]
ChannelAggregation = Literal["reference", "paddle"]
ConvInit = Literal["fan_out", "fan_in"]
Precision = Literal["f32", "bf16", "f16"]
DEVICE, DEVICES = r"auto|cpu|mps|cuda(:(0|[1-9]\d?))?", "auto, cpu, cuda, cuda:N or mps"
# What a description or a recipe may ask for; beyond lies a slip (a mean of 123.7 is one for pixels in 0..255).
MAX_CHANNELS = 1024
Side = Annotated[int, Field(ge=1, le=4096)]
Mean = Annotated[float, Field(ge=-10, le=10)]
Deviation = Annotated[float, Field(ge=1e-4, le=10)]
Depth = Annotated[int, Field(ge=1, le=1024)]
Square = BeforeValidator(lambda value: (value, value) if isinstance(value, int) else value)
PerChannel = BeforeValidator(lambda value: (value,) if isinstance(value, float | int) else value)
Ratio = Annotated[float, Field(gt=0, le=1000)]
Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]


def _device(name: str) -> str:
    if re.fullmatch(DEVICE, name) is None:
        raise ValueError(f"say {DEVICES}")
    return name


Device = Annotated[str, BeforeValidator(lambda name: "cuda" if name == "gpu" else str(name)), AfterValidator(_device)]


class Architecture(Settings):
    """Which network, and which function it computes; None leaves the variant's own value.

    head: what stands on its four maps, answers for each pixel, finds objects or key points; None is a classifier, or a
    backbone of 0 classes.
    """

    name: str = told("moganet_xtiny", "A variant (nano, xtiny, tiny, small, base, large, xlarge), or timm:NAME.")
    num_classes: Annotated[int, Field(ge=0)] | None = told(None, "Classes; null: those of the data set.", "classes")
    in_chans: Channels | None = told(None, "Channels of an image; null: those of the preprocessing.", "channels")
    embed_dims: tuple[Width, Width, Width, Width] | None = told(
        None, "Width of each of the four stages; null: the variant's.", "channels"
    )
    depths: tuple[Depth, Depth, Depth, Depth] | None = told(
        None, "Length of each of the four stages; null: the variant's.", "blocks"
    )
    mlp_ratios: tuple[Ratio, Ratio, Ratio, Ratio] | None = told(
        None, "Inner width of the channel mixers in each stage; null: the variant's.", "times the width"
    )
    stem_stride: Literal[4, 2, 1] = told(
        4, "How much smaller the stem makes the image; 2 or 1 for small ones.", "times"
    )
    gate: Gate = told("single", "Whether SiLU stands once in the spatial gate, or twice, as OpenMixup trains.")
    channel_aggregation: ChannelAggregation = told(
        "reference", "The channel mixer's function: the reference's, or that of the PaddlePaddle port."
    )
    dilations: tuple[int, int, int] | None = told(
        None, "Dilations of the three depth-wise convolutions; null: 1, 2, 3.", "pixels"
    )
    channel_split: tuple[int, int, int] | None = told(
        None, "How the channels are divided among these three; null: 1, 3, 4.", "parts"
    )
    dilate_last_stage: bool = told(True, "Dilate the 7x7 convolution of the last stage too.")
    drop_rate: Fraction = told(0.0, "Dropout within the channel mixers.", "probability")
    drop_path_rate: Fraction = told(0.0, "How often the last block is passed by; earlier ones less.", "probability")
    ls_init_value: float | None = told(None, "What the layer scales start from; null: the network's own.")
    conv_init: ConvInit = told("fan_out", "By which side of a convolution its drawn weights are scaled.")
    head: Head | None = told(None, "What stands on the maps, for pixels, things or key points; null: a classifier.")

    def options(self) -> dict[str, Any]:
        """Give the keyword arguments for the network beside its name, and what stands on it."""
        return self.model_dump(exclude={"name", "head"}, exclude_none=True)

    @property
    def backbone(self) -> Self:
        """Give the network without what stands on it: four maps, and no classes."""
        return self.changed(head=None, num_classes=0)


class Preprocessing(Settings):
    """How an image becomes the network's input; training, evaluation, prediction and exports share it."""

    size: Annotated[tuple[Side, Side], Square] = told((224, 224), "Height and width, or one number for both.", "pixels")
    crop_mode: Literal["center", "squash", "fit", "keep", "box"] = told(
        "center",
        '"center" resizes the shorter side to size / crop_fraction and crops the middle; "squash" resizes both sides '
        'to the size; "fit" keeps the whole image: as large as fits into the size, lying or standing, then resized to '
        "the next multiples of `multiple`, as mmsegmentation does, so that each image has a size of its own; "
        '"keep" leaves images as large as they are; "box" sees the box of one thing in an image at a time, widened to '
        "the shape of the size, as mmpose does; the image itself where no box is marked.",
    )
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = told(
        0.9,
        'How much of the shorter side "center" keeps; how much of both sides the thing fills by "box".',
        "share of the side",
    )
    multiple: Annotated[int, Field(ge=1, le=1024)] = told(1, 'What both sides are multiples of after "fit".', "pixels")
    interpolation: Literal["nearest", "bilinear", "bicubic"] = told("bicubic", "How pixels are resized.")
    antialias: bool = told(True, "Whether resizing smooths what it makes smaller; false: bilinear as OpenCV does it.")
    channels: Channels = told(3, "Channels of the network's input: 3 for colours, 1 for grey.", "channels")
    mean: Annotated[tuple[Mean, ...], PerChannel] = told(
        (0.485, 0.456, 0.406), "What is taken from each channel, for pixels in 0..1.", "of white"
    )
    std: Annotated[tuple[Deviation, ...], PerChannel] = told(
        (0.229, 0.224, 0.225), "What each channel is divided by then, for pixels in 0..1.", "of white"
    )
    white_level: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] | None = told(
        None,
        "The value of white in images of more than 8 bits (16-bit and 32-bit grey, floats); null: the end of their "
        "type's range (65535, and 1 of floats).",
        "of the images' own values",
    )

    @property
    def one_size(self) -> bool:
        """Tell whether all images become of one size."""
        return self.crop_mode in ("center", "squash", "box")

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need one value for each of the {self.channels} channels")
        if not self.antialias and (self.interpolation, self.crop_mode == "center") != ("bilinear", False):
            raise ValueError(
                "antialias: false is for bilinear pixels that are not cropped: crop_mode squash, fit or box"
            )
        if self.crop_mode == "box" and self.antialias:
            raise ValueError("crop_mode box takes bilinear pixels as OpenCV does: say antialias: false")
        return self
