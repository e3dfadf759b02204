"""Files that appear whole or not at all wherever a user points, and a cache where there is no home."""

import io
import json
import os
import stat
from pathlib import Path

import pytest

from moganet import files
from moganet.errors import ConfigError, DataError, OutputError
from moganet.files import (
    atomic_path,
    cache_folder,
    check_place,
    read_names,
    read_small,
    to_json,
    typed_path,
    write_text,
)
from moganet.notices import listening
from moganet.results import Record


def places(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    return {
        "in a file": tmp_path / "file" / "x.json",
        "a folder": tmp_path / "folder",
        "a loop": tmp_path / "a",
        "in a loop": tmp_path / "a" / "x.json",
        "too long": tmp_path / ("x" * 300),
        "full": Path("/dev/full"),
    }


@pytest.mark.parametrize("kind", ["in a file", "a folder", "a loop", "in a loop", "too long", "full"])
def test_a_place_that_can_not_be_written_is_named(kind, tmp_path):
    place = places(tmp_path)[kind]
    with pytest.raises(OutputError, match="can't write"):
        write_text(place, "text")
    if kind not in ("full", "too long"):  # which only writing can tell
        with pytest.raises(OutputError, match="--out"):
            check_place(place, "--out")
    assert not list(tmp_path.glob(".*.partial*"))


@pytest.mark.parametrize("name", ["x" * 250, "é" * 120, "caf\udce9.json", "two\nlines", "~x"])
def test_any_name_that_a_file_system_takes_is_written(name, tmp_path):
    check_place(tmp_path / name, "--out")
    write_text(tmp_path / name, "lone \udce9")
    assert (tmp_path / name).read_text(encoding="utf-8") == "lone \\udce9"


def test_two_files_of_one_stem_are_written_at_once(tmp_path):
    """OpenVINO writes .xml and .bin by the temporary name of the first."""
    with atomic_path(tmp_path / "m.xml") as xml, atomic_path(tmp_path / "m.bin") as other:
        assert xml.with_suffix(".bin") == other
        xml.write_text("1")
        other.write_text("2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    monkeypatch.delenv("MOGANET_CACHE")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    files._another_temporary_folder.cache_clear()

    def set_home(home):
        def find():
            if home is None:
                raise RuntimeError("Could not determine home directory.")
            return Path(home)

        monkeypatch.setattr(Path, "home", find)
        return tmp_path

    return set_home


@pytest.mark.parametrize("home", [None, "/dev/null", "/dev/null/x", "/proc/self/x"])
def test_without_a_home_the_cache_is_this_users_own_and_it_is_said(homeless, home):
    temporary = homeless(home)
    with listening() as heard:
        found = cache_folder()
        assert cache_folder() == found
    assert found.parent == temporary and stat.S_IMODE(found.stat().st_mode) == 0o700
    assert len(heard) == 1 and "MOGANET_CACHE" in heard[0]


def test_a_folder_that_others_may_write_is_not_used(homeless):
    temporary = homeless(None)
    planted = temporary / f"moganet-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert cache_folder() != planted
    planted.rmdir()
    planted.symlink_to(temporary)
    assert cache_folder() != planted


def test_packages_get_a_home_only_where_there_is_none(homeless, monkeypatch, tmp_path):
    for name in ("HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "as it was")
    monkeypatch.delenv("MPLCONFIGDIR")
    homeless(tmp_path)
    files.give_packages_a_home()
    assert os.environ["HOME"] == "as it was" and "MPLCONFIGDIR" not in os.environ
    homeless(None)
    files.give_packages_a_home()
    assert Path(os.environ["HOME"]).is_dir() and os.environ["MPLCONFIGDIR"].startswith(str(tmp_path))


def test_a_path_is_as_it_is_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    assert typed_path("~") == Path("~") and typed_path("~/x") == Path("~/x").expanduser()
    assert typed_path("~no such user/x") == Path("~no such user/x")


def test_lists_of_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / " spaced ").write_text("")
    assert read_names(io.StringIO("a.png\r\n\n b.png \n spaced \n")) == ["a.png", "b.png", " spaced "]
    assert read_names(io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa\xe9\n"), "ascii")) == ["a\udce9"]
    assert read_names(io.TextIOWrapper(io.BytesIO(b"two\nlines\0b\0"))) == ["two\nlines", "b"]


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


class Part(Record):
    name: str
    share: float | None = None


class Longer(Part):
    parts: tuple[Record, ...] = ()


def test_records_are_json_objects_of_what_was_found_out_however_deep():
    given = {"all": [Longer(name="a", parts=(Part(name="b", share=float("nan")), Part(name="c")))]}
    part = {"name": "a", "parts": [{"name": "b", "share": None}, {"name": "c"}]}
    assert json.loads(to_json(given)) == {"all": [part]}
