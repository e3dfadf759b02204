"""What a multi-label recipe and model file say of their task."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from moganet.config import Fraction, LossSettings, TaskSettings
from moganet.config.recipe import NonNegative, Positive
from moganet.tasks.task import TaskDescription

PLAIN = 0.5  # the probability from which on a class is found, where no other was chosen


class MultilabelSettings(TaskSettings):
    """Any number of classes an image.

    mix: what a blend of two images (mixup, cutmix) shows: the "mixture" of their labels, or their "union".
    """

    name: Literal["multilabel"] = "multilabel"
    mix: Literal["mixture", "union"] = "mixture"


class MultilabelLoss(LossSettings):
    """Binary cross-entropy of each class, or the asymmetric loss (Ridnik et al. 2021); the mean over the classes.

    smoothing: moves targets towards 0.5. pos_weights: a factor of each class's positives; "balanced" is the number of
    its negatives by that of its positives. gamma_neg, gamma_pos, clip: of the asymmetric loss. teacher: as in
    LossSettings; its divergence is the mean over the classes too.
    """

    name: Literal["bce", "asymmetric"] = "bce"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    pos_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    gamma_neg: NonNegative = 4.0
    gamma_pos: NonNegative = 1.0
    clip: Fraction = 0.05


class MultilabelDescription(TaskDescription):
    """A multi-label task. thresholds: the probability from which on each class is found; without any 0.5 for all."""

    name: Literal["multilabel"] = "multilabel"
    thresholds: tuple[Fraction, ...] = ()

    @model_validator(mode="after")
    def _one_a_class(self) -> Self:
        if self.thresholds and len(self.thresholds) != len(self.class_names):
            raise ValueError(f"it has {len(self.thresholds)} thresholds for {len(self.class_names)} classes")
        return self

    def joined(self, others: Sequence[Self], orders: Sequence[Sequence[int]], *, calibrated: bool) -> Self:
        """Take the mean of the thresholds too, each on its own model's scale."""
        made = super().joined(others, orders, calibrated=calibrated)
        every = (self, *others)
        if not any(one.thresholds for one in every):
            return made
        own = [
            np.array(one.scaled_cuts(calibrated=calibrated))[order] for one, order in zip(every, orders, strict=True)
        ]
        return made.changed(thresholds=tuple(np.mean(own, 0).tolist()))

    def scaled_cuts(self, *, calibrated: bool) -> tuple[float, ...]:
        """Give the thresholds, as those of probabilities that the temperature scales where `calibrated`."""
        if not calibrated or self.temperature is None:
            return self.cuts
        inside = np.array(self.cuts).clip(1e-12, 1 - 1e-12)
        return tuple((1 / (1 + ((1 - inside) / inside) ** (1 / self.temperature))).tolist())

    @property
    def cuts(self) -> tuple[float, ...]:
        """Give a threshold for each class."""
        return self.thresholds or (PLAIN,) * len(self.class_names)
