"""PyTorch's own exported program (.pt2): runs wherever torch does, without this package."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moganet.errors import WeightsError
from moganet.files import atomic_path
from moganet.inference.export.graph import METADATA_KEY, ExportPrecision, Graph, Run

SUFFIX = ".pt2"
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "bf16", "f16")
EXTRA = f"{METADATA_KEY}.json"
# The names that may stand in a program's size expressions, which torch evaluates.
_WORDS = "Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilToInt|Eq|Ne|Lt|Le|Gt|Ge|int_oo"
_FLAGS = "positive|integer|nonnegative|True|False|evaluate"
EXPRESSION = re.compile(rf"(?:'[su]\d+'|\b[su]\d+\b|\b(?:{_WORDS}|{_FLAGS})\b|\d+|[\s+\-*/(),<>=])*")
HALF = {"bf16": torch.bfloat16, "f16": torch.float16}


class _Half(nn.Module):
    """A network in a half type between float32 images and float32 logits."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.to(self.dtype))
        return logits.float()


def trace(graph: Graph) -> torch.export.ExportedProgram:
    """Trace a graph, with a batch of any number."""
    module = graph.module(pad_by_hand=True)
    if graph.precision in HALF:
        dtype = HALF[graph.precision]
        if graph.raw:
            module.network = _Half(module.network, dtype)  # type: ignore[arg-type]
        else:
            module = _Half(module, dtype)
    axes = dict.fromkeys(graph.dynamic_axes(), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        return torch.export.export(module.eval(), (graph.example(),), dynamic_shapes=(axes,))


def save(graph: Graph, path: Path) -> None:
    """Write a .pt2 file."""
    program = trace(graph)
    program._example_inputs = None  # they would be pickled
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary, extra_files={EXTRA: graph.metadata()})


def read(path: Path) -> str:
    """Give the metadata's text."""
    with _open(path) as archive:
        return next((archive.read(name).decode() for name in archive.namelist() if name.endswith(f"extra/{EXTRA}")), "")


def load(path: Path, precision: str) -> Run:
    """Run the program with torch. Raises WeightsError where the file could run more than a network."""
    _check(path)
    try:
        module: Any = torch.export.load(path).module()
    except Exception as error:  # of many kinds, for a damaged archive
        raise WeightsError(f"{path} is no whole exported program: {str(error).strip().splitlines()[0]}") from None

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last) if x.is_floating_point() else x
        return module(x)  # type: ignore[no-any-return]

    return run


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(f"{path} is no whole exported program: {error}") from None


def _check(path: Path) -> None:
    """Refuse what torch.export.load would unpickle or evaluate beyond tensors and sizes."""
    with _open(path) as archive:
        try:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
            for name in archive.namelist():
                if name.endswith("_config.json") or "/models/" in name:
                    _check_json(json.loads(archive.read(name)))
                elif name.endswith(".pt") and archive.getinfo(name).file_size:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                elif "custom_obj" in name or "opaque" in name:
                    raise ValueError(f"it holds {name}")
        except Exception as error:  # whatever can't be read is refused as well
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(f"{path} is not a plain exported network and was not loaded: {reason}") from None


def _check_json(content: Any) -> None:
    for key, value in _walk(content):
        if key == "use_pickle" and value:
            raise ValueError("it holds pickled objects")
        if key == "expr_str" and not (isinstance(value, str) and EXPRESSION.fullmatch(value)):
            raise ValueError(f"it holds the expression {str(value)[:60]!r}")


def _walk(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _walk(value)
    elif isinstance(content, list):
        for value in content:
            yield from _walk(value)
