"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from a download, an archive or a folder; torchvision checks MD5 sums."""

import bz2
import gzip
import hashlib
import io
import logging
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, cast
from urllib.request import urlopen

import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import calculate_md5

from moganet.data.source import ArraySplit, Dataset
from moganet.data.targets import ClassIndices
from moganet.errors import DataError, first_line
from moganet.files import atomic_path, cache_folder, typed_path

logger = logging.getLogger(__name__)
CLASSES: dict[str, Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100}
MAX_MEMBER_BYTES = 200 << 20  # the largest genuine member, CIFAR-100's train, has 155 MB
MAX_ARCHIVE_BYTES = 1 << 30  # unpacked; the genuine ones have 190 MB
MAX_READ = 1 << 20
TIMEOUT = 60  # seconds without a byte of a download
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open}


def open_cifar(name: str, path: str | None) -> Dataset:
    """Open a set by its archive or folder; without a path, from $MOGANET_DATA or the cache, else download it."""
    kind = CLASSES[name]
    root = _locate(name, typed_path(path)) if path else _find_or_download(name)
    reader = type(kind.__name__, (kind,), {"base_folder": root.name})
    try:
        parts = {split: reader(str(root.parent), train=split == "train") for split in ("train", "test")}
    except Exception as error:  # whatever torchvision and pickle raise about what lies there
        what = f"{root} is not a whole {name} ({first_line(error)})"
        raise DataError(f"{what}; unpack or download it again from {kind.url}") from None
    splits = {}
    for split, part in parts.items():
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()  # (N, 3, 32, 32)
        splits[split] = ArraySplit(images, ClassIndices(torch.tensor(part.targets)), f"{name}/{split}")
    spec = f"{name}:{typed_path(path).absolute()}" if path else name
    return Dataset(spec, tuple(parts["train"].classes), splits)


def recognise_cifar(path: Path) -> str | None:
    """Name the set that an archive or a folder holds, or None."""
    for name, kind in CLASSES.items():
        if path.is_file() and path.name.startswith(f"{_stem(name)}."):
            return name
        # Files, not folders: CIFAR-100's are called "train" and "test", as folders of photographs are.
        if any(_holds_batches(kind, folder) for folder in (path, path / kind.base_folder)):
            return name
    return None


def names_beside(name: str, path: Path) -> list[str]:
    """Name what lies in a folder beside the set that it holds."""
    kind = CLASSES[name]
    if not path.is_dir() or _holds_batches(kind, path):
        return []
    own = (kind.base_folder, f"{_stem(name)}.", ".")
    return sorted(found.name for found in path.iterdir() if not found.name.startswith(own))


def _holds_batches(kind: Any, folder: Path) -> bool:
    return all((folder / file).is_file() for file, _ in (*kind.train_list, *kind.test_list))


OPENERS: dict[str, Callable[[str | None], Dataset]] = {name: partial(open_cifar, name) for name in CLASSES}


def _locate(name: str, path: Path) -> Path:
    """Give the folder of batches for an archive, that folder itself, or a folder that holds either."""
    base: str = CLASSES[name].base_folder
    if not path.exists():
        raise DataError(f"there is no {path}; give the archive of {name} or its unpacked folder {base}")
    if (found := _find(name, path)) is None:
        what = f"{path} holds neither {base}/ nor {_stem(name)}.tar.gz"
        raise DataError(f"{what}; give the archive or the unpacked folder")
    return found


def _find(name: str, path: Path) -> Path | None:
    base: str = CLASSES[name].base_folder
    if path.is_file():
        return _unpack(name, path)
    if (path / base).is_dir():
        return path / base
    if (path / CLASSES[name].test_list[0][0]).is_file():
        return path.absolute()
    archives = sorted(path.glob(f"{_stem(name)}.tar.*"))
    return _unpack(name, archives[0]) if archives else None


def _stem(name: str) -> str:
    return str(CLASSES[name].filename).removesuffix(".tar.gz")


def _find_or_download(name: str) -> Path:
    kind, cache = CLASSES[name], cache_folder()
    for folder in filter(None, (os.environ.get("MOGANET_DATA"), str(cache))):
        if Path(folder).is_dir() and (found := _find(name, Path(folder))):
            return found
    archive = cache / kind.filename
    logger.info("downloading %s from %s into %s", name, kind.url, cache)
    try:
        with atomic_path(archive) as partial:
            with urlopen(kind.url, timeout=TIMEOUT) as answer, open(partial, "wb") as out:
                shutil.copyfileobj(answer, out)
            if (md5 := calculate_md5(partial)) != kind.tgz_md5:
                raise ValueError(f"what came has the MD5 sum {md5}, not {kind.tgz_md5}")
    except (OSError, HTTPException, ValueError) as error:
        remedy = f"fetch {kind.url} by hand and give it as --data {name}:PATH, or name its folder in MOGANET_DATA"
        raise DataError(f"can't download {name} ({error}); {remedy}") from None
    return _unpack(name, archive)


def _unpack(name: str, archive: Path) -> Path:
    """Unpack an archive's batches into the cache, once for each archive; a broken one leaves nothing behind."""
    kind = CLASSES[name]
    stat = archive.stat()
    key = hashlib.sha256(os.fsencode(f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}")).hexdigest()[:16]
    target = cache_folder() / f"{name}-{key}"
    if target.is_dir() and not _is_whole(kind, target / str(kind.base_folder)):
        shutil.rmtree(target, ignore_errors=True)  # damaged since, or not wholly written: unpacked again
    if not target.is_dir():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as temporary:
                _extract(name, archive, Path(temporary) / "whole")
                os.replace(Path(temporary) / "whole", target)
        except OSError as error:
            if not target.is_dir():  # else another process was faster
                what = f"can't unpack {archive} into {target.parent}: {error.strerror}"
                raise DataError(f"{what}; name another folder in MOGANET_CACHE") from None
    return target / str(kind.base_folder)


def _is_whole(kind: Any, folder: Path) -> bool:
    try:
        return all(calculate_md5(folder / file) == known for file, known in _sums(kind).items())
    except OSError:
        return False


def _sums(kind: Any) -> dict[str, str]:  # MD5, of each file of a set
    return {**dict([*kind.train_list, *kind.test_list]), kind.meta["filename"]: kind.meta["md5"]}


def _extract(name: str, archive: Path, folder: Path) -> None:
    kind = CLASSES[name]
    wanted, whose = _sums(kind), f"{archive} is not {name}'s archive"
    (folder / kind.base_folder).mkdir(parents=True)
    try:
        with _opened(archive) as stream, tarfile.open(fileobj=_Bounded(stream), mode="r:") as tar:
            for member in tar:
                out = folder / kind.base_folder / Path(member.name).name
                if not (member.isfile() and out.name in wanted):
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise DataError(f"{whose}: its member {member.name[:80]} claims {member.size:,} bytes")
                with cast(IO[bytes], tar.extractfile(member)) as content, open(out, "wb") as file:
                    shutil.copyfileobj(content, file)
                if calculate_md5(out) != wanted.pop(out.name):
                    raise DataError(f"{whose}, or a damaged one: its {out.name} is another file")
                if not wanted:
                    break
    except Exception as error:  # tarfile, gzip, lzma, bz2 and zlib have errors of their own, and raise others besides
        if isinstance(error, DataError) or (isinstance(error, OSError) and error.errno is not None):
            raise  # ours, and what is wrong with the place
        reason = f"can't read the archive {archive}: {first_line(error)}"
        raise DataError(f"{reason}; download it again from {kind.url}") from None
    if wanted:
        raise DataError(f"{whose}: it lacks {', '.join(sorted(wanted))}")


def _opened(archive: Path) -> IO[bytes]:
    with open(archive, "rb") as stream:
        start = stream.read(6)
    opener: Any = next((opener for mark, opener in COMPRESSIONS.items() if start.startswith(mark)), open)
    return cast(IO[bytes], opener(archive, "rb"))


class _Bounded(io.RawIOBase):
    """A tar's bytes, no more at once or further on than a genuine archive asks for: tarfile believes any header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return self.stream.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        if place > MAX_ARCHIVE_BYTES:
            raise tarfile.ReadError(f"it claims more than {MAX_ARCHIVE_BYTES:,} bytes")
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        return self.stream.tell()
