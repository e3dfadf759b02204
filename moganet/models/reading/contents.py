"""What a weights file holds, read so that nothing in it runs and no lie about sizes costs memory."""

import argparse
import io
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from moganet.errors import WeightsError, first_line
from moganet.files import path_in_utf8
from moganet.models.reading.unpickle import DTYPES, load_arrays, rehearse

# The first pickle of a file that torch.save wrote before version 1.6: torch's magic number, in protocol 2.
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 5  # magic number, protocol, system, content, keys of the storages; then come bytes
# Officially released files keep their arguments in a Namespace, mmcv its best figure in a numpy scalar, and
# mmsegmentation the colours that it draws for a person's own classes in an array.
SAFE_GLOBALS = [argparse.Namespace, np.dtype, np.ndarray, *{type(np.dtype(code)) for code in DTYPES}]
POINTER = b"version https:/"  # how Git LFS begins what stands for a file
MAX_PICKLE_BYTES = 64 << 20  # names and shapes, without the tensors' bytes; released files have less than one


@dataclass(frozen=True)
class Content:
    """What was read: torch objects, a pickle's arrays, a safetensors file's tensors and texts; nothing of a folder."""

    path: Path
    kind: Literal["torch", "arrays", "safetensors", "folder"]
    values: Any
    metadata: dict[str, str] = field(default_factory=dict)


def read_content(path: Path) -> Content:
    """Read a file by what it holds. Raises WeightsError for one that is missing, damaged, or would run code.

    Large tensors stay in the file until they are used; copy those that must outlive a change of the file.
    """
    try:
        if not path.is_file():
            what = "it is a folder, a pipe or a device" if path.exists() else "nothing is there"
            raise WeightsError(f"there is no file {path}: {what}")
        with open(path, "rb") as file:
            start = file.read(len(LEGACY_START))
    except OSError as error:
        raise WeightsError(f"can't open {str(path)[:500]}: {error.strerror}") from None
    if not start:
        raise WeightsError(f"{path} is empty; download it again")
    if start.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not a weights file; download the file itself")
    if start.startswith(POINTER):
        raise WeightsError(f"{path} is a pointer of Git LFS, not the file itself; fetch that with `git lfs pull`")
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if start[:2] == b"PK" or zipfile.is_zipfile(path):
        return Content(path, "torch", _read_zip(path))
    if start == LEGACY_START:
        return Content(path, "torch", _read_legacy(path))
    with open(path, "rb") as file:
        return Content(path, "arrays", load_arrays(file, path))


def _read_safetensors(path: Path) -> Content:
    try:
        with path_in_utf8(path) as named, safe_open(named, framework="pt") as file:
            metadata = file.metadata() or {}
            return Content(path, "safetensors", {n: file.get_tensor(n) for n in file.keys()}, metadata)  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        said = f"is no whole safetensors file ({first_line(error)}); train or download it again"
        raise WeightsError(f"{path} {said}") from None


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _refuse_others(path, [member.filename for member in members])
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > m.compress_size for m in members):
                raise WeightsError(f"{path} is a zip archive, but not as torch.save writes one: it is compressed")
            pickles = [m for m in members if m.filename.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1 or sum(m.file_size for m in members) > path.stat().st_size:
                raise WeightsError(f"{path} is a zip archive, but not as torch.save writes it: it has no data.pkl")
            if pickles[0].file_size > MAX_PICKLE_BYTES:
                raise WeightsError(f"{path} is a zip archive whose data.pkl has {pickles[0].file_size:,} bytes")
            folder = pickles[0].filename.removesuffix("data.pkl") + "data/"
            records = {m.filename.removeprefix(folder): m.file_size for m in members if m.filename.startswith(folder)}
            rehearse(io.BytesIO(archive.read(pickles[0])), pickles[0].file_size, records)
            if (damaged := archive.testzip()) is not None:  # torch does not look at the sums
                raise WeightsError(f"{path} is damaged: {damaged[:60]} does not have its recorded sum; get it anew")
    except WeightsError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise _unreadable(path, error) from None
    return _load_torch(path, mmap=True)


def _refuse_others(path: Path, names: list[str]) -> None:
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise WeightsError(f"{path} is a TorchScript program, which holds code; save its state_dict() instead")
    if names and all(name.endswith(".npy") for name in names):
        raise WeightsError(f"{path} is an archive of numpy arrays; save them by safetensors.numpy.save_file instead")


def _read_legacy(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            for _ in range(LEGACY_PICKLES):
                rehearse(file, min(path.stat().st_size, MAX_PICKLE_BYTES))
    except Exception as error:
        raise _unreadable(path, error) from None
    return _load_torch(path, mmap=False)


def _load_torch(path: Path, mmap: bool) -> Any:
    # numpy's own functions for them, wherever they lie.
    makers: dict[str, Any] = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    numpys = [(made, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for name, made in makers.items()]
    try:
        with torch.serialization.safe_globals([*SAFE_GLOBALS, *numpys]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old storage classes
            with path_in_utf8(path) as named:
                return torch.load(named, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError, EOFError, …
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = first_line(error)
    # A name with capitals is a class: most likely torch.save(model).
    is_module = re.match(r"it asks for [\w.]+\.[A-Z]\w*$", reason) is not None
    remedy = "; if it is a whole module, save its state_dict() instead" if is_module else ""
    return WeightsError(f"{path} can't be read as plain tensors ({reason}); nothing was run{remedy}")
