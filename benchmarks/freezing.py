"""Fine-tune with the head alone at first, against fine-tuning all layers at once: accuracy by seeds, in pairs.

Usage: python benchmarks/freezing.py --data folder:PHOTOS --keep DIR [--model moganet_nano.cifar10] [--epochs 15]
    [--freeze-epochs 1 2 4] [--seeds 0 1 2 3 4]

Both sides are `moganet train finetune` with as many epochs and no early stop. Measured are the last weights on the
validation images. Runs lie in DIR; what is finished there is not run again. Writes freezing.json beside this file.
"""

import argparse
from pathlib import Path
from statistics import mean, median, stdev

from scipy.stats import t
from sides import write

import moganet
from moganet.training.outcome import TrainResult


def main() -> None:
    """Compare each number of frozen epochs with none, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="moganet_nano.cifar10")
    parser.add_argument("--data", required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--freeze-epochs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    asked = parser.parse_args()
    runs: dict[int, list[TrainResult]] = {number: [] for number in (0, *asked.freeze_epochs)}
    for seed in asked.seeds:
        for number, results in runs.items():
            settings = {"trainer.max_epochs": asked.epochs, "trainer.early_stop": None, "report": False, "seed": seed}
            settings["start.freeze_epochs"] = number
            out = asked.keep / f"frozen-{number}-of-{asked.epochs}-epochs-{seed}"
            result = moganet.train("finetune", asked.data, settings, out=out, start=asked.model, resume=True)
            assert result is not None  # as on processes other than the first
            results.append(result)
    plain = [run["last"]["top1"] for run in runs[0]]
    found = []
    for number, results in runs.items():
        top1 = [run["last"]["top1"] for run in results]
        pairs = [a - b for a, b in zip(top1, plain, strict=True)]
        spread = t.ppf(0.975, len(pairs) - 1) * stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else None
        one = {"freeze_epochs": number, "top1": top1, "mean": mean(top1)}
        one |= {"difference": mean(pairs), "plus_minus": spread}
        found.append({**one, "seconds": median(run["seconds"] for run in results)})
    write(__file__, {"model": Path(asked.model).name, "epochs": asked.epochs, "seeds": asked.seeds, "sides": found})


if __name__ == "__main__":
    main()
