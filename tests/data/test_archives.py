"""Archives and lists stand where images stand: hostile, damaged and odd ones too."""

import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from moganet.data import archives
from moganet.data.listing import list_files
from moganet.data.read import read
from moganet.data.within import KEPT, InTurn
from moganet.errors import DataError
from moganet.notices import listening


def png(seed=0):
    file = io.BytesIO()
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (16, 20, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


MEMBERS = {
    "cats/1.png": png(1),
    "../../evil.png": png(2),
    "/etc/passwd.png": png(3),
    "two\nlines \x1b[2J.png": png(4),
    "bad.png": b"no image",
    "empty.jpg": b"",
    "no ending": png(5),
    "__MACOSX/x.png": b"x",
    "cats/.hidden.png": b"x",
    "labels.csv": b"x",
    "inner.zip": b"PK",
    "clip.mp4": b"x",
}


def write(path, members):
    if path.suffix in (".zip", ".cbz", ".bin"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '').replace('tgz', 'gz')}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.cbz", "zip.bin", "a.tar", "a.tgz", "a.tar.xz"])
def test_an_archives_images_are_read_by_their_names_and_nothing_is_unpacked(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = write(tmp_path / name, MEMBERS)
    with listening() as said:
        found, missing = list_files([archive])
    images = [
        key for key in MEMBERS if key.endswith((".png", ".jpg", "ending")) and not key.startswith(("__", "cats/."))
    ]
    assert [str(one) for one in found] == [f"{archive}/{key}" for key in images] and missing == []
    for one, key in zip(found, images, strict=True):
        if key in ("bad.png", "empty.jpg"):
            with pytest.raises(DataError, match=key):
                read(one)
        else:
            assert np.array_equal(read(one).pixels, read(MEMBERS[key]).pixels)
    text = "\n".join(said)
    assert "hidden" in text and "labels.csv" in text and "inner.zip" in text and "clip.mp4" in text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def damaged(kind, tmp_path):
    path = write(tmp_path / ("a.tar.gz" if "tar" in kind else "a.zip"), {f"{i}.png": png(i) for i in range(9)})
    content = bytearray(path.read_bytes())
    if kind == "encrypted zip":
        for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            start = 0
            while (start := content.find(sign, start)) >= 0:
                content[start + place] |= 1
                start += 4
    elif kind.startswith("cut"):
        del content[len(content) // 2 :]
    elif kind == "zip of another content":
        content[content.find(b"IDAT") + 40] ^= 255
    else:
        content[:] = b"hello" * 200
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "good", "said"),
    [
        ("encrypted zip", 0, "encrypted"),
        ("cut zip", 0, "damaged"),
        ("cut tar", 3, "damaged"),
        ("no zip", 0, "no zip"),
        ("no tar", 0, "no tar"),
        ("zip of another content", 8, "CRC"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_goes_on(kind, good, said, tmp_path):
    found, missing = list_files([damaged(kind, tmp_path)])
    reasons, whole = [one.reason for one in missing], 0
    for one in found:
        try:
            read(one)
            whole += 1
        except DataError as error:
            reasons.append(str(error))
    assert whole >= good and reasons and said in "\n".join(reasons)
    assert all("\n" not in reason for reason in reasons)


def test_what_unpacks_to_more_than_an_image_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 1 << 16)
    for name in ("a.zip", "a.tgz"):
        found, _ = list_files([write(tmp_path / name, {"bomb.png": bytes(1 << 17), "good.png": png()})])
        with pytest.raises(DataError, match="unpacks to more than 65,536 bytes"):
            read(found[0])
        assert read(found[1]).size == (20, 16)
    monkeypatch.setattr(archives, "MOST_UNPACKED", 1 << 16)
    monkeypatch.setattr(archives, "MOST_TIMES", 2)
    archive = write(tmp_path / "b.tgz", {"good.png": png(), "bomb.png": bytes(1 << 17), "behind.png": png()})
    found, missing = list_files([archive])
    assert [one.name for one in found] == ["good.png"] and "unpacks to more than" in missing[0].reason


def test_links_and_pipes_in_a_tar_lead_nowhere(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("link.png", tarfile.SYMTYPE), ("pipe.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    for one in list_files([tmp_path / "a.tar"])[0]:
        with pytest.raises(DataError, match="a link or a device"):
            read(one)


def test_members_of_one_name_are_two_images_and_thousands_are_read_by_threads_in_one_go(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.png", png(1))
        archive.writestr("a.png", png(2))
    first, second = list_files([tmp_path / "a.zip"])[0]
    assert not np.array_equal(read(first).pixels, read(second).pixels)
    pictures = [png(seed) for seed in range(3)]
    many = {f"{i % 7}/{i}.png": pictures[i % 3] for i in range(2000)}
    found, _ = list_files([write(tmp_path / "b.tgz", many)])
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda one: one.load(), found))
    assert contents == list(many.values())


def test_what_comes_in_turn_is_read_once_by_threads_that_ask_nearly_in_order():
    starts = []

    def start():
        starts.append(1)
        return ((number, number) for number in range(1000) if number != 500)

    turn = InTurn(start, "missing")
    order = [number for begin in range(0, 1000, 8) for number in reversed(range(begin, begin + 8)) if number != 500]
    assert [turn.get(number) for number in order] == order and len(starts) == 1
    with pytest.raises(DataError, match="missing"):
        turn.get(1000)
    assert turn.get(0) == 0 and len(starts) == 2 and len(turn.kept) <= KEPT
    with pytest.raises(DataError, match="missing"):
        turn.get(500)


def test_a_list_names_images_from_its_folder_or_from_here_and_archives_too(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "own.png").write_bytes(png(1))
    (tmp_path / "here.png").write_bytes(png(2))
    write(tmp_path / "lists" / "a.zip", {"x.png": png(3)})
    (tmp_path / "lists" / "other.txt").write_text("own.png\n")
    lines = ["\ufeffown.png", "here.png", "a.zip", "gone.png", "other.txt", "*.png"]
    (tmp_path / "lists" / "l.txt").write_text("\r\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with listening() as said:
        found, missing = list_files(["lists/l.txt"])
    assert [str(one) for one in found] == ["lists/own.png", "here.png", "lists/a.zip/x.png"]
    assert [one.file for one in missing] == ["gone.png", "lists/other.txt"] and "list within a list" in missing[
        1
    ].reason
    assert any("start at its folder" in one for one in said)
    (tmp_path / "t.csv").write_text("image;label\nlists/own.png;cat\n;dog\n")
    with listening() as said:
        assert [str(one) for one in list_files(["t.csv"])[0]] == ["lists/own.png"]
    assert any("'image'" in one and "--data table:t.csv" in one for one in said)
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.txt").write_text("\n")
    found, missing = list_files(["no.csv", "empty.txt"])
    assert not found and "can't tell which column" in missing[0].reason and "empty" in missing[1].reason
