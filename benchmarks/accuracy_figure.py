"""Draw accuracy on CIFAR-10's test set against minutes of training, of all runs on one pair of axes.

Usage: python benchmarks/accuracy_figure.py LABEL=NAME ... [--out docs/cifar10-minutes.png]

NAME is of a run in results/: what keep_run.py kept (NAME.csv and NAME.json), or what peer_cifar10.py wrote (NAME.json).
Of the first the minutes are the run's by the share of its steps that were done; of the peer those of its own clock.
"""

import argparse
import csv
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

RESULTS = Path(__file__).parent / "results"
LOWEST = 0.8  # from which on it is drawn


def curve(name: str) -> tuple[list[float], list[float]]:
    """Give a run's minutes, and its accuracy after them."""
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    if "curve" in found:
        return [one["seconds"] / 60 for one in found["curve"]], [one["accuracy"] for one in found["curve"]]
    with open(RESULTS / f"{name}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = [(int(row["step"]), float(row["val/top1"])) for row in rows if row["val/top1"]]
    last = max(step for step, _ in steps)
    return [found["seconds"] / 60 * step / last for step, _ in steps], [accuracy for _, accuracy in steps]


def main() -> None:
    """Draw, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="LABEL=NAME")
    parser.add_argument("--out", type=Path, default=Path("docs/cifar10-minutes.png"))
    asked = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for text in asked.runs:
        label, _, name = text.partition("=")
        minutes, accuracy = curve(name)
        (line,) = axes.plot(minutes, accuracy, linewidth=1.6)
        axes.plot(minutes[-1:], accuracy[-1:], "o", color=line.get_color(), markersize=4)
        line.set_label(f"{label}: {100 * accuracy[-1]:.1f} % after {minutes[-1]:.0f} min")
    axes.set(xlabel="minutes of training on two cores", ylabel="top-1 on the test set", xlim=(0, None))
    axes.set_ylim(LOWEST, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(asked.out, dpi=150)


if __name__ == "__main__":
    main()
