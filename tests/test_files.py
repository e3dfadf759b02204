"""Files: what is read is regular and small."""

import os
from pathlib import Path

import pytest

from moganet.errors import ConfigError, DataError
from moganet.files import read_small


def test_a_small_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("größe: 1\n", encoding="utf-8")
    assert read_small(path, 100) == "größe: 1\n"
    assert read_small(path, len(path.read_bytes())) == "größe: 1\n"


@pytest.mark.parametrize(
    "kind", ["pipe", "device", "folder", "large", "sparse", "latin1", "missing", "linked pipe", "nul"]
)
def test_what_is_no_small_regular_text_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "linked pipe":
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b"a" * 101)
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(5 << 30)
    elif kind == "latin1":
        path.write_bytes(b"gr\xf6\xdfe")
    elif kind == "nul":
        path = Path(f"{tmp_path}/a\0b")
    with pytest.raises(DataError) as caught:
        read_small(path, 100)
    assert str(path.name) in str(caught.value) or kind == "nul"
    assert "\n" not in str(caught.value)


def test_the_caller_names_the_kind_of_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_small(tmp_path / "none", 100, ConfigError)
