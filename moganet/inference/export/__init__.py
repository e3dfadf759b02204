"""Exporters by name: each writes a network as a file that another runtime runs, and loads it again.

To add one: a file here with SUFFIX, PRECISIONS, `save(graph, path)`, `read(path)` (the metadata's text) and
`load(path, precision, outputs)` (a callable), and a line below; what runs its files without torch is in `runs/`.
"""

from moganet.inference.export import executorch, onnx, openvino, program
from moganet.inference.export.graph import Exporter, Graph
from moganet.inference.metadata import ExportMetadata, ExportPrecision

EXPORTERS: dict[str, Exporter] = {
    "onnx": onnx,
    "openvino": openvino,
    "program": program,
    "executorch": executorch,
}

__all__ = ["EXPORTERS", "ExportMetadata", "ExportPrecision", "Exporter", "Graph"]
