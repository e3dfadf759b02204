"""Zip and tar archives as places where images lie: nothing of them is unpacked to disk, and their names are only names.

What an archive says of itself is not believed: sizes are limits while it is read, and members that can't be had are
named one by one.
"""

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

from moganet.data.formats import HOLDER_SUFFIXES, TAR_SUFFIXES, ZIP_SUFFIXES, readable_suffixes
from moganet.data.scan import TAKEN, Passed, describe, kind_by_name, kind_by_suffix, kind_of_head
from moganet.data.within import InTurn, Within, stamp_of
from moganet.errors import DataError, reason_of
from moganet.notices import say

LARGEST = 1 << 28  # bytes of an encoded image; no camera's is larger
LISTED = (*TAKEN, "image")  # the kinds that stand among the images
HEAD = 64  # bytes that tell an image from other files
MOST_UNPACKED, MOST_TIMES = (
    2 << 30,
    200,
)  # bytes of a compressed tar, and how often its own size, that are looked through
FOREIGN = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, RuntimeError, ValueError, NotImplementedError)
ENCRYPTED = "it is encrypted; unpack the archive with its password first"


class Member(NamedTuple):
    """What is told of a member: its name, its size, and what gives its first bytes."""

    name: str
    size: int
    head: Callable[[], bytes]


class ZipReader:
    """An open zip archive. Members are read by any thread, in any order. fault: why not all members were found."""

    in_turn: ClassVar[bool] = False

    def __init__(self, path: Path, asked: None) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except FOREIGN as error:
            raise DataError(f"it is no zip archive, or a damaged one: {_reason(error)}") from None
        self.fault = ""
        self.infos = self.zip.infolist()

    def look(self) -> Iterator[tuple[str, str, int]]:
        for place, info in enumerate(self.infos):
            if not info.is_dir():
                member = Member(info.filename, info.file_size, partial(self._bytes, info, HEAD))
                yield kind_of(member), info.filename, place

    def read(self, place: int) -> bytes:
        return within_limit(self.infos[place].file_size, partial(self._bytes, self.infos[place]))

    def _bytes(self, info: zipfile.ZipInfo, most: int) -> bytes:
        if info.flag_bits & 1:
            raise DataError(ENCRYPTED)
        with self.zip.open(info) as file:
            return file.read(most)


class TarReader:
    """An open tar archive, compressed or not: one member is found behind the other. fault: as of a zip archive."""

    in_turn: ClassVar[bool] = True

    def __init__(self, path: Path, asked: None) -> None:
        self.path, self.fault = path, ""
        self.most = max(MOST_UNPACKED, MOST_TIMES * path.stat().st_size)
        self.turn = InTurn(self._contents, "the archive ends before it, or is damaged there")

    def read(self, place: int) -> bytes:
        found = self.turn.get(place)
        if isinstance(found, DataError):
            raise found
        assert isinstance(found, bytes)
        return found

    def look(self) -> Iterator[tuple[str, str, int]]:
        place = 0
        for tar, info in self._walk():
            kind = kind_of(_member(tar, info))
            yield kind, info.name, place
            place += kind in LISTED

    def _contents(self) -> Iterator[tuple[int, bytes | DataError]]:
        found = ((tar, info) for tar, info in self._walk() if kind_of(_member(tar, info)) in LISTED)
        for place, (tar, info) in enumerate(found):
            try:
                yield place, within_limit(info.size, partial(_bytes_of, tar, info))
            except DataError as error:
                yield place, error
            except FOREIGN:
                return  # what is behind it can't be found

    def _walk(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        """Give files in their order, to the end or to where it is damaged. Raises DataError where there is no tar."""
        number = 0
        try:
            with tarfile.open(self.path, "r:*") as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # or all would be kept
                    number += 1
                    if info.offset_data + info.size > self.most:
                        self.fault = (
                            f"from its member {number:,} on it unpacks to more than {self.most:,} bytes: too much"
                        )
                        return
                    if not info.isdir():
                        yield tar, info
        except FOREIGN as error:
            if not number:
                raise DataError(f"it is no tar archive, or a damaged one: {_reason(error)}") from None
            self.fault = f"it is damaged or cut off behind its member {number:,}: {_reason(error)}"


def is_archive(path: Path) -> bool:
    """Tell, by its name, else by its first bytes, whether a file is an archive that may hold images."""
    name = path.name.lower()
    if name.endswith((*ZIP_SUFFIXES, *TAR_SUFFIXES)):
        return True
    if path.suffix.lower() in readable_suffixes():
        return False
    with open(path, "rb") as file:
        head = file.read(4)
    return head in (b"PK\3\4", b"PK\5\6")


def list_members(path: Path) -> tuple[list[Within], str]:
    """List the images within an archive in its order, and why these are not all; what is passed over is said.

    Raises DataError for what is no archive, or has no image.
    """
    reader_of: Any = TarReader if path.name.lower().endswith(TAR_SUFFIXES) else ZipReader
    stamp, found, passed = stamp_of(path), list[Within](), list[Passed]()
    reader = reader_of(path, None)
    for kind, name, place in reader.look():
        if kind in LISTED:
            found.append(Within(path, place, f"{path}/{name}", reader_of, stamp=stamp))
        if kind != "image":
            passed.append(Passed(kind, path / name.lstrip("/")))
    for finding in describe(path, passed):
        say(finding.detail)
    if not found and not reader.fault:
        raise DataError("the archive has no images")
    return found, reader.fault


def kind_of(member: Member) -> str:
    """Give a member's kind, as `scan` calls it."""
    parts = [part for part in PurePosixPath(member.name.replace("\\", "/")).parts if part not in ("/", "..")]
    kinds = {kind_by_name(part) for part in parts}
    if told := next((kind for kind in ("hidden", "system") if kind in kinds), None):
        return told
    if PurePosixPath(member.name).suffix.lower() in readable_suffixes():
        return "image" if member.size else "lost"
    if member.name.lower().endswith(HOLDER_SUFFIXES):
        return "inner"
    if (kind := kind_by_suffix(PurePosixPath(member.name))) is not None:
        return kind
    try:
        return kind_of_head(member.head())
    except (DataError, *FOREIGN):
        return "other"


def within_limit(size: int, read: Callable[[int], bytes]) -> bytes:
    """Read a member, whatever size it says. Raises DataError for one that is larger than an image."""
    content = b"" if size > LARGEST else read(LARGEST + 1)
    if size > LARGEST or len(content) > LARGEST:
        raise DataError(f"it unpacks to more than {LARGEST:,} bytes, as no image does")
    return content


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.size, partial(_bytes_of, tar, info, HEAD))


def _bytes_of(tar: tarfile.TarFile, info: tarfile.TarInfo, most: int) -> bytes:
    if not info.isreg():
        raise DataError("it is a link or a device within the archive")
    file = tar.extractfile(info)
    assert file is not None
    with file:
        return file.read(most)


def _reason(error: Exception) -> str:
    return reason_of(error).rstrip(":")
