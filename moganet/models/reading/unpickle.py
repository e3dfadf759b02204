"""Pickles, torch's and of arrays, of which nothing runs, is larger than the file, or takes for ever."""

import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from moganet.compat import PythonUnpickler
from moganet.errors import WeightsError, first_line

MAX_LINE = 1 << 12  # bytes of a name; a longer one is no name
MAX_TUPLE = 1_000_000  # parts, counted as often as they are held
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)


class _Bounded:
    """A file that gives no more than it has, and no endless lines."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, length: int) -> bytes:
        if length > self.size - self.file.tell():
            raise EOFError(f"it claims {length:,} bytes, more than are there")
        return self.file.read(length)

    def readline(self) -> bytes:
        return self.file.readline(MAX_LINE)


def _counted(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """Refuse tuples that share their parts until hashing one takes time without end."""

    def count(unpickler: Any) -> None:
        load(unpickler)
        made, sizes = unpickler.stack[-1], unpickler.sizes
        size = sum(sizes[id(part)][1] if id(part) in sizes else 1 for part in made)
        if size > MAX_TUPLE:
            raise pickle.UnpicklingError("its tuples hold one another too often")
        sizes[id(made)] = (made, size)  # the tuple too, so that its id stays its own

    return count


class SafeUnpickler(PythonUnpickler):
    """Admits the names that `admit` gives something for, and nothing else.

    It is the unpickler in Python: the one in C takes memory for any index that a file writes into its memo.
    """

    dispatch: ClassVar = {
        **PythonUnpickler.dispatch,
        **{code[0]: _counted(PythonUnpickler.dispatch[code[0]]) for code in TUPLES},
    }

    def __init__(self, file: IO[bytes], size: int, admit: Callable[[str], Any]) -> None:
        super().__init__(_Bounded(file, size), encoding="latin1")
        self.admit = admit
        self.sizes: dict[int, tuple[Any, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        given = self.admit(f"{module}.{name}")
        if given is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}"[:120])
        return given


class Inert:
    """Stands for whatever a pickle makes, and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    __setstate__ = append = add = __init__

    def __setitem__(self, key: Any, value: Any) -> None:
        hash(key)


# torch admits more than weights need: a bytearray or a tensor made by call can be of any size.
TENSOR_PARTS = re.compile(
    r"collections\.(OrderedDict|defaultdict|Counter)|(__builtin__|builtins)\.(set|int|float)"
    r"|torch\._utils\._rebuild_(tensor_v2|parameter)|torch\.(\w+Storage|Size|device|float\d*|bfloat16|u?int\d+)"
    r"|torch\.storage\.(Untyped|Typed)Storage|torch\.nn\.parameter\.Parameter|argparse\.Namespace"
    r"|numpy\.dtypes\.\w{1,10}DType"
)
STORAGE_BYTES = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2}
STORAGE_BYTES |= dict.fromkeys(("Char", "Byte", "Bool", "Untyped"), 1)


class _Rehearsal(SafeUnpickler):
    """Checks that each storage has as many bytes as its record in the archive."""

    def __init__(self, file: IO[bytes], size: int, records: Mapping[str, int] | None) -> None:
        super().__init__(file, size, _stand_in)
        self.records = records

    def persistent_load(self, pid: Any) -> Any:
        if self.records is not None:
            _, kind, key, _, number = pid
            claimed = number * getattr(kind, "itemsize", 0)
            if claimed < 0 or claimed != self.records.get(key):
                raise pickle.UnpicklingError(f"storage {key} claims {claimed:,} bytes and has {self.records.get(key)}")
        return Inert()


def _stand_in(name: str) -> Any:
    if name in REHEARSED:
        return REHEARSED[name]
    storage = re.fullmatch(r"torch\.(?:storage\.)?(\w+)Storage", name)
    if storage is not None and storage[1] in STORAGE_BYTES:
        return type(name, (Inert,), {"itemsize": STORAGE_BYTES[storage[1]]})
    return Inert if TENSOR_PARTS.fullmatch(name) else None


def rehearse(file: IO[bytes], size: int, records: Mapping[str, int] | None = None) -> None:
    """Go through one pickle of torch's without making anything of it.

    records: the bytes of each storage by its key, where they are known.
    Raises UnpicklingError, or whatever a damaged pickle raises, where it is not only tensors' parts and plain values.
    """
    _Rehearsal(file, size, records).load()


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

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.array = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("it holds an array that is no array of numbers")
    if order not in ("C", "F") or math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of shape {str(shape)[:60]} has {len(raw)} bytes")
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


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
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
}
for _core in ("numpy.core", "numpy._core"):
    STANDS_FOR[f"{_core}.multiarray._reconstruct"] = _Array
    STANDS_FOR[f"{_core}.multiarray.scalar"] = _scalar
    STANDS_FOR[f"{_core}.numeric._frombuffer"] = _from_buffer


class _Rebuilt(_Array):
    """Stands for an array in torch's pickles, where numpy itself will make it: of nothing, before its bytes come."""

    def __init__(self, kind: Any = None, shape: Any = None, *_: Any) -> None:
        if kind != NDARRAY or shape != (0,):
            raise pickle.UnpicklingError("it holds an array that claims memory")
        super().__init__()


NDARRAY = "numpy.ndarray"  # stands for itself, and can't be called
REHEARSED: dict[str, Any] = {name: made for name, made in STANDS_FOR.items() if "_frombuffer" not in name}
REHEARSED |= {name: _Rebuilt for name in REHEARSED if name.endswith("_reconstruct")} | {NDARRAY: NDARRAY}


def load_arrays(file: IO[bytes], path: Path) -> dict[str, Any]:
    """Unpickle a dict of arrays; texts stay. Raises WeightsError for anything else, nothing of it having run."""
    try:
        content = SafeUnpickler(file, path.stat().st_size, STANDS_FOR.get).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        said = f"is no dict of plain arrays, as .pdparams files are ({first_line(error)}); nothing was run"
        raise WeightsError(f"{path} {said}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dict of arrays")
    arrays = {str(n): v.array if isinstance(v, _Array) else v for n, v in content.items()}
    return {name: value for name, value in arrays.items() if isinstance(value, np.ndarray | str)}
