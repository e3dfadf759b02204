"""PyTorch's own exported program (.pt2): runs wherever torch does, without this package."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moganet.errors import WeightsError, first_line, foreign
from moganet.files import atomic_path, path_in_utf8
from moganet.inference.export.graph import Graph
from moganet.inference.metadata import METADATA_KEY, ExportPrecision, Written, hash_of
from moganet.inference.runs import Array, Outputs, Run, Sizes
from moganet.machine import half_type

SUFFIX = ".pt2"
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "bf16", "f16")
EXTRA = f"{METADATA_KEY}.json"
# The names that may stand in a program's size expressions, which torch evaluates.
_WORDS = "Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilToInt|Eq|Ne|Lt|Le|Gt|Ge|int_oo"
_FLAGS = "positive|integer|nonnegative|True|False|evaluate"
EXPRESSION = re.compile(rf"(?:'[su]\d+'|\b[su]\d+\b|\b(?:{_WORDS}|{_FLAGS})\b|\d+|[\s+\-*/(),<>=])*")


class _Half(nn.Module):
    """A network in a half type between float32 images and float32 outputs."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = self.network(x.to(self.dtype))
        return tuple(one.float() for one in given) if isinstance(given, tuple) else given.float()


def trace(graph: Graph) -> torch.export.ExportedProgram:
    """Trace a graph, with a batch of any number."""
    module = graph.module(pad_by_hand=True)
    if (dtype := half_type(graph.precision)) is not None:
        if graph.raw:
            module.network = _Half(module.network, dtype)  # type: ignore[arg-type]
        else:
            module = _Half(module, dtype)
    axes = dict.fromkeys(graph.dynamic_axes(), torch.export.Dim.DYNAMIC)
    with torch.no_grad(), foreign("torch can't export this network"):
        program = torch.export.export(module.eval(), (graph.example(),), dynamic_shapes=(axes,))
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it names where on this machine the packages lie
    return program


def save(graph: Graph, path: Path) -> None:
    """Write a .pt2 file."""
    program = trace(graph)
    program.example_inputs = None  # they would be pickled
    buffer = io.BytesIO()  # on a full disk torch's own writer would abort the process
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/{EXTRA}", graph.metadata(hash_of(_content(archive))))
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read(path: Path) -> Written:
    """Give what was written."""
    with foreign(f"{path} is no whole exported program"), zipfile.ZipFile(path) as archive:
        _check_sizes(archive, path)
        texts = [archive.read(info).decode() for info in archive.infolist() if _is_metadata(info)]
        return Written(texts[-1], hash_of(_content(archive))) if texts else Written("", "")


def _is_metadata(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(f"extra/{EXTRA}")


def _content(archive: zipfile.ZipFile) -> Iterator[bytes]:
    """Give the names and contents of all entries but the metadata."""
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        if not _is_metadata(info):
            yield f"{info.filename} {info.file_size}\n".encode()
            yield archive.read(info)


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse entries that say that they unpack to more than the file has, and two of one name."""
    if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
        raise ValueError("its entries have more bytes than it has")
    if len(set(archive.namelist())) < len(archive.namelist()):
        raise ValueError("two of its entries have one name")


def load(path: Path, precision: str, outputs: Sequence[str]) -> Run:
    """Run the program with torch. Raises WeightsError where the file could run more than a network."""
    _check(path)
    with foreign(f"{path} is no whole exported program"), path_in_utf8(path) as named:
        return run_of(torch.export.load(named).module(), outputs)


def run_of(module: Any, outputs: Sequence[str], layout: torch.memory_format = torch.channels_last) -> Run:
    """Run what torch loaded, which gives one tensor or several. layout: of the images that it is given."""

    @torch.inference_mode()
    def run(images: Array, sizes: Sizes | None = None) -> Outputs:
        assert sizes is None  # what is told of them is not written in this format
        x = torch.from_numpy(np.require(images, requirements=["C", "W"]))  # torch warns of what none may write
        found = module(x.contiguous(memory_format=layout) if x.is_floating_point() else x)
        found = found if isinstance(found, list | tuple) else (found,)
        return {name: tensor.numpy() for name, tensor in zip(outputs, found[: len(outputs)], strict=True)}

    return run


def _check(path: Path) -> None:
    """Refuse what torch.export.load would unpickle or evaluate beyond tensors and sizes."""
    with foreign(f"{path} is no whole exported program"), zipfile.ZipFile(path) as archive:
        try:
            _check_sizes(archive, path)
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
            for name in archive.namelist():
                if name.endswith("_config.json") or "/models/" in name:
                    json.loads(archive.read(name), object_pairs_hook=_checked)
                elif name.endswith(".pt") and archive.getinfo(name).file_size:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                elif "custom_obj" in name or "opaque" in name:
                    raise ValueError(f"it holds {name}")
        except Exception as error:  # whatever can't be read is refused as well
            reason = first_line(error)
            raise WeightsError(f"{path} is not a plain exported network and was not loaded: {reason}") from None


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, value in pairs:
        if key == "use_pickle" and value:
            raise ValueError("it holds pickled objects")
        if key == "expr_str" and not (isinstance(value, str) and EXPRESSION.fullmatch(value)):
            raise ValueError(f"it holds the expression {str(value)[:60]!r}")
    return dict(pairs)
