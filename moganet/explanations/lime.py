"""LIME (Ribeiro et al. 2016): hide superpixels at random, and fit a weighted linear model to what the score does.

captum's Lime draws, weighs and renders one sample at a time in Python, and takes no batch as a sample; here masks are
drawn, rendered and run in batches, and scikit-learn fits the model. Kernel, ridge and hiding are those of the authors'
package, so that results can be compared.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from moganet.errors import ConfigError
from moganet.explanations.method import Explanation, Scores, check_inputs, score_of
from moganet.explanations.superpixels import find_superpixels, mean_colours
from moganet.machine import one_thread
from moganet.progress import Progress, no_progress

KERNEL_WIDTH, RIDGE = 0.25, 1.0  # the authors' own
# "auto": after each round of pairs the model is fitted to resampled pairs; the ranking is stable where this share of
# the fits finds the same best superpixels in the same order. Where two are as good as equal that may never come, so
# that sampling ends at MOST.
FIRST_ROUND, GROWTH, RESAMPLED, NUM_BEST, STABLE = 200, 1.3, 100, 3, 0.9
MOST = 4000
Samples = int | Literal["auto"]


@dataclass(frozen=True)
class _Image:
    """What is sampled: an image (C, H, W), the same hidden, its superpixels (H, W) and their kind, and the class."""

    image: Tensor
    hidden: Tensor
    segments: Tensor
    kind: str
    target: int

    @property
    def num_segments(self) -> int:
        return int(self.segments.max()) + 1


def lime(
    model: Scores,
    images: Tensor,
    targets: Tensor,
    *,
    samples: Samples = "auto",
    superpixels: str | Tensor = "quickshift",
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[Explanation]:
    """Give each superpixel's weight in the linear model, on its pixels.

    samples: predictions an image, or "auto": pairs of a mask and its opposite, until the ranking of the best
    three superpixels is stable (bootstrap over the pairs), 4,000 at most.
    superpixels: "quickshift", "slic", "grid", or labels (B, H, W), counted from 0.
    details: `weights` by label, `intercept` and `r2` of the weighted fit, `samples`, `samples_per_second` and, for
    "auto", `stable`: the share of resampled fits that found the same ranking. Raises ConfigError.
    """
    check_inputs(images, targets)
    if samples != "auto" and samples < 2:
        raise ConfigError(f"samples is {samples}; it must be 'auto' or at least 2")
    found = []
    for i, target in enumerate(targets.tolist()):
        image = images[i].cpu()
        if isinstance(superpixels, Tensor):
            segments, kind = superpixels[i].long().cpu(), "given"
        else:
            segments, kind = find_superpixels(image, superpixels)
        asked = _Image(image, mean_colours(image, segments), segments, kind, target)
        sampler = _Sampler(model, asked, samples, batch_size, torch.Generator().manual_seed(seed))
        found.append(_explain(sampler, progress))
    return found


def _explain(sampler: "_Sampler", progress: Progress) -> Explanation:
    asked, start = sampler.asked, time.perf_counter()
    for _ in progress(sampler.run(), sampler.most, "lime"):
        pass
    masks, scores = np.concatenate(sampler.masks), np.concatenate(sampler.scores)
    seconds = time.perf_counter() - start
    weights = kernel(masks)
    surrogate = Ridge(alpha=RIDGE).fit(masks, scores, sample_weight=weights)
    coefficients = torch.from_numpy(surrogate.coef_).float()
    details = {
        "superpixels": asked.kind,
        "num_superpixels": asked.num_segments,
        "samples": len(scores),
        "samples_per_second": len(scores) / seconds,
        "weights": surrogate.coef_.tolist(),
        "intercept": float(surrogate.intercept_),
        "r2": float(surrogate.score(masks, scores, sample_weight=weights)),
    }
    if sampler.stable is not None:
        details["stable"] = sampler.stable
    return Explanation(coefficients[asked.segments], details, segments=asked.segments)


class _Sampler:
    """Draw masks (F superpixels, True is shown), render and run them in batches, and keep the scores and `stable`."""

    def __init__(
        self, model: Scores, asked: _Image, samples: Samples, batch_size: int, generator: torch.Generator
    ) -> None:
        self.model, self.asked, self.samples = model, asked, samples
        self.batch_size, self.generator = batch_size, generator
        self.most = MOST if samples == "auto" else samples
        self.masks: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []
        self.stable: float | None = None

    def run(self) -> Iterator[int]:
        """Run until there are enough; yield the number of samples of each batch."""
        if self.samples != "auto":
            yield from self._run(self._draw(self.samples))
            return
        total, wanted = 0, float(FIRST_ROUND)
        while total < self.most:
            number = min(self.most, 2 * round(wanted / 2)) - total
            half = self._draw(number // 2)
            yield from self._run(torch.stack([half, ~half], 1).flatten(0, 1))
            total, wanted = total + number, wanted * GROWTH
            self.stable = stability(np.concatenate(self.masks), np.concatenate(self.scores))
            if self.stable >= STABLE:
                return

    def _draw(self, number: int) -> Tensor:
        return torch.rand(number, self.asked.num_segments, generator=self.generator) < 0.5

    def _run(self, masks: Tensor) -> Iterator[int]:
        asked = self.asked
        for batch in torch.split(masks, self.batch_size):
            with one_thread():
                shown = batch[:, asked.segments][:, None]  # (b, 1, H, W)
                images = torch.where(shown, asked.image, asked.hidden)
            with torch.no_grad():
                scores = score_of(self.model, images, asked.target)
            self.masks.append(batch.numpy())
            self.scores.append(scores.double().numpy())
            yield len(batch)


def kernel(masks: np.ndarray) -> np.ndarray:
    """Weigh masks (n, F) by their nearness to the whole image: sqrt(exp(-d^2 / width^2)), d the cosine distance."""
    distance = 1 - np.sqrt(masks.mean(1))
    return np.asarray(np.sqrt(np.exp(-(distance**2) / KERNEL_WIDTH**2)))


def stability(masks: np.ndarray, scores: np.ndarray) -> float:
    """Give the share of fits to resampled pairs that rank the best superpixels as the fit to all does.

    masks (n, F) and scores (n,): a mask and its opposite follow each other.
    """
    pairs, features = len(masks) // 2, masks.shape[1]
    best = min(NUM_BEST, features - 1)
    if best < 1:
        return 1.0
    x = np.concatenate([masks, np.ones((len(masks), 1))], 1)
    weights, penalty = kernel(masks), np.diag([RIDGE] * features + [0.0])
    drawn, chosen = np.random.default_rng(0).multinomial(pairs, np.full(pairs, 1 / pairs), RESAMPLED), []
    for counts in [np.ones(pairs), *drawn]:
        weighted = x * (weights * counts.repeat(2))[:, None]
        solution = np.linalg.lstsq(weighted.T @ x + penalty, weighted.T @ scores, rcond=None)[0][:-1]
        chosen.append(np.argsort(-solution, kind="stable")[:best].tolist())
    return float(sum(found == chosen[0] for found in chosen[1:]) / RESAMPLED)
