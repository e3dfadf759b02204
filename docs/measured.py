"""Tables of the page of results, made of what lies in benchmarks/: trainings with their commands, and all numbers."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from moganet.training.again import how_again

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
LINK = re.compile(r"\[([^\]]+)\]\(\.\./(docs/)?([^)]*)\)")


@cache  # the nearest recipe is looked for among all
def trainings() -> str:
    """Give a row for each training that is kept: its test set's figure, its time, the command that repeats it."""
    head = ["| training | of the test set | time | command |", "|---|---|---|---|"]
    kept = ((path.stem, json.loads(path.read_text("utf-8"))) for path in sorted(BENCHMARKS.glob("results/*.json")))
    return "\n".join(head + [_training(name, one) for name, one in kept if "test" in one]) + "\n"


def _training(name: str, kept: dict[str, Any]) -> str:
    test, environment = kept["test"]["last"], kept["environment"]
    low, high = (f"{100 * bound:.1f}" for bound in test["interval"])
    recipe = yaml.safe_load((BENCHMARKS / "results" / f"{name}.yaml").read_text("utf-8"))
    command = how_again({"recipe": recipe, "data": recipe["data"]["source"]}, ()).text
    units = " with bf16 units" if environment["fast_bf16"] else ""
    machine = f"{environment['threads']} threads, {environment['processor']}{units}".replace("1 threads", "1 thread")
    cells = [f"`{name}`", f"{100 * test['top1']:.2f} % ({low} to {high})", f"{kept['seconds']:,.0f} s, {machine}"]
    return f"| {' | '.join(cells)} | `{command}` |"


def numbers() -> str:
    """Give the table of benchmarks/README.md for a page of the site; links that leave it become text."""
    rows = [line for line in (BENCHMARKS / "README.md").read_text("utf-8").splitlines() if line.startswith("|")]
    return "\n".join(LINK.sub(_own_link, line) for line in rows) + "\n"


def _own_link(found: re.Match[str]) -> str:
    text, is_page, place = found.groups()
    return f"[{text}]({place})" if is_page else text
