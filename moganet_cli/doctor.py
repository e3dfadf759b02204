"""`moganet doctor`: what is wrong with a data set, and what this machine offers."""

from pathlib import Path
from typing import Annotated

import typer

from moganet_cli.app import EXIT_USER, FILES, app
from moganet_cli.options import AsJson, Data, option
from moganet_cli.output import Found, from_here, line, print_json, print_table

PICTURE = "Draw some of the images, each with its class, its mask or its boxes."


@app.command(
    help="Find what is wrong with a data set, and show what this machine offers. Exit code 2: a set that is "
    "unreadable or contradictory.",
    epilog="moganet doctor\nmoganet doctor --data photos",
    rich_help_panel=FILES,
)
def doctor(
    data: Data = None,
    strict: Annotated[
        bool, option("--strict", "Exit with 2 for any finding, not for what is unreadable or contradictory only.")
    ] = False,
    picture: Annotated[Path | None, option(PICTURE, metavar="PNG")] = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.doctor import doctor as run
    from moganet.progress import show_progress

    result = run(data, picture=picture, progress=show_progress)
    print_json(result) if as_json else _print(result)
    if not result.get("ok", True) or (strict and set(result.get("counts", ())) - {"note"}):
        raise typer.Exit(EXIT_USER)


def _print(result: Found) -> None:
    found = result["environment"]
    for name in ("python", "processor", "cores"):
        line(f"{name}: {found[name]}")
    line(f"threads: {found['threads']} ({found['threads_by']}); --threads N for another number")
    for name in ("memory_gb", "disk_free_gb"):
        if found[name] is not None:
            line(f"{name}: {found[name]}")
    line(f"GPUs: {', '.join(found['gpus']) or 'none'}; fast bf16: {'yes' if found['fast_bf16'] else 'no'}")
    line(f"devices: {', '.join(found['devices'])}; --device auto is {found['device']}")
    line(", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    if "data" in result:
        _print_data(result)


def _print_data(result: Found) -> None:
    splits, pixels, objects = (
        result["data"]["splits"].items(),
        result["data"].get("pixels"),
        result["data"].get("objects"),
    )
    rows = [
        (split, name, str(number), *(_share(pixels[split], name) if pixels else ()), *_number(objects, split, name))
        for split, counts in splits
        for name, number in counts.items()
    ]
    heads = ("images", *(("pixels", "share") if pixels else ()), *(("objects",) if objects else ()))
    print_table(("split", "class", *heads), rows, heads)
    line(*(_sizes(split, found) for split, found in (objects or {}).items()))
    line(*(from_here(f"{finding['kind']}: {finding['file']}: {finding['detail']}") for finding in result["findings"]))
    counts = ", ".join(f"{number} {kind}" for kind, number in result["counts"].items())
    number, total = result["data"]["read_whole"], result["data"]["images"]
    if "picture" in result["data"]:
        line(f"picture: {result['data']['picture']}")
    looked = f"{number} of {total} images were read whole"
    line(f"{from_here(result['data']['spec'])}: {counts or 'nothing wrong was found'}; {looked}")


def _number(objects: Found | None, split: str, name: str) -> tuple[str, ...]:
    return (f"{objects[split]['classes'][name]:,}",) if objects else ()


def _sizes(split: str, found: Found) -> str:
    total = sum(found["classes"].values())
    small, medium, large = (f"{found[size]:,} {size}" for size in ("small", "medium", "large"))
    sizes = f"{small} (under 32x32 pixels), {medium}, {large} (from 96x96)"
    crowds = f"; {found['crowds']:,} crowds, neither learned nor counted" if found["crowds"] else ""
    return f"{split}: {total:,} objects: {sizes}{crowds}; {found['images_without']:,} images without any"


def _share(pixels: dict[str, int], name: str) -> tuple[str, str]:
    return f"{pixels[name]:,}", f"{100 * pixels[name] / max(1, sum(pixels.values())):.2f} %"
