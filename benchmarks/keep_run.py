"""Measure a finished run on the whole test set and keep its numbers: benchmarks/results/NAME.json, .csv and .yaml.

Usage: python benchmarks/keep_run.py RUN NAME [--data SOURCE[:PATH]]

NAME.csv is the run's metrics.csv, NAME.yaml its resolved recipe with the data's path taken out, NAME.json what
`moganet evaluate` says of its last and its best weights, the run's seconds, and this machine.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from sides import without_path

import moganet
from moganet.engine.doctor import environment
from moganet.files import write_text
from moganet.tasks.recipes import load_recipe

RESULTS = Path(__file__).parent / "results"
KEPT = ("top1", "interval", "loss", "ece", "num_images")


def main() -> None:
    """Measure, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", help="where the run's data lie, if not where they were")
    asked = parser.parse_args()
    recipe = without_path(load_recipe(asked.run / "recipe.yaml"))
    run = json.loads((asked.run / "result.json").read_text(encoding="utf-8"))
    files = {weights: asked.run / f"{weights}.safetensors" for weights in ("last", "best")}
    test = {"last": measure(files["last"], asked.data)}
    same = run["last"] is not None and run["best"]["epoch"] == run["last"]["epoch"]
    test["best"] = test["last"] if same else measure(files["best"], asked.data)
    result = {
        **{name: run[name] for name in ("epochs", "steps", "seconds", "images_per_second", "train_loss")},
        "seed": recipe.seed,
        "validation": run["last"],
        "test": test,
        "sha256": hashlib.sha256(files["last"].read_bytes()).hexdigest(),
        "environment": environment().plain(),
    }
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"{asked.name}.json", json.dumps(result, indent=1) + "\n")
    write_text(RESULTS / f"{asked.name}.yaml", recipe.to_yaml())
    shutil.copyfile(asked.run / "metrics.csv", RESULTS / f"{asked.name}.csv")
    print(json.dumps(result, indent=1))


def measure(model: Path, data: str | None) -> dict[str, Any]:
    """Evaluate a model file on the test set."""
    found = moganet.evaluate(model, data)
    return {name: found[name] for name in KEPT}


if __name__ == "__main__":
    main()
