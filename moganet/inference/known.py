"""What was found out of a MODEL when it was loaded: kept in the cache, so that it answers again without torch.

An entry is $MOGANET_CACHE/models/KEY, where KEY is the hash of the model's files, of what was chosen, and of versions:
another file, or another choice, never meets it. Beside it lie the runtimes' files (cached.py).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError, field_serializer

from moganet.config import Settings
from moganet.errors import OutputError
from moganet.files import write_text
from moganet.inference.cache import folder_of, make_folder, what_changed
from moganet.models.choices import Choices
from moganet.models.chosen import Chosen
from moganet.models.description import ModelDescription
from moganet.models.find import Found
from moganet.models.hub_folder import CONFIG, INDEXES, tensors_file
from moganet.notices import say

KEPT = 4  # raised whenever other things are kept
ROOM, ENTRY = "models", "model.json"


class Said(NamedTuple):
    """A note to the user."""

    text: str
    doubtful: bool


class Known(Settings):
    """A model's description, what was taken of its file, and what was said while it was read.

    identity: by what files made of its network are known. tensors: their number in the file.
    more: what the network gives beside its task's outputs.
    """

    description: ModelDescription
    chosen: Chosen
    tensors: int
    identity: str = ""
    more: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()

    @field_serializer("chosen")
    def _plain(self, chosen: Chosen) -> Mapping[str, Any]:
        return chosen.plain()

    def say_again(self) -> None:
        """Say what was said when the model was read."""
        for text, doubtful in self.said:
            say(text, doubtful=doubtful)


def key_of(found: Found, choices: Choices) -> str | None:
    """Give all that a model's reading depends on; None for one that lies in no file, or in many."""
    files = files_of(found)
    if not files:
        return None
    try:
        hashed = [(str(path), hash_of_file(path)) for path in files]  # by their places, which what was said may name
    except OSError:
        return None  # reading it says why
    versions = [version(name) for name in ("moganet", "timm")]
    return repr([KEPT, found.release, found.network, sorted(choices.given().items()), hashed, *versions])


def files_of(found: Found) -> list[Path]:
    """Give the files that a model is read from, its tensors' last; none where these lie in several."""
    if found.file is None:
        return []
    if not found.file.is_dir():
        return [found.file]
    tensors = tensors_file(found.file)
    return [] if tensors is None or tensors.name in INDEXES else [found.file / CONFIG, tensors]


def hash_of_file(path: Path) -> str:
    """Give the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recall(key: str) -> Known | None:
    """Give what is known under a key; None where nothing is, or where it is not what was written."""
    folder = folder_of(ROOM, key)
    if not os.path.lexists(folder):
        return None
    reason = what_changed(folder, key)
    if reason is None:
        try:
            return Known.model_validate(json.loads((folder / ENTRY).read_bytes()))
        except (OSError, ValueError, ValidationError, RecursionError):
            reason = "it can not be read"
    say(f"{folder} is not what was written there ({reason}): it is made again")
    return None


def keep(key: str, known: Known) -> None:
    """Write what is known; where that can't be done, the next process finds it out again."""
    text = known.model_dump_json(exclude_none=True)
    with suppress(OSError, OutputError):
        make_folder(folder_of(ROOM, key), key, lambda made: write_text(made / ENTRY, text))
