"""Train the digits with one process that accumulates two parts and with two processes, and draw both curves of loss.

python benchmarks/processes.py
Writes processes.json beside this file and docs/processes.png.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from moganet.engine.doctor import environment

LINE = ["train", "digits", "--set", "data.batch_size=32", "--set", "trainer.max_epochs=8", "--set", "augment.mixup=0.5"]
SHAPE = ["--set", "network.embed_dims=[16,16,32,32]", "--set", "network.depths=[1,1,1,1]"]


def losses(out: Path, *command: str) -> dict[str, list[float]]:
    """Run a command and give the losses of its epochs."""
    subprocess.run([sys.executable, "-m", *command, *LINE, *SHAPE, "--out", str(out)], check=True, stdout=sys.stderr)
    with open(out / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("train/loss", "val/loss")
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        two = losses(
            Path(folder) / "two", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "moganet"
        )
        LINE.extend(["--set", "trainer.accumulate=2"])
        one = losses(Path(folder) / "one", "moganet")
    pairs = zip(one["train/loss"], two["train/loss"], strict=True)
    result = {
        "one_process_accumulating_two_parts": one,
        "two_processes": two,
        "largest_relative_difference_of_training_losses": max(abs(a - b) / a for a, b in pairs),
        "environment": environment().plain(),
    }
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, 1 + len(one["train/loss"]))
    for name, style in (("train/loss", "-"), ("val/loss", ":")):
        axes.plot(epochs, one[name], style, color="C0", linewidth=4, alpha=0.4, label=f"one process, {name}")
        axes.plot(epochs, two[name], style, color="C1", linewidth=1.5, label=f"two processes, {name}")
    axes.set(xlabel="epoch", ylabel="loss", title="Two processes train as one that accumulates")
    axes.legend(frameon=False)
    figure.savefig(Path(__file__).parents[1] / "docs" / "processes.png", dpi=120)
    text = json.dumps(result, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
