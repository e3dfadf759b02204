"""Make a model that ships out of a run: weights in half precision, measured on the whole test set, and its card.

    python benchmarks/ship.py RUN NAME [--weights last] [--data SOURCE[:PATH]]
    python benchmarks/ship.py --guard NAME [--data SOURCE[:PATH]]

Half precision is taken only where the accuracy stays within 0.05 points; the card says what was measured. A run on all
images has none left to calibrate on: temperature, threshold and guard are made on half of the test images then, and
measured on the other half. --guard makes the guard of a model anew that ships: its tensors stay bit for bit what they
are, and of its card the line on it is written.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from sides import logits_and_labels

import moganet
from moganet.data import Dataset, Split
from moganet.engine.doctor import environment
from moganet.engine.report import keep_in_file
from moganet.inference import load_model_file, save_model_file
from moganet.inference.guarding import make_guard
from moganet.inference.own_data import open_for
from moganet.inference.stream import Stream
from moganet.models.build import build_network_for
from moganet.models.make_fixtures import NUM_FIXTURES, make_fixtures
from moganet.tasks.classify.evaluator import calibration_error
from moganet.tasks.classify.reliability import fit_reject, fit_temperature
from moganet.tasks.records import Evaluation
from moganet.training.again import how_again
from moganet.training.origin import read_metrics

SHIPPED = Path(moganet.__file__).parent / "models" / "shipped"
TOLERANCE, MAX_BYTES = 0.0005, 3_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("name", help="e.g. moganet_nano.digits")
    parser.add_argument("--guard", action="store_true", help="only make the guard anew, of a model that ships")
    parser.add_argument("--weights", choices=["best", "last"], default="best")
    parser.add_argument("--data", help="where the run's data lie, if not where they were")
    parser.add_argument("--limits", default="", help="a sentence for the card on what the model is not for")
    asked = parser.parse_args()
    if asked.guard:
        guard_shipped(SHIPPED / f"{asked.name}.safetensors", asked.data)
    else:
        ship(asked)


def ship(asked: argparse.Namespace) -> None:
    """Halve a run's weights, measure them, and write file and card."""
    source = asked.run / f"{asked.weights}.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        halved = Path(folder) / f"{asked.name}.safetensors"
        full = moganet.evaluate(source, asked.data)
        halve(source, halved)
        half = moganet.evaluate(halved, asked.data)
        small_enough = halved.stat().st_size < MAX_BYTES
        if abs(half["top1"] - full["top1"]) > TOLERANCE or not small_enough:
            raise SystemExit(
                f"not shipped: {full['top1']} became {half['top1']} in half precision, {halved.stat().st_size} bytes"
            )
        state, description = load_model_file(halved)
        measured = {key: half[key] for key in ("data", "split", "num_images", "top1", "interval", "ece", "loss")}
        provenance = {**description.provenance, "measured": {**measured, "data": measured["data"].partition(":")[0]}}
        description = description.changed(provenance=provenance)
        save_model_file(SHIPPED / halved.name, state, description)
        calibrate(SHIPPED / halved.name, asked.data)
        guard(SHIPPED / halved.name, asked.data)
    card = write_card(asked, full, half)
    print(card)


def halve(source: Path, target: Path) -> None:
    """Write a model file's floating point tensors in half precision, with fixtures of what they then give."""
    state, description = load_model_file(source)
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    network = build_network_for(description.architecture)
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in halved.items()})
    # Noise: pictures of the data set are not ours to give away.
    shape = (description.preprocessing.channels, *description.preprocessing.size)
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(NUM_FIXTURES)]
    fixtures = make_fixtures(network, description.preprocessing, images)
    provenance = without_path(description.provenance)
    save_model_file(target, halved, description.changed(fixtures=fixtures, provenance=provenance))


def held_and_fresh(dataset: Dataset) -> tuple[Split, Split]:
    """Give images to calibrate on that were not trained on, and others to measure that on.

    Where a run's validation images are the test set itself, each of both takes every second of these.
    """
    held, test = dataset.split("val"), dataset.split("test")
    if held is not test:
        return held, test
    return test.subset(range(0, len(test), 2)), test.subset(range(1, len(test), 2))


def calibrate(file: Path, data: str | None) -> None:
    """Fit a model file's temperature and threshold, where its run has left it without."""
    predictor = moganet.load(file)
    if predictor.config.task.temperature is None:
        dataset, _ = open_for(predictor, data)
        logits, labels = logits_and_labels(predictor, dataset, held_and_fresh(dataset)[0])
        fitted = {"temperature": fit_temperature(logits, labels), "reject": fit_reject(logits)}
        keep_in_file(file, predictor.config.task.changed(**fitted))


def guard(file: Path, data: str | None) -> None:
    """Make a model file's guard."""
    predictor = moganet.load(file, "eager")
    dataset, _ = open_for(predictor, data)
    made = make_guard(predictor, dataset.split("train"), held_and_fresh(dataset)[0])
    assert made is not None
    keep_in_file(file, predictor.config.task.changed(guard=made))


def guard_shipped(file: Path, data: str | None) -> None:
    """Make the guard of a model that ships anew, and write the line of its card on it."""
    before = moganet.load(file, "eager").model.state_dict()
    guard(file, data)
    after = moganet.load(file, "eager").model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "the weights changed"
    card, line = file.with_suffix(".md"), guard_line(file, data)
    lines = [line if one.startswith("- Reject score") else one for one in card.read_text().split("\n")]
    card.write_text("\n".join(lines), encoding="utf-8")


def guard_line(file: Path, data: str | None) -> str:
    """Say what a model's guard was made on, and what it rejects of images that it was not made on."""
    predictor = moganet.load(file)
    dataset, _ = open_for(predictor, data)
    fresh = held_and_fresh(dataset)[1]
    kept, of = predictor.config.task.guard, "validation images"
    assert kept is not None
    if dataset.split("val") is dataset.split("test"):
        of = "test images (every second; nothing was held back)"
    judged = [predictor.rejected(batch.outputs) for batch in Stream(predictor, fresh, judged=True)]
    share = torch.cat([one for one in judged if one is not None]).float().mean().item()
    threshold = f"whose threshold keeps {100 * kept.kept:.1f} % of {kept.num_images} {of}"
    rejects = f"it rejects {100 * share:.1f} % of {len(fresh)} other test images"
    foreign = "of foreign ones what [the documentation](../../../docs/guard.md) says"
    score = f"the guard ({', '.join(sorted(kept.curves))}), {threshold}; {rejects}, and {foreign}"
    return f"- Reject score: {score}. `predict` says so of an image."


def without_path(provenance: dict[str, Any]) -> dict[str, Any]:
    """Leave out where the data lay on the machine that trained."""
    recipe = provenance["recipe"]
    data = {**recipe["data"], "source": recipe["data"]["source"].partition(":")[0]}
    return {**provenance, "data": provenance["data"].partition(":")[0], "recipe": {**recipe, "data": data}}


def calibrated_error(file: Path, data: str | None) -> str:
    """Say a model file's calibration error at its own temperature, on images that this was not fitted on."""
    predictor = moganet.load(file)
    dataset, _ = open_for(predictor, data)
    fresh = held_and_fresh(dataset)[1]
    logits, labels = logits_and_labels(predictor, dataset, fresh)
    temperature = predictor.config.task.temperature or 1.0
    error = calibration_error(logits / temperature, labels)
    others = "" if fresh is dataset.split("test") else f" of {len(fresh)} test images, fitted on the other half"
    return f"(temperature {temperature:.3f}) {100 * error:.2f} %{others}"


def write_card(asked: argparse.Namespace, full: Evaluation, half: Evaluation) -> str:
    """Write what the model is, how it was made, and how good it is."""
    run = json.loads((asked.run / "result.json").read_text())
    recipe = yaml.safe_load((asked.run / "recipe.yaml").read_text())
    data = recipe["data"]["source"].partition(":")[0]
    again = how_again({"recipe": recipe, "data": data}, ()).text
    file = SHIPPED / f"{asked.name}.safetensors"
    low, high = (100 * bound for bound in half["interval"])
    found = environment()
    layers = moganet.info(file)
    lines = [
        f"# {asked.name}",
        "",
        f"- Data: {data}, trained on {trained_on(recipe)}.",
        f"- Command: `{again}`; the {asked.weights} weights, averaged with a decay of {recipe['trainer']['ema']}.",
        f"- Network: {layers['parameters']:,} parameters, {layers['macs'] / 1e6:.1f} M multiply-adds; "
        f"{file.stat().st_size / 1e6:.2f} MB in half precision.",
        f"- Time: {run['epochs']} epochs in {run['seconds']:.0f} s on {found['threads']} thread(s) of a CPU with "
        f"{found['processor']}.",
        f"- Test set: top-1 {100 * half['top1']:.2f} % (95 % interval {low:.2f} to {high:.2f}, {half['num_images']} "
        f"images; in single precision {100 * full['top1']:.2f} %), loss {half['loss']:.4f}, "
        f"expected calibration error {100 * half['ece']:.2f} %, by `--calibrated` "
        f"{calibrated_error(file, asked.data)}.",
        guard_line(file, asked.data),
        f"- Limits: {asked.limits}".rstrip(),
        "",
        "| epoch | training loss | validation loss | validation top-1 |",
        "|---|---|---|---|",
        *curve(asked.run / "metrics.csv"),
        "",
    ]
    text = "\n".join(lines)
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def trained_on(recipe: dict[str, Any]) -> str:
    """Say which images a run has learned from."""
    held = recipe["data"]["validation"]
    return "all training images" if held == "test" else f"what `validation: {held}` leaves"


def curve(metrics: Path) -> list[str]:
    """Give about ten rows of the run's curve."""
    known = read_metrics(metrics)
    numbers = sorted({int(epoch) for name in known for epoch in known[name]})
    shown = [n for n in numbers if n in (0, numbers[-1]) or (n + 1) % max(1, len(numbers) // 10) == 0]
    names = ("train/loss", "val/loss", "val/top1")
    rows = []
    for n in shown:
        values = [known.get(name, {}).get(n) for name in names]
        texts = [
            "" if v is None else f"{100 * v:.2f} %" if "top1" in k else f"{v:.4f}"
            for k, v in zip(names, values, strict=True)
        ]
        rows.append(f"| {n + 1} | {' | '.join(texts)} |")
    return rows


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
