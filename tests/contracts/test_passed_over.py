"""What is passed over is counted: no file vanishes, and "nothing wrong" is said only where everything was looked at."""

import os
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import moganet
from moganet.data import open_data
from moganet_cli.app import app


def photo(path, seed, size=48, **how):
    small = np.random.RandomState(seed).randint(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(path, how.pop("format", None), **how)


@pytest.fixture
def photos(tmp_path):
    for i in range(8):
        photo(tmp_path / "photos" / ("daisy", "roses")[i % 2] / f"{i}.png", i)
    return tmp_path / "photos"


def content(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# What is put into the folder, and the kind of finding that it becomes.
SURPRISES = {
    "loose image": (lambda root: photo(root / "x.png", 90), "passed-over"),
    "loose jpeg without an ending": (lambda root: photo(root / "IMG_1", 90, format="JPEG"), "passed-over"),
    "camera raw": (lambda root: content(root / "daisy" / "a.NEF").write_bytes(b"II*\0" + bytes(40)), "passed-over"),
    "medical": (lambda root: content(root / "daisy" / "a.dcm").write_bytes(bytes(128) + b"DICM"), "passed-over"),
    "film": (lambda root: content(root / "daisy" / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom"), "passed-over"),
    "pipe": (lambda root: os.mkfifo(root / "daisy" / "a.jpg"), "passed-over"),
    "device": (lambda root: (root / "daisy" / "a.jpg").symlink_to("/dev/zero"), "passed-over"),
    "dangling link": (lambda root: (root / "daisy" / "a.jpg").symlink_to("nowhere"), "unreadable"),
    "dangling folder": (lambda root: (root / "daisy" / "more").symlink_to("nowhere"), "passed-over"),
    "circle of links": (lambda root: (root / "daisy" / "up").symlink_to(".."), "passed-over"),
    "no bytes": (lambda root: (root / "daisy" / "a.jpg").write_bytes(b""), "unreadable"),
    "text named .jpg": (lambda root: (root / "daisy" / "a.jpg").write_text("text"), "unreadable"),
    "system folder": (lambda root: photo(root / "daisy" / "@eaDir" / "a.png", 90), "note"),
    "hidden image": (lambda root: photo(root / "daisy" / ".a.png", 90), "note"),
    "deeper folder": (lambda root: photo(root / "daisy" / "more" / "a.png", 90), "note"),
    "empty class": (lambda root: (root / "tulips").mkdir(), "empty"),
    "look-alike class": (lambda root: photo(root / "Daisy " / "a.png", 90), "classes"),
    "wrong ending": (lambda root: photo(root / "daisy" / "a.jpg", 90, format="PNG"), "wrong-extension"),
    "copy": (lambda root: photo(root / "daisy" / "a.png", 0), "duplicate"),
    "copy encoded anew": (lambda root: photo(root / "daisy" / "a.jpg", 0, quality=95), "duplicate"),
    "copy in another class": (lambda root: photo(root / "roses" / "a.png", 0), "contradictory"),
    "resized copy in another class": (lambda root: photo(root / "roses" / "a.png", 0, 96), "contradictory"),
    "flat validation": (
        lambda root: photo(root / "val" / "a" / "x.png", 90) or photo(root / "train" / "b" / "x.png", 91),
        None,
    ),
}


@pytest.mark.parametrize("name", SURPRISES)
def test_each_surprise_is_said_when_opened_and_found_by_the_doctor(name, photos, caplog):
    clean = CliRunner().invoke(app, ["doctor", "--data", str(photos)])
    assert clean.exit_code == 0 and "nothing wrong was found; 8 of 8 images were read whole" in clean.stdout
    put, kind = SURPRISES[name]
    put(photos)
    result = moganet.doctor(str(photos))
    found = {finding["kind"] for finding in result["findings"]}
    assert kind in found if kind else not result["ok"]
    if kind in ("passed-over", "empty", "note", "classes"):
        caplog.clear()
        open_data(str(photos))
        assert caplog.messages and list(result["notes"]) == caplog.messages
    again = CliRunner().invoke(app, ["doctor", "--data", str(photos)])
    assert "nothing wrong" not in again.stdout
    grave = bool(found & {"unreadable", "contradictory", "structure"})
    assert again.exit_code == (2 if grave else 0) == (0 if result["ok"] else 2)
    strict = CliRunner().invoke(app, ["doctor", "--strict", "--data", str(photos)])
    assert strict.exit_code == (0 if found == {"note"} else 2)


def test_images_in_splits_and_images_passed_over_are_all_images_on_disk(tmp_path):
    root = tmp_path / "set"
    places = (
        "train/a",
        "train/b",
        "val/a",
        "test",
        "backup/c",
        "backup/c/deep",
        ".",
        "train",
        "train/a/more",
        "dev/extra",
    )
    for number, place in enumerate(places):
        for i in range(number + 1):
            photo(root / place / f"{i}.png", 20 * number + i)
    on_disk = sum(len(files) for _, _, files in os.walk(root))
    with pytest.raises(moganet.errors.DataError, match=r"val/, dev/|dev/, val/"):
        open_data(str(root))
    dataset = open_data(f"folder:{root}?val=val")
    counted = sum(int(n) for note in dataset.notes for n in re.findall(r"passed over: (\d+)", note))
    assert sum(len(split) for split in dataset.splits.values()) + counted == on_disk
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 1 + 2 + 9, "val": 3}


def test_the_doctor_reports_all_faults_and_goes_on(tmp_path):
    root = tmp_path / "set"
    for seed, place in enumerate(("train/a", "train/b", "val/a", "val/only", "valid/a", "test/other")):
        photo(root / place / "x.png", seed)
    photo(root / "train/a/copy.png", 1)
    (root / "train/b/broken.png").write_text("no image")
    result = moganet.doctor(str(root))
    grave = {kind: number for kind, number in result["counts"].items() if kind not in ("note", "passed-over")}
    assert grave == {"structure": 3, "contradictory": 1, "unreadable": 1}
    assert not result["ok"] and result["data"]["read_whole"] == result["data"]["images"] - 1
    with pytest.raises(moganet.errors.DataError, match="the first of 3 faults; moganet doctor lists them"):
        open_data(str(root))


def test_whatever_a_decoder_raises_is_a_finding(photos, monkeypatch):
    def raises(*_, **__):
        raise ZeroDivisionError("in a plugin")

    monkeypatch.setattr("moganet.data.examine.read", raises)
    result = moganet.doctor(str(photos))
    assert result["counts"] == {"unreadable": 8} and result["data"]["read_whole"] == 0


def test_predict_says_what_it_passed_over(photos, tmp_path, trained_run, caplog):
    (photos / "daisy" / "notes.txt").write_text("x")
    (photos / "daisy" / ".hidden.png").write_text("x")
    result = moganet.predict(trained_run / "best.safetensors", [photos])
    assert len(result["predictions"]) == 8
    assert [note for note in result["notes"] if "1 .txt" in note] and [n for n in result["notes"] if ".hidden.png" in n]
