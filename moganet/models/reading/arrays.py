"""A pickled dict of numpy arrays, read so that nothing in it can run and nothing is larger than the file."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from moganet.errors import WeightsError
from moganet.models.reading.unpickle import SafeUnpickler

DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")


class _Dtype:
    """Stands for numpy.dtype: plain numbers only."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in DTYPES:
            raise pickle.UnpicklingError(f"it holds arrays of type {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for an array that numpy would rebuild: it takes its bytes from the file, and no more than those."""

    def __init__(self) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.array = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("it holds an array that is no array of numbers")
    if order not in ("C", "F") or math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of shape {str(shape)[:60]} has {len(raw)} bytes")
    flat = np.frombuffer(raw, dtype.dtype)
    return flat.reshape(shape, order=order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.array = _from_bytes(raw, dtype, shape, order)
    return array


def _scalar(dtype: Any, raw: Any) -> Any:
    return _from_bytes(raw, dtype, (), "C").item()


def _encode(text: Any, encoding: Any) -> bytes:
    """Stand for _codecs.encode, by which pickles of protocol 2 hold bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it holds bytes in an odd encoding")
    return text.encode("latin1")


STANDS_FOR: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _reconstruct,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
}
for _core in ("numpy.core", "numpy._core"):
    STANDS_FOR[f"{_core}.multiarray._reconstruct"] = _reconstruct
    STANDS_FOR[f"{_core}.multiarray.scalar"] = _scalar
    STANDS_FOR[f"{_core}.numeric._frombuffer"] = _from_buffer


def load_arrays(file: IO[bytes], path: Path) -> dict[str, Any]:
    """Unpickle a dict of arrays; texts stay. Raises WeightsError for anything else, nothing of it having run."""
    try:
        content = SafeUnpickler(file, path.stat().st_size, STANDS_FOR.get).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        lines = str(error).strip().splitlines()
        reason = lines[0][:200] if lines else type(error).__name__
        raise WeightsError(
            f"{path} is no dict of plain arrays, as .pdparams files are ({reason}); nothing was run"
        ) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dict of arrays")
    arrays = {str(n): v.array if isinstance(v, _Array) else v for n, v in content.items()}
    return {name: value for name, value in arrays.items() if isinstance(value, np.ndarray | str)}
