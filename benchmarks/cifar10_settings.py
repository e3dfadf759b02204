"""Choose settings of the recipe `cifar10` on training images held back: short runs that differ in one thing.

Usage: python benchmarks/cifar10_settings.py RUNS [--only NAME ...] [--seeds 0] [--epochs 9] [--data cifar10[:PATH]]

Trains each into RUNS/NAME-seedN, by one thread, and goes on where it was stopped; the test set is not looked at. Then
writes results/cifar10_settings.json: for all that RUNS holds whole what differs, accuracy on the 5,000 images that were
held back after the last epoch, and seconds, which other work on the machine makes longer.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import moganet
from moganet.engine.doctor import environment
from moganet.files import write_text

RECIPE, HELD_BACK = "cifar10-1h", 5000
RESULTS = Path(__file__).parent / "results"
MUON: dict[str, Any] = {"optimizer.name": "nadamuon", "optimizer.lr": 8e-3}
TURNS = {**MUON, "augment.hflip_by_turns": True}
LARGE = {**TURNS, "data.batch_size": 256, "optimizer.lr": 1.2e-2}
# A name, what it is compared with, and what it changes in the recipe.
SETTINGS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "adamw": (None, {"optimizer.name": "adamw", "optimizer.lr": 4e-3}),
    "nadamuon": ("adamw", MUON),
    "by turns": ("nadamuon", TURNS),
    "batches of 256": ("by turns", LARGE),
    "batches of 256, lr 0.016": ("batches of 256", {**LARGE, "optimizer.lr": 1.6e-2}),
    "no cutmix": ("batches of 256", {**LARGE, "augment.cutmix": 0.0}),
    "smoothing 0.2": ("batches of 256", {**LARGE, "loss.smoothing": 0.2}),
    "less decay": ("batches of 256", {**LARGE, "optimizer.weight_decay": 0.02}),
    "wider": ("batches of 256", {**LARGE, "network.embed_dims": [40, 104, 136, 160]}),
    "deeper": ("batches of 256", {**LARGE, "network.depths": [1, 4, 2, 1]}),
}


def train(asked: argparse.Namespace, name: str, seed: int) -> None:
    """Train by one of the settings, or go on with it."""
    _, changes = SETTINGS[name]
    overrides = {**changes, "data.validation": HELD_BACK, "seed": seed, "trainer.max_epochs": asked.epochs}
    moganet.train(RECIPE, asked.data, overrides, out=asked.runs / f"{_stem(name)}{seed}", threads=1, resume=True)


def _stem(name: str) -> str:
    return f"{name.replace(' ', '-').replace(',', '')}-seed"


def table(runs: Path) -> list[dict[str, Any]]:
    """Give a row for each run that is whole."""
    rows = []
    for name, (base, changes) in SETTINGS.items():
        for path in sorted(runs.glob(f"{_stem(name)}*/result.json")):
            found, seed = json.loads(path.read_text(encoding="utf-8")), int(path.parent.name.removeprefix(_stem(name)))
            figures = {"epochs": found["epochs"], "top1": found["last"]["top1"], "seconds": found["seconds"]}
            rows.append({"name": name, "compared_with": base, "changes": changes, "seed": seed, **figures})
    return rows


def main() -> None:
    """Train what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--data", default="cifar10")
    asked = parser.parse_args()
    for seed in asked.seeds:
        for name in asked.only:
            train(asked, name, seed)
    rows = table(asked.runs)
    result = {"recipe": RECIPE, "held_back": HELD_BACK, "runs": rows, "environment": environment().plain()}
    write_text(RESULTS / "cifar10_settings.json", json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(f"{row['name']:28} seed {row['seed']}  {100 * row['top1']:.2f} %  {row['seconds']:.0f} s")


if __name__ == "__main__":
    main()
