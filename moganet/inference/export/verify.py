"""Whether an exported file gives what the network gives: on probes, on the model's fixtures, on a real set."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from moganet.config import Preprocessing
from moganet.data.preprocess import preprocess
from moganet.inference.export.graph import ExportPrecision, Run
from moganet.models.description import ModelDescription
from moganet.models.fixtures import replay_fixtures

NUM_PROBES = 3  # an odd batch, that the graph was not traced with


@dataclass(frozen=True)
class Tolerance:
    """What an export may lose.

    deviation: the largest difference of a logit, in standard deviations of the logits. agreement: the least share of
    images of a real set for which the likeliest class must stay the same.
    """

    deviation: float
    agreement: float


TOLERANCES: dict[ExportPrecision, Tolerance] = {
    "f32": Tolerance(1e-3, 0.999),
    "f16": Tolerance(0.05, 0.99),
    "bf16": Tolerance(0.3, 0.98),
    "int8": Tolerance(2.0, 0.95),
}
# Resizing inside a graph may differ by a grey level from torch's, which works with whole numbers.
RAW = Tolerance(0.1, 0.99)


def tolerance_of(precision: ExportPrecision, raw: bool) -> Tolerance:
    """Give the tolerance for an export; that of preprocessing in the graph where it is larger."""
    own = TOLERANCES[precision]
    return Tolerance(max(own.deviation, RAW.deviation), min(own.agreement, RAW.agreement)) if raw else own


def deviation(given: Tensor, expected: Tensor) -> float:
    """Give the largest difference of logits (B, classes) in standard deviations of those expected.

    An infinity or NaN in what is given is an infinite deviation.
    """
    if not bool(given.isfinite().all()):
        return float("inf")
    spread = expected.std().item() if expected.numel() > 1 else 1.0
    return ((given - expected).abs().max() / (spread or 1.0)).item()


def check(
    run: Run, network: Run, description: ModelDescription, size: tuple[int, int], probes: Tensor | None = None
) -> float:
    """Give the deviation of `run` from the plain network, over `probes` and the model's fixtures.

    Both take preprocessed images (B, C, H, W). probes: None takes random images; int8, whose ranges are those of real
    images, is checked with such. The fixtures' recorded logits hold where the size is the model's own.
    """
    channels = description.preprocessing.channels
    if probes is None:
        generator = torch.Generator().manual_seed(0)
        probes = torch.randn(NUM_PROBES, channels, *size, generator=generator)
    expected = network(probes)
    worst = max(deviation(run(probes), expected), deviation(run(probes[:1]), expected[:1]))
    seen: list[Tensor] = []
    there = description.changed(preprocessing=description.preprocessing.changed(size=size))

    def remember(x: Tensor) -> Tensor:
        seen.append(x)
        return run(x)

    recorded = replay_fixtures(there, remember)
    for x in seen:
        worst = max(worst, deviation(run(x), network(x)))
    if seen and size == description.preprocessing.size:
        spread = torch.cat([network(x) for x in seen]).std().item()
        worst = max(worst, recorded / (spread or 1.0))
    return worst


def check_raw(run: Run, network: Run, preprocessing: Preprocessing, temperature: float | None) -> float:
    """Give the deviation of a raw graph's log-probabilities from the plain network's, over pictures of any size.

    temperature: what the graph divides by, if it does.
    """
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for height, width in ((97, 131), (260, 180), (300, 640)):
        coarse = torch.rand(1, preprocessing.channels, 9, 11, generator=generator)
        picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        image = (picture * 255).round().to(torch.uint8)
        expected = (network(preprocess(image, preprocessing)[None]) / (temperature or 1.0)).log_softmax(1)
        given = run(image.permute(1, 2, 0)[None].contiguous()).clamp(min=1e-38).log()
        worst = max(worst, deviation(given, expected))
    return worst


def agreement(run: Run, network: Run, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Compare decisions over preprocessed batches (images, labels): the share that agree, and each side's accuracy.

    Labels below 0 are unknown to the model, and count for the agreement alone.
    """
    same = images = known = right = right_before = 0
    for x, labels in batches:
        after, before = run(x).argmax(1), network(x).argmax(1)
        images += len(x)
        known += int((labels >= 0).sum())
        same += int((after == before).sum())
        right += int((after == labels).sum())
        right_before += int((before == labels).sum())
    found = {"images": float(images), "agreement": same / max(1, images)}
    if known:
        found |= {"top1": right / known, "top1_before": right_before / known}
    return found
