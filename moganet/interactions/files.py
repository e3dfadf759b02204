"""What a measurement of interactions leaves on disk as it goes, so that a stopped one goes on."""

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from moganet.errors import ConfigError, OutputError, first_line
from moganet.files import atomic_path, to_json, write_text
from moganet.interactions import Interactions
from moganet.notices import say
from moganet.results import Record

SETTINGS_FILE, MEASURED = "settings.json", "measured"
RESULT_FILES = ("interactions.json", "interactions.csv", "interactions.png")
FIELDS = ("pairs", "orders", "values", "standard_errors", "num_contexts")


class Asked(Record):
    """What is measured, whatever the amount. size: pixels a side; None: each network's own."""

    data: str
    split: str
    filter: str
    reward: str
    baseline: str
    seed: int
    size: int | None
    grid: int


class Measurement(Asked):
    """What is measured, so that it can go on. batches: masks at a time, by network.

    images, pairs, contexts: None where the budget (seconds) is still to choose them.
    """

    pairs: int | None
    contexts: int | None
    images: int | None
    budget: float | None
    batches: dict[str, int] | None


class InteractionFiles:
    """A folder with settings.json and measured/MODEL/IMAGE.npz; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def begin(self, settings: Measurement, overwrite: bool) -> Measurement:
        """Give the settings to measure with: those of the folder's earlier measurement where it is the same one.

        What is None in `settings` is taken from there. Raises ConfigError where the folder holds another measurement.
        """
        if self.folder is None:
            return settings
        path = self.folder / SETTINGS_FILE
        if overwrite:
            self._remove()
        if not path.is_file():
            found = [name for name in (MEASURED, *RESULT_FILES) if (self.folder / name).exists()]
            if found:
                raise ConfigError(f"{self.folder} holds {found[0]}, but no {SETTINGS_FILE}; choose another --out")
            return settings
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            kept = Measurement.model_validate({name: before[name] for name in settings})
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValidationError):
            raise ConfigError(f"{path} can't be read; choose another --out, or --overwrite") from None
        for name, value in settings.items():
            if value is not None and kept[name] != value:
                differs = f"{self.folder} holds another measurement: {name} is {kept[name]} there and {value} here"
                raise ConfigError(f"{differs}; choose another --out, or --overwrite")
        return kept

    def keep(self, settings: Measurement) -> None:
        if self.folder is not None:
            write_text(self.folder / SETTINGS_FILE, to_json(settings, indent=1))

    def model(self, name: str, identity: str) -> Path:
        assert self.folder is not None
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-40:]
        return self.folder / MEASURED / f"{short}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def _remove(self) -> None:
        assert self.folder is not None
        try:
            shutil.rmtree(self.folder / MEASURED, ignore_errors=True)
            for name in (SETTINGS_FILE, *RESULT_FILES):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"can't empty {self.folder}: {error.strerror}; choose another --out") from None


def save(path: Path, found: Interactions, seconds: float) -> None:
    """Write an image's interactions, whole or not at all."""
    arrays = {name: getattr(found, name) for name in FIELDS}
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays, numbers=np.array([found.num_players, found.evaluations]), seconds=seconds)


def read(path: Path) -> tuple[Interactions, float] | None:
    """Give an image's stored interactions and the seconds that they took; None where they have to be measured."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            players, evaluations = stored["numbers"].tolist()
            pairs, orders, values, errors, contexts = (stored[name] for name in FIELDS)
            shapes_agree = values.shape == errors.shape == contexts.shape == (len(pairs), len(orders))
            if not shapes_agree or not np.isfinite(values).all():
                raise ValueError("its arrays do not fit")
            return Interactions(pairs, orders, players, values, errors, contexts, evaluations), float(stored["seconds"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        say(f"{path} can't be read ({first_line(error)}): it is measured again", doubtful=True)
        return None
