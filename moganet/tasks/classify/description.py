"""What a classifier's recipe and model file say of its task."""

from typing import Annotated, Literal, Self

from pydantic import Field

from moganet.config import Fraction, LossSettings, Settings, TaskSettings, told
from moganet.config.recipe import Positive
from moganet.tasks.task import TaskDescription


class ClassifySettings(TaskSettings):
    """One class an image."""

    name: Literal["classify"] = told("classify", "One class an image.")


class ClassifyLoss(LossSettings):
    """Cross-entropy or, per class, binary cross-entropy; targets are soft under mixup and cutmix."""

    name: Literal["cross_entropy", "bce"] = told("cross_entropy", "Over all classes, or binary for each.")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = told(
        0.1, "How much of each target is spread over all classes.", "share"
    )
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = told(
        None,
        'A factor for each class, or "balanced": inversely to its number of images; null: all count the same.',
        "factor",
    )
    bce_threshold: Fraction | None = told(
        None, "Soft targets above it count as 1 in bce (RSB); null: they stay as they are.", "share"
    )


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
