"""`moganet explain`: why a model decides as it does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, UNDERSTANDING, app
from moganet_cli.completion import classes, quick
from moganet_cli.help import COMPUTED, PRINTED
from moganet_cli.options import BATCH, Answering, AsJson, Every, Model, Seed, argument, option, with_options
from moganet_cli.output import Found, complain, line, print_json, print_table, untrained

# Named here as well, since --help must not wait for torch; tests/contracts/test_methods.py compares.
METHODS = {
    "lime": "200 to 4,000 predictions, or --samples",
    "occlusion": "about 225 predictions",
    "integrated-gradients": "50 gradients",
    "saliency": "25 gradients",
    "gradcam": "1 gradient",
    "orders": "1 forward pass",
}
PRECISION = "auto: f32, and LIME's samples in bf16 where the processor has it."
SAMPLES = "auto: until LIME's ranking of superpixels is stable, or for 4,000."
REGION = "Of a segmenter: left, top, width, height as shares of the sides [default: all pixels of the class]."
methods = quick(lambda ctx, incomplete: METHODS)
OUT = "Folder for pictures, maps (.npz), explanations.json and a page of all (.html)."
COSTS = "; ".join(f"{name}: {cost}" for name, cost in METHODS.items())


class Explaining(Answering, total=False):
    """What is passed on as it is."""

    precision: Annotated[Literal["auto", "f32", "bf16", "f16"], option(PRECISION, panel=COMPUTED)]
    target: Annotated[str | None, option("Name or number [default: the likeliest].", metavar="CLASS", words=classes)]
    superpixels: Annotated[Literal["quickshift", "slic", "grid"] | None, option("LIME patches [default: quickshift].")]
    stage: Annotated[int | None, option("gradcam's, 1 to 4 [default: the last of 4x4 or more].", min=1)]
    compare: Annotated[bool, option("--compare", "Methods side by side: all, or those named by --method.")]
    score: Annotated[bool, option("--score", "Insertion and deletion areas, and the check with drawn weights.")]
    overwrite: Annotated[
        bool, option("--overwrite", "Write over an earlier call's files; else new ones are numbered.", panel=PRINTED)
    ]
    every: Every
    seed: Seed
    batch_size: Annotated[
        int | None, option("Images at a time [default: 32 predictions, 8 gradients].", panel=COMPUTED, **BATCH)
    ]


@app.command(
    help="Show why a model decides: maps over images.",
    epilog="moganet explain moganet_nano.cifar10 photo.jpg\n"
    "moganet explain runs/tulips-1 photos --method gradcam --target tulips",
    rich_help_panel=UNDERSTANDING,
)
@with_options
def explain(
    model: Model,
    images: Annotated[list[str], argument("IMAGES...", "Images, folders, patterns, or '-' for a list on stdin.")],
    method: Annotated[
        list[str] | None, option(f"May be repeated [default: lime]. {COSTS}.", metavar="NAME", words=methods)
    ] = None,
    region: Annotated[str | None, option(REGION, metavar="L,T,W,H")] = None,
    samples: Annotated[str, option(SAMPLES, metavar="N|auto")] = "auto",
    out: Annotated[Path, option(OUT, panel=PRINTED)] = Path("explanations"),
    as_json: AsJson = False,
    **passed: Unpack[Explaining],
) -> None:
    from moganet.engine.explain import explain as run
    from moganet.progress import show_samples

    number, part = _samples(samples), None if region is None else _region(region)
    result = run(model, images, method or "lime", region=part, samples=number, out=out, progress=show_samples, **passed)
    for item in result["unreadable"]:
        complain(f"can't read {item['file']}: {item['reason']}")
    if as_json:
        print_json(dict(result.plain()))
    elif result["images"]:
        _print(result)
    raise typer.Exit(0 if not result["unreadable"] else EXIT_PARTLY if result["images"] else EXIT_USER)


def _samples(text: str) -> int | None:
    from moganet.errors import ConfigError

    if text == "auto":  # the methods' own default
        return None
    if re.fullmatch(r"[0-9]{1,7}", text) is None:
        raise ConfigError(f"--samples is {text!r}; give a number of less than 8 digits, or auto")
    return int(text)


def _region(text: str) -> list[float]:
    from moganet.errors import ConfigError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--region is {text!r}; give left, top, width and height, say 0.25,0.25,0.5,0.5") from None


def _print(result: Found) -> None:
    rows = []
    for entry in result["images"]:
        target = f"{entry['target']} {100 * entry['probability']:.1f} %{untrained(entry)}"
        rows.append((entry["file"], entry["method"], target, ", ".join(_findings(entry))))
    print_table(("file", "method", "target", "found"), rows)
    line(f"pictures: {result['out']}, all on one page: {result['page']}")


def _findings(entry: Found) -> Iterator[str]:
    from moganet.explanations.faithfulness import correlation_text
    from moganet.explanations.lime import STABLE

    if "r2" in entry:
        stable = entry.get("stable")
        yield f"{entry['samples']} samples, {entry['samples_per_second']:.0f} samples/s, R² {entry['r2']:.2f}"
        if stable is not None:
            yield f"ranking {'' if stable >= STABLE else 'NOT '}stable ({100 * stable:.0f} % of fits)"
    if "blocks" in entry:
        means = [sum(block["shares"][k] for block in entry["blocks"]) / len(entry["blocks"]) for k in range(3)]
        yield "dilation 1, 2, 3: " + ", ".join(f"{100 * mean:.0f} %" for mean in means)
    if "insertion" in entry:
        yield f"insertion {entry['insertion']:.2f} (random {entry['insertion_random']:.2f})"
        yield f"deletion {entry['deletion']:.2f} (random {entry['deletion_random']:.2f})"
        kept = entry["randomized_correlation"]
        yield f"drawn weights {correlation_text(kept)}" if kept is not None else "no weights to draw"
