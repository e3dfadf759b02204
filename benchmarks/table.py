"""Print the measured results as the tables of docs/speed.md. Usage: python benchmarks/table.py"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
REFERENCE = "reference's form"
Row = tuple[str, ...]


def read(name: str) -> dict[str, Any]:
    """Read a script's results, or nothing where it was not run."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def print_table(head: Row, rows: Iterator[Row]) -> None:
    """Print rows as Markdown."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def inference_rows() -> Iterator[Row]:
    """Give a row for each variant and form."""
    for setting, found in read("inference").items():
        if setting == "environment":
            continue
        bound = found["bound"]["images_per_second"]
        for form, rate in found["images_per_second"].items():
            ratios = (
                f"{found['ratio'][form]:.2f}",
                f"{found['latency_ms'][form]:.1f}",
                f"{found['latency_ratio'][form]:.2f}",
            )
            yield (setting, form, f"{rate:.1f}", *ratios, f"{100 * rate / bound:.0f} %")


def training_rows() -> Iterator[Row]:
    """Give a row for each setting."""
    for setting, found in read("training").items():
        if setting != "environment":
            rates, ratios = found["images_per_second"], found["ratio"]
            ours = ((f"{rates[form]:.1f}", f"{ratios[form]:.2f}") for form in ratios)
            yield setting, f"{rates[REFERENCE]:.1f}", *itertools.chain.from_iterable(ours)


def paddle_rows() -> Iterator[Row]:
    """Give a row for each kind of work."""
    for setting, found in read("against_paddle").items():
        if setting != "environment":
            rates = found["images_per_second"]
            yield setting, f"{rates['PaddlePaddle port']:.2f}", f"{rates['ours']:.1f}", f"{found['ratio']:.1f}"


def precision_rows() -> Iterator[Row]:
    """Give a row for each format."""
    for row in read("precisions").get("exports", []):
        if "failed" not in row:
            size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
            shares = (f"{100 * row['agreement']:.2f} %", f"{100 * row['top1']:.2f} %")
            yield row["name"], size, f"{row['deviation']:.1g}", *shares, f"{row['images_per_second']:.0f}"


def main() -> None:
    """Print all tables."""
    print_table(("setting", "form", "images/s", "ratio", "one image (ms)", "ratio", "of the bound"), inference_rows())
    print_table(
        ("setting", "reference's form (images/s)", "ours, f32", "ratio", "ours, bf16", "ratio"), training_rows()
    )
    print_table(("setting", "PaddlePaddle port (images/s)", "ours", "ratio"), paddle_rows())
    print_table(("format", "MB", "deviation", "agreement", "top-1", "images/s"), precision_rows())


if __name__ == "__main__":
    main()
