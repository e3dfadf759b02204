"""What a multi-label recipe and model file say of their task."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from moganet.config import Fraction, LossSettings, TaskSettings, told
from moganet.config.recipe import NonNegative, Positive
from moganet.tasks.task import TaskDescription

PLAIN = 0.5  # the probability from which on a class is found, where no other was chosen


class MultilabelSettings(TaskSettings):
    """Any number of classes an image."""

    name: Literal["multilabel"] = told("multilabel", "Any number of classes an image.")
    mix: Literal["mixture", "union"] = told(
        "mixture", "What a blend of two images (mixup, cutmix) shows: the mixture of their labels, or their union."
    )


class MultilabelLoss(LossSettings):
    """Binary cross-entropy of each class, or the asymmetric loss (Ridnik et al. 2021); the mean over the classes.

    The divergence from a teacher is the mean over the classes too.
    """

    name: Literal["bce", "asymmetric"] = told("bce", "Binary cross-entropy, or the asymmetric loss.")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = told(0.0, "How far targets are moved towards 0.5.", "share")
    pos_weights: Literal["balanced"] | tuple[Positive, ...] | None = told(
        None,
        'A factor of each class\'s positives, or "balanced": its negatives by its positives; null: all count the same.',
        "factor",
    )
    gamma_neg: NonNegative = told(4.0, "How much the asymmetric loss passes over easy negatives.", "exponent")
    gamma_pos: NonNegative = told(1.0, "How much it passes over easy positives.", "exponent")
    clip: Fraction = told(0.05, "The probability below which it leaves negatives out.", "probability")


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
