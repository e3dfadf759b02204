"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), read by torchvision, which checks every batch's MD5 sum.

They come from a download, an archive (.tar.gz, .tar.xz) or an unpacked folder.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import download_url

from moganet.data.source import ArraySplit, Dataset
from moganet.errors import DataError
from moganet.files import cache_folder

CLASSES: dict[str, Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100}
MAX_MEMBER_BYTES = 200 << 20  # the largest genuine member, CIFAR-100's train, has 155 MB


def open_cifar(name: str, path: str | None) -> Dataset:
    """Open a set by its archive or folder; without a path, from $MOGANET_DATA or the cache, else download it."""
    kind = CLASSES[name]
    root = _locate(name, Path(path)) if path else _find_or_download(name)
    reader = type(kind.__name__, (kind,), {"base_folder": root.name})
    try:
        parts = {split: reader(str(root.parent), train=split == "train") for split in ("train", "test")}
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"{root} is not a whole {name} ({error}); unpack or download it again from {kind.url}"
        ) from None
    splits = {
        split: ArraySplit(_to_tensor(part.data), torch.tensor(part.targets), f"{name}/{split}")
        for split, part in parts.items()
    }
    spec = f"{name}:{Path(path).absolute()}" if path else name
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


def _holds_batches(kind: Any, folder: Path) -> bool:
    return all((folder / file).is_file() for file, _ in (*kind.train_list, *kind.test_list))


OPENERS: dict[str, Callable[[str | None], Dataset]] = {name: partial(open_cifar, name) for name in CLASSES}


def _to_tensor(images: np.ndarray) -> torch.Tensor:  # (N, 32, 32, 3) -> (N, 3, 32, 32)
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _locate(name: str, path: Path) -> Path:
    """Give the folder of batches for an archive, that folder itself, or a folder that holds either."""
    base: str = CLASSES[name].base_folder
    if not path.exists():
        raise DataError(f"there is no {path}; give the archive of {name} or its unpacked folder {base}")
    found = _find(name, path)
    if found is None:
        raise DataError(
            f"{path} holds neither {base}/ nor {_stem(name)}.tar.gz; give the archive or the unpacked folder"
        )
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
    archive: str = CLASSES[name].filename
    return archive.removesuffix(".tar.gz")


def _find_or_download(name: str) -> Path:
    kind = CLASSES[name]
    cache = cache_folder()
    for folder in filter(None, (os.environ.get("MOGANET_DATA"), str(cache))):
        found = _find(name, Path(folder)) if Path(folder).is_dir() else None
        if found is not None:
            return found
    archive = cache / kind.filename
    partial = archive.with_name(f".{archive.name}.{os.getpid()}.partial")
    try:
        download_url(kind.url, str(cache), partial.name, kind.tgz_md5)
        os.replace(partial, archive)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"can't download {name} ({error}); fetch {kind.url} by hand and give it as --data {name}:PATH, "
            "or name its folder in MOGANET_DATA"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return _unpack(name, archive)


def _unpack(name: str, archive: Path) -> Path:
    """Unpack an archive's batches into the cache, once for each archive; a broken one leaves nothing behind."""
    kind = CLASSES[name]
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    target = cache_folder() / f"{name}-{key}"
    if not target.is_dir():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as temporary:
                _extract(name, archive, Path(temporary) / "whole")
                os.replace(Path(temporary) / "whole", target)
        except OSError as error:
            if not target.is_dir():  # else another process was faster
                raise DataError(
                    f"can't unpack {archive} into {target.parent}: {error.strerror}; "
                    "name another folder in MOGANET_CACHE"
                ) from None
    return target / str(kind.base_folder)


def _extract(name: str, archive: Path, folder: Path) -> None:
    kind = CLASSES[name]
    wanted = {file for file, _ in (*kind.train_list, *kind.test_list)} | {kind.meta["filename"]}
    (folder / kind.base_folder).mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = Path(member.name).name
                if not (member.isfile() and file in wanted):
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise DataError(
                        f"{archive} is not {name}'s archive: its member {member.name} claims {member.size:,} bytes"
                    )
                content = tar.extractfile(member)
                assert content is not None
                with open(folder / kind.base_folder / file, "wb") as out:
                    shutil.copyfileobj(content, out)
                wanted.discard(file)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"can't read the archive {archive}: {error}; download it again from {kind.url}") from None
    except Exception as error:  # lzma and zlib have errors of their own for a damaged stream
        if isinstance(error, DataError) or type(error).__module__ not in ("_lzma", "zlib", "lzma"):
            raise
        raise DataError(f"the archive {archive} is damaged: {error}; download it again from {kind.url}") from None
    if wanted:
        raise DataError(f"{archive} is not {name}'s archive: it lacks {', '.join(sorted(wanted))}")
