"""What a recipe and a model file of a network for key points say of their task."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from moganet.config import HeatmapHead, LossSettings, MapsSettings, PoseHeads, told
from moganet.data.skeletons import Skeleton, skeleton_of
from moganet.tasks.task import TaskDescription

Place = Annotated[int, Field(ge=0)]
Sigma = Annotated[float, Field(gt=0, le=10)]


class PoseSettings(MapsSettings):
    """A heat map for each key point of a person, or of whatever lies in a box. head: what stands on the network."""

    name: Literal["pose"] = told("pose", "What is learned: where each key point of what a box holds lies.")
    head: PoseHeads = told(HeatmapHead(), 'What stands on the network: "heatmap", or it with its options.')


class PoseLoss(LossSettings):
    """The mean squared difference of heat maps, in which each known key point is a Gaussian bell.

    sigma: the bell's deviation.
    """

    name: Literal["heatmap_mse"] = told("heatmap_mse", "The mean squared difference of heat maps.")
    sigma: Annotated[float, Field(gt=0, le=50)] = told(
        2.0, "Deviation of the bell that a key point is in its heat map.", "places of the heat map"
    )


class PoseDescription(TaskDescription):
    """The task of a network for key points; its class names are the key points'.

    lines: between key points, for pictures. mirrored: which key point each is in a mirrored image. sigmas: how exactly
    each can be marked, a share of the root of the area, as OKS has it. Empty ones are what the names tell.
    """

    name: Literal["pose"] = "pose"
    lines: tuple[tuple[Place, Place], ...] = ()
    mirrored: tuple[Place, ...] = ()
    sigmas: tuple[Sigma, ...] = ()

    @model_validator(mode="after")
    def _of_its_key_points(self) -> Self:
        number = len(self.class_names)
        if self.mirrored and sorted(self.mirrored) != list(range(number)):
            raise ValueError(f"mirrored must name each of the {number} key points once")
        if self.sigmas and len(self.sigmas) != number:
            raise ValueError(f"it has {len(self.sigmas)} sigmas for {number} key points")
        if any(place >= number for line in self.lines for place in line):
            raise ValueError(f"a line ends at a key point beyond the {number}")
        return self

    @property
    def skeleton(self) -> Skeleton:
        """Give all that is known of the key points."""
        usual = skeleton_of(self.class_names, self.lines)
        return Skeleton(self.class_names, usual.lines, self.mirrored or usual.mirrored, self.sigmas or usual.sigmas)

    def anew(self, class_names: tuple[str, ...]) -> Self:
        kept = self if class_names == self.class_names else PoseDescription()
        own = {"lines": kept.lines, "mirrored": kept.mirrored, "sigmas": kept.sigmas}
        return self.changed(class_names=class_names, temperature=None, guard=None, **own)
