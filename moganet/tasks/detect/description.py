"""What a detector's recipe and model file say of their task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from moganet.config import BoxHeads, Fraction, LossSettings, MapsSettings, RetinaHead, told
from moganet.errors import ConfigError
from moganet.tasks.task import TaskDescription
from moganet.tasks.windows import Window

if TYPE_CHECKING:
    from moganet.network.dense.matching import Sampling

USUAL_CUT = 0.3  # the score from which on a box is shown, where none was found on validation images
Count = Annotated[int, Field(ge=1, le=100_000)]


class DetectSettings(MapsSettings):
    """Objects in an image: boxes, classes, and masks where the head has them.

    head: what stands on the network: "retinanet", "maskrcnn", "cascade", or with its options.
    """

    name: Literal["detect"] = told("detect", "What is learned: boxes of objects, their classes, and perhaps masks.")
    head: BoxHeads = told(
        RetinaHead(), 'What stands on the network: "retinanet", "maskrcnn", "cascade", or one with its options.'
    )


class DetectLoss(LossSettings):
    """The head's own losses, as the reference has them. Which boxes of an image learn is drawn anew at each step.

    anchors, boxes: how many learn, of the anchors and of the proposals; their share that may hold objects.
    proposals: how many are drawn from. anchors_least: the overlap from which an object's best anchor learns it.
    """

    name: Literal["head"] = told("head", "The losses of the head's classes, boxes and masks.")
    anchors: Count = told(256, "How many anchors of an image learn to propose.", "anchors")
    anchors_positive: Fraction = told(0.5, "The most of them that may hold objects.", "share")
    anchors_least: Fraction = told(
        0.3,
        "From which overlap on an object's best anchor learns it, however bad it is: 0 for tiny objects.",
        "IoU",
    )
    boxes: Count = told(512, "How many proposals of an image learn.", "boxes")
    boxes_positive: Fraction = told(0.25, "The most of them that may hold objects.", "share")
    proposals: Count | None = told(None, "How many they are drawn from; null: 1000, of a cascade 2000.", "boxes")

    @property
    def sampling(self) -> "Sampling":
        """Give what the network is told of it."""
        from moganet.network.dense.matching import Sampling

        return Sampling(
            self.anchors, self.anchors_positive, self.boxes, self.boxes_positive, self.proposals, self.anchors_least
        )


class DetectDescription(TaskDescription):
    """A detector's task. What its network gives is in Detector.forward.

    category_ids: a data set's own number of each class, as COCO's, which leave some out; () has none.
    thresholds: of each class, the score from which on a box is shown, of the best F1 on validation images; () has none.
    window: the tiles by which larger images are answered, beside the whole; None takes the whole alone.
    """

    name: Literal["detect"] = "detect"
    category_ids: tuple[int, ...] = ()
    thresholds: tuple[Fraction, ...] = ()
    window: Window | None = None

    @model_validator(mode="after")
    def _one_a_class(self) -> Self:
        for name in ("category_ids", "thresholds"):
            values: tuple[float, ...] = getattr(self, name)
            if values and len(values) != len(self.class_names):
                raise ValueError(f"it has {len(values)} {name} for {len(self.class_names)} classes")
        if len(set(self.category_ids)) != len(self.category_ids):
            raise ValueError("two of its classes have one category id")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Give a number for each class, as COCO's files have them: the data set's own, or from 1 on."""
        return self.category_ids or tuple(range(1, len(self.class_names) + 1))

    @property
    def cuts(self) -> tuple[float, ...]:
        """Give the score from which on a box of each class is shown."""
        return self.thresholds or (USUAL_CUT,) * len(self.class_names)

    def joined(self, others: Sequence[Self], orders: Sequence[Sequence[int]], *, calibrated: bool) -> Self:
        raise ConfigError("what several models find, or one in mirrored images, is not averaged; give one, without tta")

    def anew(self, class_names: tuple[str, ...]) -> Self:
        ids = self.category_ids if class_names == self.class_names else ()
        return type(self)(name=self.name, class_names=class_names, category_ids=ids)
