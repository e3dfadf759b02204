"""`doctor` finds what is wrong with a data set, and says what the machine offers."""

import json

import numpy as np
from PIL import Image
from test_sources import make_folder

import moganet
from moganet.files import to_json


def photo(seed, size=64):
    small = np.random.RandomState(seed).randint(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def make_photos(root):
    for i, (split, name) in enumerate((s, n) for s in ("train", "val") for n in ("blue", "red")):
        (root / split / name).mkdir(parents=True)
        for j in range(3):
            photo(10 * i + j).save(root / split / name / f"{j}.png")
    return root


def test_a_clean_set_has_no_findings(tmp_path):
    result = moganet.doctor(str(make_photos(tmp_path)))
    assert result["findings"] == [] and result["counts"] == {} and result["ok"]
    assert result["data"]["images"] == result["data"]["read_whole"] == 12
    assert result["data"]["splits"] == {s: {"blue": 3, "red": 3} for s in ("train", "val")}


def test_each_thing_that_is_wrong_is_named(tmp_path):
    root = make_photos(tmp_path)
    (root / "train" / "blue" / "broken.jpg").write_text("no image")
    photo(91).save(root / "train" / "blue" / "really.jpg", "PNG")
    photo(92, 8).save(root / "train" / "blue" / "small.png")
    photo(0, 50).save(
        root / "val" / "red" / "copy.jpg", quality=80
    )  # the training set's first, smaller and encoded anew
    (root / "train" / "空").mkdir()
    for i in range(40):
        photo(200 + i).save(root / "train" / "red" / f"more{i}.png")
    result = moganet.doctor(str(root))
    kinds = {finding["kind"]: finding for finding in result["findings"]}
    assert set(kinds) == {"unreadable", "wrong-extension", "tiny", "contradictory", "empty"}
    assert kinds["unreadable"]["file"].endswith("broken.jpg") and kinds["wrong-extension"]["file"].endswith(
        "really.jpg"
    )
    assert kinds["tiny"]["file"].endswith("small.png") and kinds["contradictory"]["file"].endswith("copy.jpg")
    assert "空" in kinds["empty"]["detail"] and result["counts"]["contradictory"] == 1 and not result["ok"]
    assert json.loads(to_json(result)) == result


def test_imbalance_is_found(tmp_path):
    root = make_photos(tmp_path)
    for i in range(60):
        photo(300 + i).save(root / "train" / "red" / f"more{i}.png")
    findings = [f for f in moganet.doctor(str(root))["findings"] if f["kind"] == "imbalance"]
    assert len(findings) == 1 and "red has 63 images, blue 3" in findings[0]["detail"]


def test_sets_in_memory_are_examined_too():
    result = moganet.doctor("digits")
    assert sum(result["data"]["splits"]["test"].values()) == 360
    assert {f["kind"] for f in result["findings"]} <= {"duplicate", "imbalance"}


def test_the_environment_is_described_without_data():
    found = moganet.doctor()["environment"]
    assert found["packages"]["torch"] and found["memory_gb"] > 0 and isinstance(found["fast_bf16"], bool)


def test_a_folder_of_odd_files_never_stops_it(tmp_path):
    root = make_folder(tmp_path / "x", ("train", "val"))
    (root / "train" / "red" / "dangling.png").symlink_to(root / "nowhere.png")
    Image.new("CMYK", (40, 40)).save(root / "train" / "red" / "cmyk.jpg")
    Image.new("RGBA", (40, 40)).save(root / "train" / "red" / "alpha.png")
    Image.new("I;16", (40, 40)).save(root / "train" / "red" / "deep.png")
    Image.new("RGB", (1, 1)).save(root / "train" / "red" / "pixel.png")
    frames = [Image.new("P", (40, 40), i) for i in range(3)]
    frames[0].save(root / "train" / "red" / "film.gif", save_all=True, append_images=frames[1:])
    result = moganet.doctor(str(root))
    assert result["counts"]["unreadable"] == 1 and result["counts"]["tiny"] >= 1
