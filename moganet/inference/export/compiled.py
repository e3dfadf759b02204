"""torch.compile ahead of time (AOTInductor): a library for this machine alone, so it is a runtime and no export."""

import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from moganet.compat import compile_ahead, load_compiled
from moganet.errors import ConfigError, first_line, foreign
from moganet.files import atomic_path
from moganet.inference.export import program
from moganet.inference.export.graph import Graph
from moganet.inference.metadata import ExportPrecision
from moganet.inference.runs import Run

SUFFIX = ".pt2"
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "bf16", "f16")


def save(graph: Graph, path: Path) -> None:
    """Compile a graph. Raises ConfigError where there is no compiler."""
    traced = program.trace(graph)
    buffer = io.BytesIO()  # on a full disk torch's own writer would abort the process
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            compile_ahead(traced, buffer)
        except Exception as error:  # inductor wraps the compiler's errors in its own
            reason = first_line(error)
            raise ConfigError(f"the runtime 'compile' can't be made ready here ({reason}); use 'eager'") from None
        finally:
            if before is None:
                os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
            else:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(path: Path, precision: str, outputs: Sequence[str]) -> Run:
    """Load what was compiled."""
    with foreign(f"torch can't load {path}"):
        module = load_compiled(str(path))
    return program.run_of(module, outputs, torch.contiguous_format)
