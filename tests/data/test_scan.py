"""One look through a folder: what is an image, what is passed over, and that nothing else is possible."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from moganet.data.formats import readable_suffixes
from moganet.data.scan import KINDS, RUN_FILES, describe, list_images, scan
from moganet.training.run_folder import RUN_OUTPUTS


def make(path, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), "red").save(path, kind)
    return path


def kinds(folder):
    return {str(one.path.relative_to(folder)): one.kind for part in scan(folder).walk() for one in part.passed}


@pytest.mark.parametrize(
    "name",
    ["0.JPG", "1.Jpeg", "2.jfif", "a.jpg_large", "b.jpg~", "IMG_3", "c.jpg?w=640", "d.jpg ", "e.mpo", "2021.03.04"],
)
def test_an_image_is_one_by_its_ending_or_its_content(tmp_path, name):
    make(tmp_path / name, "JPEG")
    assert list_images(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_content_of_each_usual_format_is_known(tmp_path, kind):
    make(tmp_path / "photo", kind)
    assert list_images(tmp_path) == [tmp_path / "photo"] and kinds(tmp_path) == {"photo": "content"}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        *((name, b"x" * 64, "other") for name in ("a.fits", "b.h5", "c.ps", "d.eps", "e.pdf", "README", "g.svg")),
        *((name, b"x" * 64, "holder") for name in ("f.mpg", "photos.zip", "b.tar.gz")),
        *((name, b"%!PS\nshowpage", "other") for name in ("a.ps", "b")),
        *((name, b"", "other") for name in ("empty", "empty.txt")),
        *((name, b"II*\0" + bytes(60), "raw") for name in ("a.nef", "b.svs", "c")),
        *((name, b"....ftypcrx " + bytes(60), "raw") for name in ("a.cr3", "B.RAF")),
        *((name, b"x", "hidden") for name in (".DS_Store", "._a.jpg", ".a.png")),
        *((name, b"x", "system") for name in ("Thumbs.db", "desktop.ini", "DESKTOP.INI")),
        ("a.png", b"", "lost"),
    ],
)
def test_what_is_no_image_is_passed_over_by_its_kind(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    assert kinds(tmp_path) == {name: kind}
    assert list_images(tmp_path) == ([tmp_path / name] if kind == "lost" else [])


@pytest.mark.parametrize(
    "name", ["@eaDir", "$RECYCLE.BIN", "lost+found", "__pycache__", "__MACOSX", "#recycle", ".git"]
)
def test_folders_of_systems_are_passed_over_whole(tmp_path, name):
    make(tmp_path / name / "cover.jpg" / "SYNOPHOTO_THUMB.jpg", "JPEG")
    assert list_images(tmp_path) == [] and set(kinds(tmp_path)) == {name}


@pytest.mark.parametrize("name", ["recycled", "Recycled", "recycler", "tmp", "snapshot", "icon", "found"])
def test_a_class_may_be_called_like_something_of_a_system(tmp_path, name):
    make(tmp_path / name / "a.jpg", "JPEG")
    assert len(list_images(tmp_path)) == 1 and not kinds(tmp_path)


@pytest.mark.parametrize("brands", [b"avif", b"mif1\0\0\0\0avifmif1", b"avis\0\0\0\0msf1"])
def test_an_avif_without_its_ending_is_no_heic(tmp_path, brands):
    (tmp_path / "a").write_bytes((8 + len(brands)).to_bytes(4) + b"ftyp" + brands + bytes(60))
    assert kinds(tmp_path) == {"a": "content"}


def test_what_was_made_of_an_image_beside_it_is_none(tmp_path):
    for name in ("a.jpg", "a.jpg~", "a.jpg_original", "a.jpg.json", "ab"):
        make(tmp_path / name, "JPEG")
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "ab"]


def test_heic_is_read_where_it_can_be_and_named_where_not(tmp_path, monkeypatch):
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    (tmp_path / "b").write_bytes(b"\0\0\0\x18ftypmif1" + bytes(60))
    for there in (True, False):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, there=there: there or None)
        readable_suffixes.cache_clear()
        assert len(list_images(tmp_path)) == (2 if there else 0)
        found = [one for part in scan(tmp_path).walk() for one in part.passed if one.kind == "heif"]
        assert len(found) == (0 if there else 2)
    assert "pip install pillow-heif" in describe(tmp_path, found)[0].detail
    readable_suffixes.cache_clear()


def test_pipes_sockets_and_links_never_hang_and_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "self.txt").symlink_to("self.txt")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    assert kinds(tmp_path) == {
        **dict.fromkeys(("pipe.jpg", "s.png", "zero.jpg"), "special"),
        **{"self.txt": "broken", "gone.txt": "broken", "gone.jpg": "lost"},
    }


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path / "elsewhere" / "a.png")
    make(tmp_path / "set" / "daisy" / "b.png")
    (tmp_path / "set" / "daisy" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "daisy" / "up").symlink_to("..")
    (tmp_path / "set" / "top").symlink_to("/")
    (tmp_path / "set" / "here").symlink_to(".")
    assert [path.name for path in list_images(tmp_path / "set")] == ["b.png", "a.png"]
    assert kinds(tmp_path / "set") == dict.fromkeys(("daisy/up", "top", "here"), "loop")


def test_a_maze_of_links_has_an_end(tmp_path):
    for level in range(12):
        (tmp_path / str(level)).mkdir()
        for way in range(3):
            (tmp_path / str(level) / f"to{way}").symlink_to(tmp_path / str((level + 1) % 12))
    make(tmp_path / "11" / "a.png")
    assert len(list_images(tmp_path / "0")) == 0
    assert any(kind == "loop" for kind in kinds(tmp_path / "0").values())


def test_a_folder_called_like_an_image_is_a_folder_and_a_deep_one_no_trouble(tmp_path):
    make(tmp_path / "album.jpg" / "a.png")
    assert list_images(tmp_path) == [tmp_path / "album.jpg" / "a.png"]
    deep = tmp_path
    for _ in range(600):
        deep = deep / "d"
    os.makedirs(deep)  # noqa: PTH103 (pathlib goes down by recursion)
    assert len(list_images(tmp_path)) == 1


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    make(tmp_path / "open" / "a.png")
    make(tmp_path / "closed" / "b.png")
    real = os.scandir

    def guarded(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = scan(tmp_path)
    assert [path.name for path in found.all_images] == ["a.png"]
    (finding,) = describe(tmp_path, (one for part in found.walk() for one in part.passed))
    assert finding.kind == "unreadable" and "closed" in finding.detail


NAMES = st.sampled_from(
    [
        "a",
        "b",
        "a.jpg",
        "a.jpg~",
        ".x",
        "@eaDir",
        "runs",
        "c.heic",
        "n.txt",
        "d.PNG",
        "t.fits",
        "e.nef",
        "\udcff.png",
        "x\ny",
        "[b]",
    ]
)
ENTRIES = st.recursive(
    st.sampled_from([b"", b"text", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", "link", "pipe"]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def build(place, tree):
    for name, what in tree.items():
        path = place / name
        if isinstance(what, dict):
            path.mkdir()
            build(path, what)
        elif what == "link":
            path.symlink_to("..")
        elif what == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(what)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tree=st.dictionaries(NAMES, ENTRIES, max_size=5))
def test_everything_there_is_an_image_or_passed_over_and_nothing_twice(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    build(root, tree)
    found = scan(root)
    passed = [one.path for part in found.walk() for one in part.passed if one.kind not in ("lost", "content")]
    folders = [part.path for part in found.walk()]
    images = found.all_images
    assert len({*passed, *folders, *images}) == len(passed) + len(folders) + len(images)
    for place, inner, files in os.walk(root):
        for name in (*inner, *files):
            path = Path(place, name)
            assert path in (*images, *passed, *folders) or any(one in path.parents for one in passed)
    stood_out = [one for part in found.walk() for one in part.passed]
    assert all(len(finding.detail.splitlines()) >= 1 for finding in describe(root, stood_out))
    assert {one.kind for one in stood_out} <= set(KINDS)


def test_what_a_run_writes_is_what_is_known_as_one(trained_run):
    assert set(RUN_OUTPUTS) >= RUN_FILES and {path.name for path in trained_run.iterdir()} & RUN_FILES
