"""In which form a model is exported, the name of its file, and that no other file is lost for it."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from moganet.errors import ConfigError, OutputError, WeightsError, choose_of
from moganet.inference.export import EXPORTERS, ExportPrecision, Graph
from moganet.inference.exported import read_metadata
from moganet.inference.metadata import ExportMetadata, parse_metadata
from moganet.inference.predictor import Predictor

REPOSITORY = "repository"  # the folder that servers start from


@dataclass(frozen=True)
class Form:
    """In which form a model is exported, as `export` takes it."""

    to: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    calibrated: bool = False
    size: int | None = None
    any_size: bool = False


def default_out(source: Predictor, form: Form) -> Path:
    """Name the file after the model and its form: beside its file, in its run's folder, or here for a bare name."""
    path, f32, own_size = Path(source.name_of_model), form.precision == "f32", form.size is None
    marks = {form.precision: not f32, "raw": form.raw, "calibrated": form.calibrated}
    marks |= {f"{form.size}px": not own_size, "any-size": form.any_size}
    ending = "".join(f"-{mark}" for mark, holds in marks.items() if holds) + EXPORTERS[form.to].SUFFIX
    if path.is_dir():
        return path / f"best{ending}"
    if path.is_file():
        return path.with_name(f"{path.name.partition('.')[0]}{ending}")
    return Path(f"{path.name or 'model'}{ending}")


def checked(form: Form) -> Form:
    """Give a form that there is. Raises ConfigError for an unknown format or precision, or settings at odds."""
    to, precision = form.to, form.precision
    if to not in EXPORTERS:
        raise ConfigError(f"there is no format {to!r} to export to; {choose_of(to, [*EXPORTERS, REPOSITORY])}")
    if precision not in get_args(ExportPrecision):
        known = get_args(ExportPrecision)
        raise ConfigError(f"there is no precision {precision!r}; {choose_of(precision, known)}")
    if precision not in EXPORTERS[to].PRECISIONS:
        others = " or ".join(name for name, exporter in EXPORTERS.items() if precision in exporter.PRECISIONS)
        has = f"{to} is not exported in {precision}, but in {', '.join(EXPORTERS[to].PRECISIONS)}"
        raise ConfigError(f"{has}; for {precision} use --to {others}")
    if form.size is not None and form.size < 1:
        raise ConfigError(f"the size is {form.size}; it must be at least 1 pixel")
    if form.any_size and (form.size is not None or form.raw):
        raise ConfigError("--any-size leaves the network's input open: leave --size and --raw out")
    if form.calibrated and not form.raw:
        raise ConfigError("--calibrated is for --raw: other files give logits, and `predict --calibrated` scales them")
    return form


def place_for(source: Predictor, form: Form, out: Path | None) -> Path:
    """Say where the file shall lie, links followed."""
    target = Path(os.path.realpath(out)) if out is not None else default_out(source, form)
    # OpenVINO writes by the very ending.
    if (target.suffix if form.to == "openvino" else target.suffix.lower()) != EXPORTERS[form.to].SUFFIX:
        raise OutputError(
            f"{target} does not end in {EXPORTERS[form.to].SUFFIX}, by which an export to {form.to} is known"
        )
    return target


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give the file's name in a folder beside it, which is removed. Raises OutputError where that can't be written."""
    if target.is_symlink():  # links were followed: this one leads to itself
        raise OutputError(f"can't write {target}: its links lead round in a ring; choose another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            yield Path(folder) / target.name
    except OutputError as error:  # which names the file in the folder
        raise OutputError(re.sub(r"/\.export-\w+/", "/", str(error))) from None
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror or error}; choose another --out") from None


def check_free(target: Path, graph: Graph, *, named: bool) -> None:
    """Raise OutputError where a file would be lost that is not this model in this form.

    named: the user chose the name, and so what it stands for; but OpenVINO writes a second file, which he did not name.
    """
    weights = target.with_suffix(".bin")
    if graph.format == "openvino" and weights.exists() and not target.exists():
        raise OutputError(f"{weights} is there without {target.name}, and would be replaced; choose another --out")
    for part in (target, weights) if graph.format == "openvino" else (target,):
        if part.is_dir() or (part.exists() and not part.is_file() and not named):
            raise OutputError(f"{part} is there and is no file; choose another --out")
    if named or not target.exists():
        return
    try:
        there = read_metadata(target)
    except WeightsError as error:
        remedy = "choose another --out or --overwrite"
        raise OutputError(f"{target} is there and can't be read ({error}); {remedy}") from None
    if how := _difference(there, parse_metadata(graph.metadata(""), target)):
        raise OutputError(f"{target} is there already and is another: {how}; choose another --out, or --overwrite")


def _difference(there: ExportMetadata, own: ExportMetadata) -> str | None:
    for what in ("raw", "calibrated", "size", "precision"):
        if getattr(there, what) != getattr(own, what) and (what != "calibrated" or own.raw):
            return f"its {what} is {getattr(there, what)}, not {getattr(own, what)}"
    for what in ("sha256", "class_names", "architecture"):
        if getattr(there.description, what) != getattr(own.description, what):
            return f"its {what} is another: it is of another model, or of other weights"
    return None
