"""From what a person calls a MODEL, a file, a folder or a name, to where it lies; without torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from moganet.errors import WeightsError, did_you_mean
from moganet.files import neighbours
from moganet.models.hub_folder import is_hub_folder
from moganet.models.shipped import shipped_models
from moganet.models.timms import is_timms
from moganet.network import VARIANTS, full_name
from moganet.network.releases import PUBLISHED

RUN_FILES = ("best.safetensors", "last.safetensors")
ENDINGS = (  # of files that hold a model, and never an image
    *(".safetensors", ".ckpt", ".pth", ".pth.tar", ".pt", ".bin", ".pdparams"),
    *(".onnx", ".xml", ".pt2", ".pte"),
)


@dataclass(frozen=True)
class Found:
    """Where a MODEL lies: a file or hub folder; the name of a release; or a bare variant, or "timm:NAME"."""

    file: Path | None
    release: str | None = None
    network: str | None = None

    @property
    def path(self) -> Path:
        """Give the file. Raises WeightsError where there is none."""
        if self.file is None:
            raise WeightsError(f"{self.network} is a network's name, and no file")
        return self.file


def trained_name(what: str | Path) -> str:
    """Give a trained model's name, VARIANT.TAG, its variant in full; of other words what is no model's name."""
    base, _, tag = str(what).partition(".")
    return f"{full_name(base)}.{tag}"


def name_in_addresses(what: str | Path) -> str:
    """Give the name by which clients ask for a MODEL: its run's or its file's, in letters that an address takes."""
    path = Path(what)
    stem = path.resolve().parent.name if path.name in RUN_FILES else path.name or path.resolve().name
    ending = next((one for one in ENDINGS if stem.lower().endswith(one)), "")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem[: len(stem) - len(ending)]).strip("-.")[:100] or "model"


def is_shipped(what: str | Path) -> bool:
    """Tell whether a MODEL is the name of one that ships."""
    return trained_name(what) in shipped_models()


def list_trained() -> list[str]:
    """List the names of trained models: those that ship, and those to download."""
    return [*shipped_models(), *PUBLISHED]


def untrained(what: str | Path) -> WeightsError:
    """Give the error for a MODEL that has no trained weights, where they are needed."""
    return WeightsError(f"{what} has no trained weights; with weights: {', '.join(list_trained())}, or give a file")


def is_bare(what: str | Path) -> bool:
    """Tell whether a MODEL is a variant's name alone, which has no trained weights."""
    return full_name(str(what)) in VARIANTS and not Path(what).exists()


def names_model(text: str) -> bool:
    """Tell whether a word can only be meant for a MODEL: by a file's ending, by what a folder holds, or as a name."""
    path = Path(text)
    if is_timms(text):
        return True
    try:
        if path.is_dir():
            return is_hub_folder(path) or any((path / name).is_file() for name in RUN_FILES)
        if text.lower().endswith(ENDINGS) or path.exists():
            return text.lower().endswith(ENDINGS)
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False
    return full_name(text) in VARIANTS or trained_name(text) in list_trained()


def find(what: str | Path) -> Found:
    """Find a MODEL; a release is downloaded. Raises WeightsError for what does not exist."""
    path, text = Path(what), str(what)
    if is_timms(text):
        name, _, file = text.partition("@")
        return Found(Path(file) if file else None, network=name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise WeightsError(f"can't look at {text[:200]}: {error.strerror}; give a file, a folder or a name") from None
    if is_folder:
        return Found(path if is_hub_folder(path) else _weights_of_run(path))
    if is_file:
        beside = path.parent
        return Found(beside if path.name == "model.safetensors" and is_hub_folder(beside) else path)
    name, shipped = trained_name(text), shipped_models()
    if name in shipped:
        return Found(shipped[name])
    if name in PUBLISHED:
        from moganet.models.download import fetch  # which looks into what it brings, with torch

        return Found(fetch(name), release=name)
    if full_name(text) in VARIANTS:
        return Found(None, network=full_name(text))
    variant, _, tag = name.partition(".")
    if tag and variant in VARIANTS:
        like = did_you_mean(name, list_trained())
        raise WeightsError(f"there is no trained model {text!r}; {like}trained models: {', '.join(list_trained())}")
    like = did_you_mean(full_name(text), [*list_trained(), *VARIANTS, *neighbours(path)])
    known = f"give a file, a run's or hub folder, or {', '.join(VARIANTS)}"
    raise WeightsError(f"there is no model {text!r}: {like}{known}")


def _weights_of_run(folder: Path) -> Path:
    found = next((folder / name for name in RUN_FILES if (folder / name).is_file()), None)
    if found is None:
        lacks = f"it has neither {' nor '.join(RUN_FILES)}, and no config.json of a hub folder"
        raise WeightsError(f"{folder} is no finished run: {lacks}")
    return found
