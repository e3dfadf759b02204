"""The folder that OpenVINO Model Server and Triton start from: a version of the model, and what each server asks for.

Layouts: docs/models_repository_classic.md and docs/starting_server.md of openvinotoolkit/model_server (config.json),
docs/user_guide/model_repository.md of triton-inference-server/server, README.md of its openvino_backend (config.pbtxt).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moganet.errors import ConfigError, OutputError
from moganet.files import atomic_path
from moganet.inference.export.form import REPOSITORY, Form
from moganet.inference.export.graph import Graph
from moganet.inference.metadata import need
from moganet.inference.predictor import Predictor
from moganet.models.find import name_in_addresses
from moganet.notices import printable
from moganet.safe_names import safe_name

MODEL, CONFIG, LABELS, README, SERVERS = "1/model.xml", "config.pbtxt", "labels.txt", "README.md", "config.json"
OURS = {MODEL, "1/model.bin", CONFIG, LABELS, README}
TYPES = {"u8": "UINT8", "f32": "FP32", "f16": "FP16", "i32": "INT32", "i64": "INT64", "boolean": "BOOL"}
LIST = "model_config_list"  # of OpenVINO Model Server's file


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph as servers name it; -1 is a side that is open."""

    name: str
    type: str
    dims: tuple[int, ...]


def form_within(form: Form) -> Form:
    """Give the form of the file in a repository, which takes images as they are. Raises ConfigError."""
    if form.any_size:
        raise ConfigError("--to repository takes images of any size: leave --any-size out")
    return replace(form, to="openvino", raw=True)


def place_for(source: Predictor, form: Form, out: Path | None) -> Path:
    """Say where the model shall lie in a repository, without links; by default one in its run's folder, or beside it.

    Raises OutputError where its folder there holds what is not ours, or the servers' list can't be added to.
    """
    path = Path(source.name_of_model)
    beside = path if path.is_dir() else path.parent if path.is_file() else Path()
    root = Path(os.path.realpath(out if out is not None else beside / REPOSITORY))
    folder = root / safe_name(name_in_addresses(source.name_of_model))
    _listed(root / SERVERS)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder} is there and is no folder; choose another --out")
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    if others := sorted(there - OURS):
        raise OutputError(f"{folder} holds {printable(others[0])}, which would be lost; choose another --out")
    return folder / MODEL


def put(made: Path, folder: Path) -> None:
    """Put a model's folder where it shall lie; one that is there goes when the new one has come."""
    if folder.exists():
        os.replace(folder, made.with_name(f"{made.name}.replaced"))
    os.replace(made, folder)


def complete(folder: Path, graph: Graph) -> None:
    """Write what stands beside a model in its folder, which is named after it."""
    given, gives = _tensors(folder / MODEL)
    names = graph.description.class_names
    (folder / LABELS).write_text("".join(f"{printable(name)}\n" for name in names), encoding="utf-8")
    blocks = [*_blocks("input", given), *_blocks("output", gives, labelled=bool(names) and graph.raw)]
    (folder / CONFIG).write_text("\n".join([*_head(folder.name, graph.precision), *blocks, ""]), encoding="utf-8")
    (folder / README).write_text(_readme(folder.name, graph, given + gives), encoding="utf-8")


def enter(folder: Path, precision: str) -> None:
    """Put a model into the list that OpenVINO Model Server starts from, beside those that are there.

    Its CPU plugin would choose bf16 where the processor has it: the precision that was checked is asked for.
    """
    name, path = folder.name, folder.parent / SERVERS
    listed = _listed(path)
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    entry = {"config": {"name": name, "base_path": name, "plugin_config": hint}}
    others = [one for one in listed[LIST] if one["config"].get("name") != name]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**listed, LIST: [*others, entry]}, indent=2) + "\n", encoding="utf-8")


def _listed(path: Path) -> dict[str, Any]:
    """Read the servers' list; an empty one where there is none. Raises OutputError for what is no such list."""
    if not os.path.lexists(path):
        return {LIST: []}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(listed, dict) and all(isinstance(one["config"], dict) for one in listed.get(LIST, [])):
            return {LIST: [], **listed}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise OutputError(f"{path} is there and is no list of OpenVINO Model Server; choose another --out")


def _tensors(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Give the inputs and outputs that a file has."""
    model = need("openvino", "the repository").Core().read_model(path, config={"ENABLE_MMAP": False})
    return [_tensor(port) for port in model.inputs], [_tensor(port) for port in model.outputs]


def _tensor(port: Any) -> Tensor:
    dims = tuple(side.get_length() if side.is_static else -1 for side in port.get_partial_shape())
    return Tensor(port.get_any_name(), TYPES[port.get_element_type().get_type_name()], dims)


def _head(name: str, precision: str) -> Iterator[str]:
    """Begin Triton's description. A batch is a side like any other, which its OpenVINO backend would fill up."""
    yield f'name: "{name}"'
    yield 'backend: "openvino"'
    yield 'default_model_filename: "model.xml"'
    yield "max_batch_size: 0"
    yield "instance_group [ { kind: KIND_CPU } ]"
    if precision == "bf16":
        yield 'parameters { key: "HINT_BF16" value { string_value: "YES" } }'


def _blocks(kind: str, tensors: list[Tensor], *, labelled: bool = False) -> Iterator[str]:
    for place, one in enumerate(tensors):
        told = f'name: "{one.name}" data_type: TYPE_{one.type} dims: [ {", ".join(map(str, one.dims))} ]'
        labels = f' label_filename: "{LABELS}"' if labelled and place == 0 else ""
        yield f"{kind} [ {{ {told}{labels} }} ]"


def _readme(name: str, graph: Graph, tensors: list[Tensor]) -> str:
    """Say how the servers are started and asked."""
    from jinja2 import Environment, PackageLoader

    template = Environment(loader=PackageLoader(__name__, "template")).get_template(README)
    form = {"raw": graph.raw, "calibrated": graph.calibrated, "size": graph.size}
    task, own = graph.description.task, graph.description.preprocessing
    known = {"task": task.name, "own": own, "labels": bool(task.class_names)}
    return template.render(name=name, tensors=tensors, **form, **known)
