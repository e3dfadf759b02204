"""ExecuTorch (.pte), for telephones: the network for one prepared image, by XNNPACK; its runtime needs torch here.

What a file says of itself stands behind the program, where ExecuTorch does not look: the metadata's text, its length
in eight bytes, and a mark.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moganet.errors import ConfigError, foreign, import_extra
from moganet.files import atomic_path
from moganet.inference.export.graph import Graph
from moganet.inference.metadata import ExportPrecision, Written, blocks, hash_of
from moganet.inference.runs import Array, Outputs, Run, Sizes
from moganet.inference.threads import Guard, OncePerProcess

SUFFIX = ".pte"
PRECISIONS: tuple[ExportPrecision, ...] = ("f32",)
MARK, LENGTH = b"moganet1", 8  # bytes behind the metadata's text
MAX_METADATA = 64 << 20  # bytes
EXTRA = "mobile"


def save(graph: Graph, path: Path) -> None:
    """Write a .pte file. Raises ConfigError for what it can't hold: an open batch or size makes XNNPACK fail."""
    if graph.raw or graph.size is None:
        asked = "--raw" if graph.raw else "--any-size"
        raise ConfigError(f"executorch files take a prepared image of one size: leave {asked} out, or use --to onnx")
    exir = import_extra("executorch.exir", "export to ExecuTorch", EXTRA)
    partition = import_extra("executorch.backends.xnnpack.partition.xnnpack_partitioner", "XNNPACK", EXTRA)
    with torch.no_grad(), foreign("ExecuTorch can't export this network"):
        traced = torch.export.export(graph.module().eval(), (graph.example()[:1],))
        lowered = exir.to_edge_transform_and_lower(traced, partitioner=[partition.XnnpackPartitioner()])
        program = bytes(lowered.to_executorch().buffer)
    text = graph.metadata(hash_of([program])).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(program + text + len(text).to_bytes(LENGTH, "little") + MARK)


def read(path: Path) -> Written:
    """Give what was written; ExecuTorch is not needed for it."""
    with foreign(f"{path} is no whole ExecuTorch file"), open(path, "rb") as file:
        size, behind = path.stat().st_size, LENGTH + len(MARK)
        file.seek(max(0, size - behind))
        tail = file.read(behind)
        length = int.from_bytes(tail[:LENGTH], "little")
        start = size - behind - length
        if not tail.endswith(MARK) or length > MAX_METADATA or start < 0:
            return Written("", "")
        file.seek(0)
        sha256 = hash_of(blocks(file, start))
        return Written(file.read(length).decode(), sha256)


def load(path: Path, precision: str, outputs: Sequence[str]) -> Run:
    """Run the file with ExecuTorch on this machine, image by image."""
    import_extra("executorch.runtime", f"running {path.name}", EXTRA)
    methods, guard = OncePerProcess(lambda: _method(path)), Guard()
    methods.get()

    def run(images: Array, sizes: Sizes | None = None) -> Outputs:
        assert sizes is None  # what is told of them is not written in this format
        with guard:
            method = methods.get()[0]
            rows = [_row(method, torch.from_numpy(np.array(image[None]))) for image in images]
        return {name: np.concatenate(some) for name, some in zip(outputs, zip(*rows, strict=True), strict=True)}

    return run


def _row(method: Any, image: Tensor) -> list[Array]:
    return [output.numpy().copy() for output in method.execute([image])]  # the method writes into them again


def _method(path: Path) -> tuple[Any, Any]:
    """Give the network's method, and the program that it lies in."""
    runtime = import_extra("executorch.runtime", f"running {path.name}", EXTRA)
    with foreign(f"ExecuTorch can't load {path}"):
        program = runtime.Runtime.get().load_program(path, verification=runtime.Verification.InternalConsistency)
        return program.load_method("forward"), program
