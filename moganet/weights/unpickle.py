"""Pickles read so that nothing in them runs, nothing is larger than the file, and nothing takes for ever."""

import pickle
import re
from collections.abc import Callable
from typing import IO, Any

MAX_LINE = 1 << 12  # bytes of a name; a longer one is no name
TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)


class _Bounded:
    """A file that gives no more than it has, and no endless lines."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, length: int) -> bytes:
        if length > self.size - self.file.tell():
            raise EOFError(f"it claims {length:,} bytes more than are there")
        return self.file.read(length)

    def readline(self) -> bytes:
        return self.file.readline(MAX_LINE)


def _shallow(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """Refuse tuples in tuples in tuples: hashing one whose parts are shared takes time without end."""

    def check(unpickler: Any) -> None:
        load(unpickler)
        if any(isinstance(inner, tuple) and any(isinstance(i, tuple) for i in inner) for inner in unpickler.stack[-1]):
            raise pickle.UnpicklingError("its tuples are nested too deeply")

    return check


class SafeUnpickler(pickle._Unpickler):
    """Admits the names that `admit` gives something for, and nothing else.

    It is the unpickler in Python: the one in C takes memory for any index that a file writes into its memo.
    """

    dispatch = {
        **pickle._Unpickler.dispatch,
        **{code[0]: _shallow(pickle._Unpickler.dispatch[code[0]]) for code in TUPLES},
    }

    def __init__(self, file: IO[bytes], size: int, admit: Callable[[str], Any]) -> None:
        super().__init__(_Bounded(file, size), encoding="latin1")
        self.admit = admit

    def find_class(self, module: str, name: str) -> Any:
        given = self.admit(f"{module}.{name}")
        if given is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}"[:120])
        return given

    def persistent_load(self, pid: Any) -> Any:
        return Inert()


class Inert:
    """Stands for whatever a pickle makes, and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        hash(key)

    def append(self, item: Any) -> None:
        """Take an item, as a list does."""

    def add(self, item: Any) -> None:
        """Take an item, as a set does."""


# torch admits more than weights need: a bytearray or a tensor made by call can be of any size.
TENSOR_PARTS = re.compile(
    r"collections\.(OrderedDict|defaultdict|Counter)|(__builtin__|builtins)\.(set|int|float)"
    r"|torch\._utils\._rebuild_(tensor_v2|parameter)|torch\.(\w+Storage|Size|device|float\d*|bfloat16|u?int\d+)"
    r"|torch\.storage\.(Untyped|Typed)Storage|torch\.nn\.parameter\.Parameter|argparse\.Namespace|_codecs\.encode"
    r"|numpy\.dtype|numpy\.(_core|core)\.multiarray\.scalar|numpy\.dtypes\.Float(32|64)DType"
)


def rehearse(file: IO[bytes], size: int) -> None:
    """Go through one pickle of torch's without making anything of it.

    Raises UnpicklingError, or whatever a damaged pickle raises, where it is not only tensors' parts and plain values.
    """
    SafeUnpickler(file, size, lambda name: Inert if TENSOR_PARTS.fullmatch(name) else None).load()
