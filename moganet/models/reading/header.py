"""The hash of a safetensors file's tensors, by its header; without torch."""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from moganet.errors import WeightsError

# torch's names of the types that weights have, by safetensors' own.
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
TYPES |= {"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
LENGTH = 8  # bytes at the beginning, which say how long the header is
MAX_HEADER = 100_000_000  # bytes, as safetensors' own reader allows


def is_safetensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors do, whatever its name."""
    with open(path, "rb") as file:
        return file.read(LENGTH + 1)[LENGTH:] == b"{"


def is_whole(path: Path) -> bool:
    """Tell, by its header, whether a safetensors file has all of its bytes; what they are is not looked at."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with open(path, "rb") as file:
            length, header = _header(file)
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            return path.stat().st_size == LENGTH + length + max(ends, default=0)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return False


def hash_tensors_of(path: Path) -> str:
    """Give the SHA-256 of a file's tensors, as `checkpoint.hash_tensors` does. Raises WeightsError for another file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            length, header = _header(file)
            for name in sorted(header.keys() - {"__metadata__"}):
                start, end = header[name]["data_offsets"]
                kind, shape = f"torch.{TYPES[header[name]['dtype']]}", tuple(header[name]["shape"])
                digest.update(f"{name} {kind} {shape}\n".encode("utf-8", "surrogatepass"))
                digest.update(_part(file, LENGTH + length + start, end - start))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise WeightsError(f"{path} is no whole safetensors file; train or download it again") from None
    return digest.hexdigest()


def _header(file: BinaryIO) -> tuple[int, Any]:
    """Give the header's length in bytes, and what it says. Raises ValueError for what can't be one."""
    length = int.from_bytes(file.read(LENGTH), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header would have {length:,} bytes")
    return length, json.loads(file.read(length))


def _part(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    part = file.read(length)
    if len(part) != length:
        raise ValueError("it ends within a tensor")
    return part
