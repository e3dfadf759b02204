"""The descriptions in which the rooms meet: `Architecture` (network) and `Preprocessing` (data)."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from moganet.config.heads import Head
from moganet.config.settings import Fraction, Settings, Width

Gate = Literal["single", "double"]
ChannelAggregation = Literal["reference", "paddle"]
ConvInit = Literal["fan_out", "fan_in"]
Precision = Literal["f32", "bf16", "f16"]
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


class Architecture(Settings):
    """Which network, and which function it computes; None leaves the variant's own value.

    head: what stands on its four maps and answers for each pixel; None is a classifier, or a backbone of 0 classes.
    """

    name: str = "moganet_xtiny"
    num_classes: Annotated[int, Field(ge=0)] | None = None
    in_chans: Channels | None = None
    embed_dims: tuple[Width, Width, Width, Width] | None = None
    depths: tuple[Depth, Depth, Depth, Depth] | None = None
    mlp_ratios: tuple[Ratio, Ratio, Ratio, Ratio] | None = None
    stem_stride: Literal[4, 2, 1] = 4
    gate: Gate = "single"
    channel_aggregation: ChannelAggregation = "reference"
    dilations: tuple[int, int, int] | None = None
    channel_split: tuple[int, int, int] | None = None
    dilate_last_stage: bool = True
    drop_rate: Fraction = 0.0
    drop_path_rate: Fraction = 0.0
    ls_init_value: float | None = None
    conv_init: ConvInit = "fan_out"
    head: Head | None = None

    def options(self) -> dict[str, Any]:
        """Give the keyword arguments for the network beside its name, and what stands on it."""
        return self.model_dump(exclude={"name", "head"}, exclude_none=True)

    @property
    def backbone(self) -> Self:
        """Give the network without what stands on it: four maps, and no classes."""
        return self.changed(head=None, num_classes=0)


class Preprocessing(Settings):
    """How an image becomes the network's input; training, evaluation, prediction and exports share it.

    crop_mode "center" resizes the shorter side to size / crop_fraction and crops the middle; "squash" resizes both
    sides to the size; "fit" keeps the whole image: as large as fits into the size, lying or standing, then resized
    again to the next multiples of `multiple`, as mmsegmentation does, so that each image has a size of its own; "keep"
    leaves images as large as they are.
    antialias: False takes bilinear pixels as OpenCV does. mean and std are per channel, for pixels in 0..1.
    white_level: the value of white in images of more than 8 bits (16-bit and 32-bit grey, floats); None is the end of
    their type's range (65535, and 1 of floats).
    """

    size: Annotated[tuple[Side, Side], Square] = (224, 224)
    crop_mode: Literal["center", "squash", "fit", "keep"] = "center"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    multiple: Annotated[int, Field(ge=1, le=1024)] = 1
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    antialias: bool = True
    channels: Channels = 3
    mean: Annotated[tuple[Mean, ...], PerChannel] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Deviation, ...], PerChannel] = (0.229, 0.224, 0.225)
    white_level: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] | None = None

    @property
    def one_size(self) -> bool:
        """Tell whether all images become of one size."""
        return self.crop_mode in ("center", "squash")

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need one value for each of the {self.channels} channels")
        if not self.antialias and (self.interpolation, self.crop_mode == "center") != ("bilinear", False):
            raise ValueError("antialias: false is for bilinear pixels that are not cropped: crop_mode squash or fit")
        return self
