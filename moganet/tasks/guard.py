"""Whether an image is unlike those that a model was trained on: three scores, each as rare as it is among images held
back, and the sum of their surprises; numpy only.

The contract for a task: its description has `guard` (TaskDescription has it), its `energy` says how unsure outputs are,
and `Task.unlike` answers. `moganet.inference.guarding` makes a guard at the end of a training.
"""

import base64
import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from moganet.config import Fraction, Preprocessing, Settings
from moganet.tasks.texture import texture

Values = NDArray[np.float64]
Score = Literal["energy", "texture", "scrambled"]
FEATURES, TEXTURE = "features", "texture"  # outputs beside a network's own: pooled last features, and of the pixels
LEVELS = tuple(float(level) for level in np.round(np.linspace(0, 0.95, 39), 4))  # of a curve's knots
MAX_NUMBERS = 200_000  # in one of a guard's arrays
KEPT = 0.945  # of the images held back, which a guard does not reject: as many others, give or take half a percent


def packed(values: NDArray[np.floating], kind: str) -> str:
    """Write an array as text: numpy's `kind` in little endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(kind)).tobytes()).decode()


@lru_cache(maxsize=32)
def unpacked(text: str, kind: str) -> Values:
    """Read what `packed` wrote, (n,). Raises ValueError for anything else."""
    raw = base64.b64decode(text, validate=True)
    values = np.frombuffer(raw, np.dtype(kind)).astype(np.float64)
    if len(values) > MAX_NUMBERS or not np.isfinite(values).all():
        raise ValueError("an array of the guard is not one of finite numbers, or too long")
    return values


class Curve(Settings):
    """How rare a score is among images held back.

    knots: the score at each of LEVELS, the shares of images below it. tail: the mean of what the rest is beyond the
    last knot; so rare a score is taken to fall off exponentially.
    """

    knots: tuple[float, ...]
    tail: Annotated[float, Field(gt=0)]

    @field_validator("knots")
    @classmethod
    def _rising(cls, knots: tuple[float, ...]) -> tuple[float, ...]:
        if len(knots) != len(LEVELS) or any(a > b for a, b in itertools.pairwise(knots)):
            raise ValueError(f"a curve has {len(LEVELS)} knots that rise")
        return knots

    def surprise(self, scores: Values) -> Values:
        """Give -log of the share of images held back that score as high (N,): 0 is usual, 3 is one in twenty."""
        within = -np.log1p(-np.interp(scores, self.knots, LEVELS))
        beyond = (scores - self.knots[-1]) / self.tail
        return within + np.clip(beyond, 0, 1e6)

    @classmethod
    def of(cls, scores: Values) -> "Curve":
        """Fit it to the scores of images held back (N,)."""
        knots = np.quantile(scores, LEVELS)
        beyond = scores[scores > knots[-1]] - knots[-1]
        spread = float(scores.std()) or 1.0
        tail = float(beyond.mean()) if len(beyond) else 0.0
        return cls(knots=tuple(knots.tolist()), tail=max(tail, 1e-3 * spread))


class Guard(Settings):
    """What is kept to tell an image that is unlike those trained on.

    center, spread: of the pixels' statistics, float32 (n,) and float16 (n, n): the length of (t - center) @ spread is a
    Mahalanobis distance. direction: float32 (D + 1,), which points in the space of pooled last features from training
    images to the same with their parts scrambled, and its offset; None where a network gives no features. curves: of
    each score. threshold: of the sum of surprises. kept: the share, of num_images images held back, that lies below.
    """

    center: str
    spread: str
    direction: str | None = None
    curves: dict[Score, Curve]
    threshold: float
    kept: Fraction
    num_images: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _whole(self) -> "Guard":
        number = len(unpacked(self.center, "<f4"))
        if len(unpacked(self.spread, "<f2")) != number * number:
            raise ValueError("the guard's spread is not that of its center")
        if self.direction is not None:
            unpacked(self.direction, "<f4")
        if ("scrambled" in self.curves) != (self.direction is not None) or TEXTURE not in self.curves:
            raise ValueError("the guard's curves are not those of its scores")
        return self

    def unlike(self, outputs: Mapping[str, NDArray[np.floating]], energy: Values | None) -> NDArray[np.bool_] | None:
        """Tell of each image (B,) whether it is unlike; None where outputs lack what a score is made of."""
        scores = self.scores(outputs, energy)
        if scores.keys() != self.curves.keys():
            return None
        return np.asarray(self.total(scores) > self.threshold)

    def total(self, scores: Mapping[Score, Values]) -> Values:
        """Add the surprises of an image's scores (Fisher 1932)."""
        return np.asarray(sum(self.curves[name].surprise(values) for name, values in scores.items()), np.float64)

    def scores(self, outputs: Mapping[str, NDArray[np.floating]], energy: Values | None) -> dict[Score, Values]:
        """Give the scores (B,) that can be told from outputs: the higher, the less like what was trained on."""
        found: dict[Score, Values] = {}
        if energy is not None and "energy" in self.curves:
            found["energy"] = energy
        center, features = unpacked(self.center, "<f4"), outputs.get(FEATURES)
        if TEXTURE in outputs and outputs[TEXTURE].shape[1] == len(center):
            spread = unpacked(self.spread, "<f2").reshape(len(center), -1)
            found["texture"] = np.square((outputs[TEXTURE] - center) @ spread).sum(1)
        if self.direction is not None and features is not None:
            direction = unpacked(self.direction, "<f4")
            if features.shape[1] == len(direction) - 1:
                found["scrambled"] = features.astype(np.float64) @ direction[:-1] + direction[-1]
        return found


def texture_of(images: NDArray[np.floating], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Give the statistics of the pixels (B, n) of preprocessed images (B, C, H, W)."""
    mean, std = (np.array(one, np.float32)[:, None, None] for one in (preprocessing.mean, preprocessing.std))
    return texture(np.asarray(images, np.float32) * std + mean)
