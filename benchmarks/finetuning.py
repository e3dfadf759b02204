"""Fine-tune a model on photographs, and train the same network from scratch for as long: accuracy by seeds, in pairs.

Usage: python benchmarks/finetuning.py MODEL --data folder:PHOTOS --keep DIR [--epochs 15 70] [--seeds 0 1 2 3 4]

Both sides are `moganet train finetune` with as many epochs and no early stop; the second has --from none and
the shape of MODEL. Measured are the last weights on the validation images, of which neither side chooses anything.
Each of --epochs is a comparison of its own. Runs lie in DIR; what is finished there is not run again. Writes
finetuning.json beside this file.
"""

import argparse
import math
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import t
from sides import write

import moganet
from moganet.training.outcome import TrainResult

SIDES = ("fine-tuned", "from scratch")
SHAPE = ("name", "embed_dims", "depths", "mlp_ratios", "stem_stride", "gate", "channel_aggregation")


def main() -> None:
    """Compare both sides at each budget, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--epochs", type=int, nargs="+", default=[15, 70])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    asked = parser.parse_args()
    compared = [compare(asked.model, asked.data, asked.keep, epochs, asked.seeds) for epochs in asked.epochs]
    write(__file__, {"model": Path(asked.model).name, "seeds": asked.seeds, "budgets": compared})


def compare(model: str, data: str, keep: Path, epochs: int, seeds: list[int]) -> dict[str, Any]:
    """Train each side with each seed for so many epochs; give the accuracies and the mean of the pairs' differences."""
    common = {"trainer.max_epochs": epochs, "trainer.early_stop": None, "report": False}
    architecture = moganet.load(model).config.architecture.model_dump()
    shape = {f"network.{key}": architecture[key] for key in SHAPE if architecture[key] is not None}
    runs: dict[str, list[TrainResult]] = {side: [] for side in SIDES}
    for seed in seeds:
        for side in SIDES:
            fresh = side == "from scratch"
            result = moganet.train(
                "finetune",
                data,
                {**common, "seed": seed, **(shape if fresh else {})},
                out=keep / f"{side.replace(' ', '-')}-{epochs}-epochs-{seed}",
                start="none" if fresh else model,
                resume=True,
            )
            assert result is not None  # as on processes other than the first
            runs[side].append(result)
    accuracies = {side: [run["last"]["top1"] for run in results] for side, results in runs.items()}
    differences = [a - b for a, b in zip(*(accuracies[side] for side in SIDES), strict=True)]
    spread = t.ppf(0.975, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    return {
        "epochs": epochs,
        "seconds": {side: median(run["seconds"] for run in results) for side, results in runs.items()},
        "top1": accuracies,
        "mean": {side: mean(values) for side, values in accuracies.items()},
        "difference": mean(differences),
        "interval": [mean(differences) - spread, mean(differences) + spread],
    }


if __name__ == "__main__":
    main()
