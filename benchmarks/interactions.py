"""Time the measuring of interactions: against the network alone, and against the published code's way.

The published way, written anew from its description: each context's four masks are built and enlarged one by one in a
Python loop, go through the reference's form of the network in batches of 288, and no mask is evaluated once only.
"published loop, our network" gives that loop our fastest form of the network. Writes interactions.json beside this
file. Usage: python benchmarks/interactions.py nano32 | xtiny224
"""

import sys
import warnings
from functools import partial
from statistics import median
from typing import Any

import torch
from sides import Side, reference_form, time_in_turns, update
from torch import Tensor
from torch.nn import functional as F

import moganet
from moganet.inference.masking import Logits, MaskedImage, best_batch, logits_of
from moganet.interactions import pair_interactions, published_orders, sample_contexts, sample_pairs

BATCH = 288
SETTINGS: dict[str, dict[str, Any]] = {  # pairs and contexts: as many as two minutes allow
    "nano32": {"variant": "moganet_nano", "options": {"stem_stride": 2}, "size": 32, "grid": 16, "amount": (3, 15)},
    "xtiny224": {"variant": "moganet_xtiny", "options": {}, "size": 224, "grid": 14, "amount": (1, 1)},
}


def published_loop(network: Logits, image: Tensor, label: int, grid: int, drawn: tuple[Any, Any]) -> float:
    """Evaluate all masks of all contexts in batches of 288, built one by one; give the sum of what changed."""
    total = 0.0
    batch: list[Tensor] = []

    def flush() -> float:
        logits = network(torch.cat(batch)).double()
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
        values = (logits[:, label] - others.logsumexp(1)).view(-1, 4)
        batch.clear()
        return float((values[:, 0] - values[:, 1] - values[:, 2] + values[:, 3]).sum())

    for (i, j), of_pair in zip(drawn[0].tolist(), drawn[1], strict=True):
        for of_order in of_pair:
            for context in of_order:
                for present in ((i, j), (i,), (j,), ()):
                    mask = torch.from_numpy(context).float()
                    mask[list(present)] = 1
                    enlarged = F.interpolate(mask.view(1, 1, grid, grid), size=image.shape[1:], mode="nearest")
                    batch.append(image[None] * enlarged)
                if len(batch) == BATCH:
                    total += flush()
    return total + (flush() if batch else 0.0)


def ours(network: Logits, image: Tensor, grid: int, amount: tuple[int, int], batch: int) -> Any:
    """Draw and measure as the command does, for one image."""
    value = MaskedImage(network, image, torch.zeros_like(image), 3, "log-odds", grid)
    pairs, contexts = draw(grid, amount)
    return pair_interactions(value, pairs, contexts, batch_size=batch)


def draw(grid: int, amount: tuple[int, int]) -> tuple[Any, Any]:
    pairs = sample_pairs(grid, amount[0], "image")
    return pairs, sample_contexts(grid**2, pairs, published_orders(grid**2), amount[1], "image")


def ratio(rounds: dict[str, list[float]], over: str, under: str) -> float:
    """Give the median over rounds of two sides' seconds: what slows the machine down meets both of a round."""
    return median(a / b for a, b in zip(rounds[over], rounds[under], strict=True))


@torch.inference_mode()
def main(name: str) -> None:
    """Time the four sides of a setting in turns."""
    setting = SETTINGS[name]
    size, grid, amount = setting["size"], setting["grid"], setting["amount"]
    image = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # speed does not depend on the weights
        predictor = moganet.load(setting["variant"], num_classes=10, **setting["options"])
    reference = reference_form(setting["variant"], num_classes=10, **setting["options"]).eval()
    network = logits_of(predictor)
    batch, _ = best_batch(network, (3, size, size), torch.device(predictor.device))
    drawn = draw(grid, amount)
    evaluations = ours(network, image, grid, amount, batch).evaluations
    plain = torch.randn(batch, 3, size, size)
    calls = -(-evaluations // batch)
    sides = {
        "network alone": Side(lambda: [network(plain) for _ in range(calls)], True),
        "ours": Side(partial(ours, network, image, grid, amount, batch), True),
        "published way": Side(partial(published_loop, reference, image, 3, grid, drawn)),
        "published loop, our network": Side(partial(published_loop, network, image, 3, grid, drawn), True),
    }
    rounds = time_in_turns(sides)
    seconds = {side: median(times) for side, times in rounds.items()}
    masks = 4 * drawn[1].shape[0] * drawn[1].shape[1] * drawn[1].shape[2]
    rates = {"network alone": calls * batch / seconds["network alone"], "ours": evaluations / seconds["ours"]}
    result = {
        "batch": batch,
        "masks": masks,
        "distinct": evaluations,
        "runtime": predictor.runtime,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "evaluations_per_second": rates,
        "of_plain_rate": evaluations / (calls * batch) * ratio(rounds, "network alone", "ours"),
        "times_published_way": ratio(rounds, "published way", "ours"),
        "times_published_loop": ratio(rounds, "published loop, our network", "ours"),
    }
    update(__file__, name, result)


if __name__ == "__main__":
    main(sys.argv[1])
