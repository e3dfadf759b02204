"""What this machine reads, trains and predicts, and from that what ImageNet for 300 epochs needs on 1 to 512 devices.

PYTHONPATH=. python benchmarks/scale.py [--only [reading batch memory variants]] [--write docs/scale.md]
Measured, written to results/scale.json: each variant's rate of whole optimizer steps at 224 px, the rate of a 2048 x
2048 product in the same run, and the bytes that a step keeps for its backward pass; JPEGs read as training reads them,
of a folder and of its shards; `moganet batch` over both, and its memory with photographs of 24 megapixels. Calculated
from these: everything else. --only measures some parts, or none, and keeps the file's others; --write puts the tables
into the page, between its comments. Whole, it takes less than five minutes on two cores.
"""

import argparse
import itertools
import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from batch_memory import held, make_photographs
from folder import draw_images
from inference import predictor
from sides import Side, compare
from torch import Tensor

import moganet
from moganet import build_network
from moganet.batch.run import batch
from moganet.engine.benchmark_data import ready_to_train
from moganet.engine.doctor import environment
from moganet.machine import in_turns, keep_freed_memory, num_cores
from moganet.network.cost import count_macs

VARIANTS = ("xtiny", "tiny", "small", "base", "large", "xlarge")
ROUNDS, SIZE = 5, 224
IMAGES, EPOCHS, JPEG_BYTES = 1_281_167, 300, 110_000
# A GPU of the A100's kind: bfloat16 operations a second, bytes a second to its neighbours and to other machines.
LEAST_IMAGES = 16  # on a device in a step, for its norms' sake and its own speed
PEAK, NEAR, FAR, GPUS_A_MACHINE = 312e12, 300e9, 25e9, 8
PREDICTED, PHOTOGRAPHS, THREADS = 96, 24, (1, 2, 3, 4)
PARTS = ("reading", "batch", "memory", "variants")
RESULTS = Path(__file__).parent / "results"
MODEL = "moganet_nano.cifar10"  # that reads photographs: it ships, and hardly computes beside them


def bytes_for_backward(network: torch.nn.Module, images: Tensor) -> int:
    """Sum the storages that autograd keeps, each once, without the parameters."""
    kept = {parameter.untyped_storage().data_ptr(): 0 for parameter in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(images)
    total = sum(kept.values())
    del logits
    return total


def measure(name: str) -> dict[str, Any]:
    """Time whole steps (forward, backward, AdamW) and products in turns."""
    network = build_network(f"moganet_{name}").train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    batch = 8 if name in ("xtiny", "tiny", "small") else 2
    images = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.long)
    matrix = torch.randn(2048, 2048)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    times, products = in_turns([step, lambda: matrix @ matrix], ROUNDS)
    macs = count_macs(build_network(f"moganet_{name}"), 3, (SIZE, SIZE))
    rate = batch / median(times)
    return {
        "variant": f"moganet_{name}",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs,
        "batch": batch,
        "images_per_second": rate,
        "share_of_a_product": rate * 6 * macs / (2 * 2048**3 / median(products)),
        "bytes_for_backward_per_image": bytes_for_backward(network, images[:1].repeat(2, 1, 1, 1)) / 2,
    }


def measure_reading(sources: dict[str, str]) -> dict[str, float]:
    """Give the JPEGs a second that are decoded, cropped and augmented for training, by a process on each core."""
    loaders = {}
    for name, source in sources.items():
        settings = {"data.validation": 0.1, "data.batch_size": 16, "trainer.accumulate": 1}
        loaders[name] = ready_to_train("imagenet-xtiny", source, settings)[2].train_dataloader()
    sides = {name: Side(partial(_count, loader), keeps_memory=True) for name, loader in loaders.items()}
    numbers = {name: _count(loader) for name, loader in loaders.items()}  # which starts the processes
    return {name: numbers[name] / seconds for name, seconds in compare(sides, ROUNDS).items()}


def _count(batches: Iterable[Any]) -> int:
    return sum(len(batch.images) for batch in batches)


def measure_batch(sources: dict[str, str], place: Path) -> dict[str, float]:
    """Give the JPEGs a second that `moganet batch` predicts with moganet_xtiny, and those of the network alone."""
    model = predictor("xtiny", "auto")
    model.config = model.config.changed(class_names=tuple(f"class_{i}" for i in range(1000)))
    numbers, x = itertools.count(), torch.randn(32, 3, SIZE, SIZE)

    def predict(source: str) -> None:
        batch(model, source, place / f"answers-{next(numbers)}")

    sides = {"the network alone": Side(lambda: [model.logits(x) for _ in range(PREDICTED // len(x))], True)}
    sides |= {name: Side(partial(predict, source), True) for name, source in sources.items()}
    return {name: PREDICTED / seconds for name, seconds in compare(sides, ROUNDS).items()}


def measure_memory(place: Path) -> dict[str, Any]:
    """Give the most MB that `moganet batch` held, by threads that read photographs of 24 megapixels."""
    photos = place / "photographs"
    photos.mkdir()
    make_photographs(photos, PHOTOGRAPHS)
    held(MODEL, photos / "0000.jpg", place / "known")  # a model's first answers of all take torch, and more memory
    found = {str(n): held(MODEL, photos, place / f"held-{n}", "--threads", str(n)).most for n in THREADS}
    eager = held(MODEL, photos, place / "held-eager", "--threads", "2", "--runtime", "eager").most
    further = (found[str(THREADS[-1])] - found[str(THREADS[0])]) / (THREADS[-1] - THREADS[0])
    return {"most_mb_by_threads": found, "a_further_thread_mb": further, "most_mb_by_torch_two_threads": eager}


def measure_variants() -> list[dict[str, Any]]:
    """Time the steps of all variants."""
    return [{"measured": measure(name)} for name in VARIANTS]


def measure_part(part: str) -> Any:
    """Measure a part of what the file holds."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = Path(folder)
        if part == "variants":
            return measure_variants()
        if part == "memory":
            return measure_memory(place)
        photos, shards = place / "photos", place / "shards"
        photos.mkdir()
        draw_images(photos, *([PREDICTED] if part == "batch" else []))
        moganet.make_shards(str(photos), shards)
        sources = {"a folder": str(photos), "shards": f"shards:{shards}"}
        return measure_reading(sources) if part == "reading" else measure_batch(sources, place)


def this_machine() -> dict[str, Any]:
    """Give what rates depend on. load: how many threads of all processes computed in the last minute."""
    known = environment().plain()
    torchs = known["packages"]["torch"]
    machine = {"cores": num_cores(), "processor": known["processor"], "threads": known["threads"], "torch": torchs}
    return {**machine, "load": round(os.getloadavg()[0], 1)}


def calculate(measured: dict[str, Any], devices: int, read_a_core: float) -> dict[str, float]:
    """Scale one device's figures to several; all-reduce by rings, not hidden behind the backward pass."""
    rate = measured["share_of_a_product"] * PEAK / (6 * measured["macs"])
    per_device = max(LEAST_IMAGES, 1024 // devices)
    compute = per_device / rate
    exchanged = 2 * (devices - 1) / devices * 4 * measured["parameters"]
    exchange = exchanged / (NEAR if devices <= GPUS_A_MACHINE else FAR)
    step = compute + exchange
    return {
        "devices": devices,
        "images_a_step": per_device * devices,
        "gradient_bytes_a_step": exchanged,
        "exchange_share": exchange / step,
        "images_per_second": per_device * devices / step,
        "megabytes_of_jpeg_per_second": per_device * devices / step * JPEG_BYTES / 1e6,
        "cores_that_read": per_device * devices / step / read_a_core,
        "gigabytes_of_memory": (20 * measured["parameters"] + per_device * measured["bytes_for_backward_per_image"] / 2)
        / 1e9,
        "hours": IMAGES * EPOCHS / (per_device * devices / step) / 3600,
    }


def on(found: dict[str, Any], part: str) -> str:
    """Say on what a part was measured."""
    at = found["machines"][part]
    said = f"{at['cores']} cores with {at['processor']}, {at['threads']} threads, torch {at['torch']}"
    if at["load"] is not None and at["load"] < 2 * at["cores"]:
        return said
    load = f" (a load of {at['load']})" if at["load"] else ""
    return f"{said}; other work was on the machine{load}"


def rates(found: dict[str, Any]) -> Iterator[str]:
    """Give the table of what is read and predicted."""
    yield f"Reading: {on(found, 'reading')}. `moganet batch`: {on(found, 'batch')}."
    yield ""
    yield "| images/s | a folder of JPEGs | its shards | the network alone |"
    yield "|---|---:|---:|---:|"
    reading, predicted = found["reading"], found["batch"]
    yield f"| read for training (`imagenet-xtiny`, 224 px) | {reading['a folder']:.0f} | {reading['shards']:.0f} | |"
    cells = " | ".join(f"{predicted[name]:.1f}" for name in ("a folder", "shards", "the network alone"))
    yield f"| `moganet batch`, moganet_xtiny, 224 px | {cells} |"


def memory(found: dict[str, Any]) -> Iterator[str]:
    """Give the line on memory."""
    held_by = ", ".join(f"{most:.0f} MB by {n}" for n, most in found["memory"]["most_mb_by_threads"].items())
    further, eager = (found["memory"][name] for name in ("a_further_thread_mb", "most_mb_by_torch_two_threads"))
    yield f"Photographs of 24 megapixels took {held_by} threads at the most, so that a further thread that reads takes"
    yield f"{further:.0f} MB; by torch (`--runtime eager`) two threads took {eager:.0f} MB."


def steps(found: dict[str, Any]) -> Iterator[str]:
    """Give the table of training steps."""
    heads = ("variant", "parameters", "images/s", "share of a 2048 product", "gradients", "kept for backward, an image")
    yield f"{on(found, 'variants')}."
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|---|---:|---:|---:|---:|---:|"
    for one in (variant["measured"] for variant in found["variants"]):
        millions, kept = one["parameters"] / 1e6, one["bytes_for_backward_per_image"] / 1e6
        speed = f"{one['images_per_second']:.2f} | {100 * one['share_of_a_product']:.0f} %"
        yield f"| {one['variant']} | {millions:.1f} M | {speed} | {4 * millions:.0f} MB | {kept:.0f} MB |"


def calculated(found: dict[str, Any]) -> Iterator[str]:
    """Give the table of what follows from these."""
    yield (
        "| variant | GPUs | images a step | images/s | hours | memory a GPU | gradients exchanged a step and GPU | "
        "their share of a step | JPEGs | cores that read them |"
    )
    yield f"|---|{'---:|' * 9}"
    for variant in found["variants"]:
        for one in variant["calculated"]:
            memory, jpegs = one["gigabytes_of_memory"], one["megabytes_of_jpeg_per_second"] / 1e3
            cells = (
                *(
                    variant["measured"]["variant"],
                    one["devices"],
                    one["images_a_step"],
                    _spaced(one["images_per_second"]),
                ),
                *(f"{one['hours']:.1f}", f"{memory:.1f} GB" if memory < 10 else f"{memory:.0f} GB"),
                *(f"{_spaced(one['gradient_bytes_a_step'] / 1e6)} MB", f"{100 * one['exchange_share']:.0f} %"),
                *(f"{jpegs:.1f} GB/s" if jpegs < 10 else f"{jpegs:.0f} GB/s", _spaced(one["cores_that_read"])),
            )
            yield f"| {' | '.join(map(str, cells))} |"


def _spaced(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


TABLES: dict[Callable[[dict[str, Any]], Iterator[str]], set[str]] = {
    rates: {"reading", "batch"},
    memory: {"memory"},
    steps: {"variants"},
    calculated: {"reading", "variants"},
}


def write_into(page: Path, found: dict[str, Any]) -> None:
    """Put each table of what is measured between the comments of its name."""
    text = page.read_text(encoding="utf-8")
    for table, parts in TABLES.items():
        if not parts <= found.keys():  # it stays as it is
            continue
        place = re.compile(rf"(<!-- scale\.py: {table.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise SystemExit(f"{page} has no place for {table.__name__}: <!-- scale.py: {table.__name__} -->")
        lines = "\n".join(table(found))
        text = place.sub(lambda at, lines=lines: f"{at[1]}{lines}\n{at[2]}", text)  # type: ignore[misc]
    page.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    asked = parser.parse_args()
    path = RESULTS / "scale.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"machines": {}}
    for part in asked.only:
        found["machines"][part] = this_machine()  # before, since this script is no other work
        found[part] = measure_part(part)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")  # what ends later loses nothing
    if {"reading", "variants"} <= found.keys():
        read_a_core = found["reading"]["a folder"] / found["machines"]["reading"]["cores"]
        for one in found["variants"]:
            one["calculated"] = [calculate(one["measured"], n, read_a_core) for n in (1, 8, 64, 512)]
    text = json.dumps(found, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)
    if asked.write is not None:
        write_into(asked.write, found)


if __name__ == "__main__":
    main()
