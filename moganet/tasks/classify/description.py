"""What a classifier's recipe and model file say of its task."""

from typing import Annotated, Literal, Self

from pydantic import Field

from moganet.config import Fraction, LossSettings, Settings, TaskSettings
from moganet.config.recipe import Positive
from moganet.tasks.task import TaskDescription


class ClassifySettings(TaskSettings):
    """One class an image."""

    name: Literal["classify"] = "classify"


class ClassifyLoss(LossSettings):
    """Cross-entropy or, per class, binary cross-entropy; targets are soft under mixup and cutmix.

    class_weights: "balanced" weighs classes inversely to their number of images. bce_threshold: soft targets above it
    count as 1 (RSB). teacher: any MODEL, or a pretrained model of timm ("timm:NAME").
    """

    name: Literal["cross_entropy", "bce"] = "cross_entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    bce_threshold: Fraction | None = None


class Reject(Settings):
    """From which energy on an image counts as unlike those that the model was trained on (Liu et al. 2020).

    threshold: of -logsumexp(logits). kept: the share, of num_images images of validation, that lies below it.
    """

    threshold: float
    kept: Fraction
    num_images: Annotated[int, Field(ge=0)]


class ClassifyDescription(TaskDescription):
    """A classifier's task. reject: above which energy an image is unlike the training images, where no guard tells."""

    name: Literal["classify"] = "classify"
    reject: Reject | None = None

    def of_probabilities(self) -> Self:
        """Leave out the threshold, which is one of logits."""
        return self.unguarded()

    def unguarded(self) -> Self:
        return self.changed(reject=None, guard=None)
