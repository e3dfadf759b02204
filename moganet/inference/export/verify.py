"""Whether an exported file gives what the network gives: on probes, on the model's fixtures, on a real set."""

from collections.abc import Sequence

import numpy as np
import torch

from moganet.data.preprocess import preprocess
from moganet.inference.runs import Array, Outputs, Run
from moganet.models.description import ModelDescription
from moganet.models.fixtures import fixture_inputs, recorded, replay_fixtures, values_of_places
from moganet.notices import say
from moganet.tasks import TASKS
from moganet.tasks.guard import FEATURES

NUM_PROBES = 3  # an odd batch, that the graph was not traced with
RECORDED = "recorded"
PROBED = (96, 160)  # height and width of random images where a graph takes any


def deviation(given: Outputs, expected: Outputs) -> float:
    """Give the largest difference of any output, in its expected standard deviations; NaN given is infinitely far.

    Of features, which decide only together, it is the root of the mean square.
    """
    if values_of_places(expected) is None:
        given, expected = ({RECORDED: recorded_each(outputs)} for outputs in (given, expected))
    return max(_of_one(given[name], values, mean=name == FEATURES) for name, values in expected.items())


def recorded_each(outputs: Outputs) -> Array:
    """Give what a fixture would keep of each image: of boxes, whose order tells nothing where scores are alike."""
    number = len(next(iter(outputs.values())))
    return np.stack([recorded({name: values[i : i + 1] for name, values in outputs.items()}) for i in range(number)])


def _of_one(given: Array, expected: Array, *, mean: bool) -> float:
    if not np.isfinite(given).all():
        return float("inf")
    spread = float(expected.std(ddof=1)) if expected.size > 1 else 1.0
    apart = np.abs(given - expected) / (spread or 1.0)
    return float(np.sqrt(np.square(apart).mean()) if mean else apart.max())


class Reference:
    """The plain network, asked once for each batch however many exports are compared with it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.known: dict[str, Outputs] = {}

    def of(self, key: str, images: Array) -> Outputs:
        """Give its outputs for a batch that is always the same under its key."""
        if key not in self.known:
            self.known[key] = self.run(images)
        return self.known[key]


def check(
    run: Run, reference: Reference, description: ModelDescription, size: tuple[int, int], probes: Array | None = None
) -> float:
    """Give the deviation of `run` from the plain network, over `probes` and the model's fixtures.

    Both take preprocessed images (B, C, H, W). probes: None takes random images; int8, whose ranges are those of real
    images, is checked with such. The fixtures' recorded logits hold where the size is the model's own.
    """
    channels = description.preprocessing.channels
    own = description.preprocessing
    probed = size if own.one_size else tuple(own.multiple * -(-side // own.multiple) for side in PROBED)
    key = "real" if probes is not None else f"random {probed}"
    if probes is None:
        probes = torch.randn(NUM_PROBES, channels, *probed, generator=torch.Generator().manual_seed(0)).numpy()
    expected = reference.of(key, probes)
    first = {name: values[:1] for name, values in expected.items()}
    worst = max(deviation(run(probes), expected), deviation(run(probes[:1]), first))
    there = description.changed(preprocessing=description.preprocessing.changed(size=size))
    pictures = fixture_inputs(there)
    of_pictures = [reference.of(f"fixture {number} {size}", x) for number, x in enumerate(pictures)]
    worst = max([worst, *(deviation(run(x), known) for x, known in zip(pictures, of_pictures, strict=True))])
    _say_of_nothing([expected, *of_pictures])
    if pictures and size == description.preprocessing.size:
        plain = [recorded(known) if (values := values_of_places(known)) is None else values for known in of_pictures]
        apart = replay_fixtures(there, run)
        worst = max(worst, apart / (float(np.concatenate(plain).std(ddof=1)) or 1.0))
    return worst


def _say_of_nothing(every: Sequence[Outputs]) -> None:
    """Say that two forms of a detector were compared where neither finds anything."""
    if "scores" in every[0] and not any(known["scores"].any() for known in every):
        say("the model finds nothing in what the file was compared on; give --data to compare on images", doubtful=True)


def check_raw(run: Run, reference: Reference, description: ModelDescription, temperature: float | None) -> float:
    """Give a raw graph's deviation from the network, in logits that are divided by temperature, over any pictures."""
    preprocessing, task = description.preprocessing, TASKS[description.task.name]
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for height, width in ((97, 131), (260, 180), (300, 640)):
        coarse = torch.rand(1, preprocessing.channels, 9, 11, generator=generator)
        picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        image = (picture * 255).round().to(torch.uint8)
        key = f"picture {height}x{width} {preprocessing.size}"
        logits = reference.of(key, preprocess(image, preprocessing)[None].numpy())["logits"] / (temperature or 1.0)
        scaled = description.task.changed(temperature=None)
        expected = task.logits_of(task.probabilities({"logits": logits}, scaled))
        given = task.logits_of(run(image.permute(1, 2, 0)[None].contiguous().numpy())["probabilities"])
        worst = max(worst, deviation({"logits": given}, {"logits": expected}))
    return worst
