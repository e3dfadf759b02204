"""Measure the interaction curves of networks and draw them: docs/interactions.png, and the numbers beside this file.

Usage: python benchmarks/interaction_curves.py MODEL... --data SOURCE[:PATH] [--budget 240] [--keep DIR]
MODELs are model files, runs, exported files, timm:NAME or timm:NAME@CHECKPOINT, each optionally as TITLE=MODEL.
"""

import argparse
from pathlib import Path

import plain_network  # noqa: F401  (timm:plain_resnet)
from sides import write

import moganet
from moganet.report.comparisons import draw_interactions

PICTURE = Path(__file__).parents[1] / "docs" / "interactions.png"


def main() -> None:
    """Measure, draw, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="[TITLE=]MODEL")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--grid", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--budget", type=float, default=240.0, help="seconds")
    parser.add_argument("--keep", type=Path, help="a folder from which a stopped measurement goes on")
    asked = parser.parse_args()
    titled = [name.rpartition("=")[::2] for name in asked.models]
    models = [model for _, model in titled]
    measured = moganet.interaction_curves(
        models,
        asked.data,
        asked.split,
        grid=asked.grid,
        size=asked.size,
        budget=asked.budget,
        out=asked.keep,
    )
    result = {name: value for name, value in measured.plain().items() if name not in ("image_ids", "out")}
    titles = {model: title or Path(model).name for title, model in titled}
    for one in result["models"]:
        one["name"] = titles[one["name"]]
    for pair in result["comparisons"]:
        pair["first"], pair["second"] = titles[pair["first"]], titles[pair["second"]]
    result["data"] = result["data"].partition(":")[0]
    head = (
        f"{result['data']}, {result['images']} {result['split']} images that all classify correctly, "
        f"{result['pairs']} pairs, {result['contexts']} contexts"
    )
    draw_interactions({one["name"]: one["curve"] for one in result["models"]}, PICTURE, head)
    write(__file__, result)


if __name__ == "__main__":
    main()
