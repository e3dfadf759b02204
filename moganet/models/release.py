"""Whether a file is the release that it is said to be."""

import os
import zipfile
from pathlib import Path

from moganet.errors import WeightsError
from moganet.models.build import build_blank, check_fit
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of
from moganet.network import VARIANTS
from moganet.network.releases import PUBLISHED

ZIP_END = 22  # bytes of an archive's last record


def check_release(name: str, path: Path) -> None:
    """Check a file's structure: its sums, its variant, all names and shapes. Raises WeightsError for another file."""
    if zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            file.seek(-ZIP_END, os.SEEK_END)
            if file.read(4) != b"PK\5\6":  # torch writes no comment behind it
                raise WeightsError(f"{path} is damaged: something follows the end of its archive")
    checkpoint = read_checkpoint(path)  # which looks at the sums
    architecture, variant = architecture_of(checkpoint), VARIANTS[name.partition(".")[0]]
    found = {key: getattr(architecture, key) for key in variant}
    if found != variant:
        raise WeightsError(f"{path} holds a network of {found}, not {variant}")
    if (head := "none" if architecture.head is None else architecture.head.name) != (asked := PUBLISHED[name].head):
        raise WeightsError(f"{path} holds a network with the head {head}, not {asked}")
    check_fit(checkpoint.state, build_blank(architecture).state_dict(), path)
