"""What an image is, told by its content: the identity behind fingerprints, and what finds copies in a data set."""

import hashlib
import logging
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moganet.data.within import CONTENTS, Within

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
CHUNK = 1 << 20  # bytes
PART = 64  # files, what a thread takes at once
MANY = 20_000  # files, from which on a person should know what is waited for
SKETCHED, SKETCH_BYTES = 256, 8  # images that stand for a whole set, and what is kept of each
UNREADABLE = b"\0" * 16


class EmbeddedImage(bytes):
    """An encoded image that lies within another file, with a name that finds it again ("photos.parquet/17/a.jpg")."""

    filename: str

    def __new__(cls, content: bytes, filename: str) -> "EmbeddedImage":
        image = super().__new__(cls, content)
        image.filename = filename
        return image

    def __getnewargs__(self) -> tuple[bytes, str]:  # type: ignore[override]  # what pickle gives to __new__
        return bytes(self), self.filename

    def __str__(self) -> str:
        return self.filename

    __repr__ = __str__  # a message never shows the bytes

    @property
    def name(self) -> str:  # as a path has it
        return self.filename.rpartition("/")[2]


ImageFile = Path | EmbeddedImage | Within


def hash_files(files: Sequence[ImageFile]) -> list[bytes]:
    """Give 16 bytes for each file that depend on all of its content, and on nothing else.

    Every byte is read: 100,000 photographs of 64 kB in memory take two cores about 10 s, others what the disk takes.
    """
    if len(files) >= MANY:
        logger.info("reading %s files, to know them by their contents", f"{len(files):,}")
    if any(isinstance(file, Within) and file.reader.in_turn for file in files):
        return [*map(_hash_file, files)]  # threads would send one another back
    parts = [files[start : start + PART] for start in range(0, len(files), PART)]
    with ThreadPoolExecutor() as pool:
        return [digest for part in pool.map(lambda part: [*map(_hash_file, part)], parts) for digest in part]


def hash_bytes(content: bytes) -> bytes:
    """Give 16 bytes that depend on a content, and on nothing else."""
    return hashlib.sha256(content).digest()[:16]


def hash_arrays(images: "Tensor") -> list[bytes]:
    """Give 16 bytes for each image (N, C, H, W) that depend on its shape and on every value."""
    shape = repr(tuple(images.shape[1:])).encode()
    return [hash_bytes(shape + image.tobytes()) for image in images.numpy()]


def together(contents: Sequence[bytes], groups: Sequence[str] | None = None) -> np.ndarray:
    """Number images (N,), so that copies have one number, as have images of one group, and what is linked by either."""
    from scipy.sparse import coo_matrix, csgraph  # which takes longer to import than most images to read

    number: dict[bytes | str, int] = {}
    own = [content if content != UNREADABLE else b"%d" % place for place, content in enumerate(contents)]
    links = [[number.setdefault(name, len(number)) for name in names] for names in (own, groups or own)]
    graph = coo_matrix((np.ones(len(own), bool), links), shape=(len(number), len(number)))
    return np.asarray(csgraph.connected_components(graph, directed=False)[1][links[0]], np.int64)


def sketch(contents: Sequence[bytes]) -> str:
    """Give a few of the images, the same few whatever stands beside them: by which they are known again elsewhere."""
    distinct = {content[:SKETCH_BYTES].hex() for content in contents if content != UNREADABLE}
    return " ".join(sorted(distinct)[:SKETCHED])


def known_again(sketched: str, contents: Sequence[bytes]) -> tuple[int, int]:
    """Count the images that a sketch has, and those of which it can tell: all, where it holds all images."""
    known = set(sketched.split())
    limit = max(known) if len(known) >= SKETCHED else "~"
    told = [name for content in contents if (name := content[:SKETCH_BYTES].hex()) <= limit and content != UNREADABLE]
    return sum(name in known for name in told), len(told)


def num_copies(contents: Sequence[bytes]) -> int:
    """Count the images that equal one before them. What can't be read equals nothing."""
    readable = [content for content in contents if content != UNREADABLE]
    return len(readable) - len(set(readable))


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would be waited for


def _hash_file(file: ImageFile) -> bytes:
    if isinstance(file, EmbeddedImage):
        return hash_bytes(file)
    if isinstance(file, Within):
        return _hash_within(file)
    digest = hashlib.sha256()
    try:
        with open(file, "rb", buffering=0, opener=_open_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                return UNREADABLE
            while chunk := opened.read(CHUNK):
                digest.update(chunk)
    except (OSError, ValueError):  # a name with a null byte
        return UNREADABLE
    return digest.digest()[:16]


def _hash_within(file: Within) -> bytes:
    try:
        content = file.in_lane(CONTENTS).load()
        return hash_bytes(content if isinstance(content, bytes) else content.tobytes())
    except Exception:  # what opens archives and videos raises anything
        return UNREADABLE
