"""What a segmenter's recipe and model file say of their task."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from moganet.config import FpnHead, LossSettings, MapsSettings, PixelHeads, told
from moganet.config.recipe import NonNegative
from moganet.report.masks import Colour, usual_palette
from moganet.tasks.task import TaskDescription
from moganet.tasks.windows import Window

Byte = Annotated[int, Field(ge=0, le=255)]


class SegmentSettings(MapsSettings):
    """A class for each pixel. head: what stands on the network: "fpn", "upernet", "smp:NAME", or with its options.

    window: answer by parts of an image; None is whole.
    """

    name: Literal["segment"] = told("segment", "What is learned: a class for each pixel.")
    head: PixelHeads = told(
        FpnHead(), 'What stands on the network: "fpn", "upernet", "smp:NAME", or one with its options.'
    )
    window: Window | None = told(
        None, "Size and stride of the parts by which an image is answered; null: whole.", "pixels"
    )


class SegmentLoss(LossSettings):
    """Cross-entropy of each pixel, averaged over all of them, and Dice beside it.

    class_weights: a factor for each class; "balanced" is the inverse of its share of the training masks' pixels,
    "softened" the square root of that, both with a mean of 1 over the pixels. hardest: the share of the pixels, those
    with the largest losses, that count (OHEM). dice: the factor of the Dice loss. auxiliary_weight: the factor of the
    auxiliary head's loss, where there is one.
    """

    name: Literal["cross_entropy"] = told("cross_entropy", "The cross-entropy of each pixel.")
    auxiliary_weight: NonNegative = told(0.4, "The factor of the auxiliary head's loss, where there is one.", "factor")
    class_weights: Literal["balanced", "softened"] | tuple[NonNegative, ...] | None = told(
        None,
        'A factor for each class: "balanced" is the inverse of its share of the pixels, "softened" the root of that.',
    )
    hardest: Annotated[float, Field(gt=0, le=1)] = told(
        1.0, "Which of the pixels count: those with the largest losses (OHEM).", "share"
    )
    dice: NonNegative = told(0.0, "The factor of the Dice loss beside the cross-entropy.", "factor")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = told(0.0, "Label smoothing.", "share")


class SegmentDescription(TaskDescription):
    """A segmenter's task. Its network gives logits (B, classes, H, W) at the images' own size.

    palette: a colour (red, green, blue) for each class, or none.
    window: the parts by which large images are answered; None takes an image whole.
    """

    name: Literal["segment"] = "segment"
    palette: tuple[tuple[Byte, Byte, Byte], ...] = ()
    window: Window | None = None

    @model_validator(mode="after")
    def _one_colour_a_class(self) -> Self:
        if self.palette and len(self.palette) != len(self.class_names):
            raise ValueError(f"it has {len(self.palette)} colours for {len(self.class_names)} classes")
        return self

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Give a colour for each class: the palette's, or the usual ones."""
        return self.palette or usual_palette(len(self.class_names))

    def anew(self, class_names: tuple[str, ...]) -> Self:
        palette = self.palette if class_names == self.class_names else ()
        return self.changed(class_names=class_names, palette=palette, temperature=None, guard=None)
