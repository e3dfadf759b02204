"""What an exported file says of itself, and what its files have in common; without torch."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Literal

from pydantic import ValidationError

from moganet.config import Settings
from moganet.errors import WeightsError, first_line, import_extra
from moganet.models.description import SEAL, ModelDescription, seal_of
from moganet.tasks import TASKS

ExportPrecision = Literal["f32", "bf16", "f16", "int8"]
METADATA_KEY = "moganet"
MAX_BYTES = 2 << 30  # of a file: what protobuf allows; the largest variant has 0.8 GB


class ExportMetadata(Settings):
    """What travels in an exported file.

    size: (height, width) that the graph is made for, or None for any. calibrated: whether a raw file's probabilities
    are scaled by the description's temperature; None in files from before this was said, which scaled where one was
    kept. more: what the graph gives behind its task's outputs, or a raw one's probabilities; none in older files.
    sha256: of the file without these metadata; None in files from before it was recorded.
    """

    format: str
    precision: ExportPrecision = "f32"
    raw: bool = False
    calibrated: bool | None = None
    size: tuple[int, int] | None = None
    more: tuple[str, ...] = ()
    description: ModelDescription
    sha256: str | None = None

    @property
    def is_scaled(self) -> bool:
        kept = self.description.task.temperature is not None
        return self.raw and kept and self.calibrated is not False

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("probabilities", *self.more) if self.raw else (*TASKS[self.description.task.name].outputs, *self.more)


@dataclass(frozen=True)
class Written:
    """What an exported file holds: the metadata's text ("" where there is none), and the SHA-256 of all the rest."""

    metadata: str
    sha256: str


def parse_metadata(text: str, path: Path) -> ExportMetadata:
    """Read an exported file's metadata. Raises WeightsError that names the file."""
    if not text:
        raise WeightsError(f"{path} has no description of ours; export it again with `moganet export`")
    try:
        plain = json.loads(text)
        seal = plain.pop(SEAL, None)
        if seal is None or seal == seal_of(plain):
            return ExportMetadata.model_validate(plain)
    except (ValidationError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} has a description that can't be read: {first_line(error)}") from None
    raise WeightsError(f"{path} is damaged: its description was changed; export it again")


def hash_of(parts: Iterable[bytes]) -> str:
    """Give the SHA-256 of a file's content, given in parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    """Give the next `length` bytes of a file, or what is there of them, a megabyte at a time."""
    while length > 0 and (block := file.read(min(length, 1 << 20))):
        length -= len(block)
        yield block


def need(module: str, what: str) -> ModuleType:
    """Import a package of the extra `export`. Raises MissingExtraError where it is not installed."""
    return import_extra(module, what, "export")
