"""`explain`, as a user meets it: what it gives and writes, for models and exports, and mistakes in one line."""

import importlib.util
import json
import os
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image
from test_exporters import make_model

import moganet
import moganet_cli
from moganet.config import Preprocessing
from moganet.data.resample import resize_and_crop, seen_part
from moganet.engine.export import export
from moganet.errors import ConfigError, DataError
from moganet.explanations import METHODS
from moganet.files import free_stem

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("captum", "skimage")), reason="needs the extra 'explain'"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "mini.safetensors")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "one [1].png"
    coarse = np.random.RandomState(0).randint(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((80, 70)).save(path)
    return path


@pytest.fixture
def command(capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as end:
            moganet_cli.main(["explain", *map(str, arguments)])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


def test_lime_by_the_command(model, photo, tmp_path, command):
    code, out, _ = command(model, photo, "--samples", 50, "--out", tmp_path, "--score", "--json")
    result = json.loads(out)
    (found,) = result["images"]
    assert code == 0 and found["file"] == str(photo) and found["method"] == "lime"
    assert found["target"] == moganet.predict(model, [photo])["predictions"][0]["classes"][0]["name"]
    assert found["samples"] == 50 and found["samples_per_second"] > 0 and len(found["weights"]) > 3
    assert found["r2"] <= 1 and {"intercept", "insertion", "deletion", "randomized_correlation"} <= set(found)
    written = np.load(found["map_file"])
    assert written["map"].shape == (64, 96) and written["segments"].max() + 1 == len(found["weights"])
    assert np.allclose(np.array(found["weights"])[written["segments"]], written["map"], atol=1e-6)
    with Image.open(found["picture"]) as picture:
        assert picture.size == (320, 280)  # 80x70 is too small to be looked at
    listed = json.loads((tmp_path / "explanations.json").read_text())
    assert listed["images"] == result["images"]


def test_methods_side_by_side(model, photo, tmp_path, command):
    options = ["--samples", 20, "--batch-size", 16, "--target", "class 3", "--out", tmp_path]
    code, out, _ = command(model, photo, "--compare", *options)
    assert code == 0 and all(name in out for name in METHODS) and "class 3" in out and "dilation" in out
    assert [path.name for path in tmp_path.glob("*.png")] == ["001-one [1]-compare.png"]
    assert len(list(tmp_path.glob("*.npz"))) == len(METHODS)


def test_orders_are_drawn_stage_by_stage(model, photo, tmp_path):
    found = moganet.explain(model, photo, "orders", out=tmp_path)["images"][0]
    assert Path(found["picture"]).with_name("001-one [1]-orders-parts.png").is_file()
    assert len(found["blocks"]) == 4 and {"stage1.gate", "stage4.share_3"} <= set(np.load(found["map_file"]))


def test_python_takes_pictures_in_memory(model, photo):
    with Image.open(photo) as picture:
        found = moganet.explain(model, [picture, picture], ["gradcam", "saliency"], target=2, stage=1)["images"]
    assert [(one["file"], one["method"]) for one in found][1:3] == [("image 1", "saliency"), ("image 2", "gradcam")]
    assert all(one["target"] == "class 2" and one["map"].shape == (64, 96) for one in found)
    assert np.array_equal(found[0]["map"], found[2]["map"])


def test_an_exported_file_is_explained_by_methods_without_gradients(model, photo, tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed (extra 'export')")
    path = export(model, "openvino", tmp_path / "m.xml")["out"]
    compared = moganet.explain(path, photo, compare=True, score=True, samples=20, window=32)["images"]
    assert [one["method"] for one in compared] == ["lime", "occlusion"]
    assert compared[0]["randomized_correlation"] is None and compared[0]["insertion"] > 0
    plain = moganet.explain(model, photo, samples=20, precision="f32")["images"][0]
    assert np.allclose(plain["map"], compared[0]["map"], atol=1e-4)
    with pytest.raises(ConfigError, match=r"saliency needs the torch module.*use lime or occlusion"):
        moganet.explain(path, photo, "saliency")


@pytest.mark.parametrize("has_units", [True, False])
def test_lime_asks_in_bf16_where_there_are_units_for_it_and_the_answer_stays_that_of_predict(
    model, photo, has_units, monkeypatch
):
    pytest.importorskip("openvino")
    monkeypatch.setattr("moganet.engine.explain.has_fast_bf16", lambda device: has_units)
    how = {"samples": 40, "window": 32, "runtime": "openvino"}
    result = moganet.explain(model, photo, ["lime", "occlusion"], **how)
    plain = moganet.explain(model, photo, ["lime", "occlusion"], **how, precision="f32")
    lime, occlusion = result["images"]
    assert lime["precision"] == ("bf16" if has_units else "f32") and plain["images"][0]["precision"] == "f32"
    assert any("--precision f32" in note for note in result["notes"]) is has_units and not plain["notes"]
    assert lime["probability"] == plain["images"][0]["probability"]
    assert np.array_equal(occlusion["map"], plain["images"][1]["map"])
    assert np.allclose(lime["map"], plain["images"][0]["map"], atol=0.1 * np.abs(lime["map"]).max())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "lyme"], "lyme"),
        (["--target", "unicorn"], "unicorn"),
        (["--target", "10"], "below 10"),
        (["--samples", "many"], "many"),
        (["--samples", "1"], "at least 2"),
        (["--method", "gradcam", "--stage", "5"], "1 to 4"),
        (["--method", "orders", "--superpixels", "grid"], "superpixels"),
    ],
)
def test_a_mistake_is_one_line(model, photo, tmp_path, command, arguments, said):
    code, out, error = command(model, photo, "--out", tmp_path / "out", "--json", *arguments)
    assert code == 2 and not out and said in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_can_not_be_read_is_left_out(model, photo, tmp_path, command):
    broken, empty = tmp_path / "broken.png", tmp_path / "empty"
    broken.write_bytes(photo.read_bytes()[:200])
    empty.mkdir()
    tiny = tmp_path / "tiny.png"
    Image.new("L", (1, 1)).save(tiny)
    options = ["--method", "gradcam", "--out", tmp_path / "out", "--json"]
    code, out, error = command(model, broken, empty, "/no/such.png", tiny, photo, *options)
    result = json.loads(out)
    assert code == 3 and len(result["unreadable"]) == 3 and len(result["images"]) == 2
    assert error.count("can't read") == 3
    code, out, _ = command(model, broken, *options)
    assert code == 2 and not json.loads(out)["images"]
    with pytest.raises(DataError, match="nothing to explain"):
        moganet.explain(model, [])


def test_an_earlier_calls_files_stay(model, photo, tmp_path):
    options = {"out": tmp_path / "out", "compare": False}
    kept = moganet.explain(model, photo, "gradcam", **options)["images"][0]
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = moganet.explain(model, photo, "gradcam", target=1, **options)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert again["images"][0]["picture"] != kept["picture"] and Path(again["file"]).name == "explanations-2.json"
    assert any("--overwrite" in note for note in again["notes"])
    over = moganet.explain(model, photo, "gradcam", overwrite=True, **options)
    assert over["images"][0]["picture"] == kept["picture"] and len(list((tmp_path / "out").iterdir())) == 8


def test_images_of_one_name_and_of_long_names_are_told_apart(model, photo, tmp_path):
    files = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "a" / ("é" * 120 + ".png")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(photo.read_bytes())
    found = moganet.explain(model, files, "gradcam", out=tmp_path / "out")["images"]
    assert len({entry["picture"] for entry in found}) == 3 and all(Path(e["picture"]).exists() for e in found)


def test_an_unstable_ranking_is_said(model, photo, tmp_path, command, monkeypatch):
    module = sys.modules["moganet.explanations.lime"]  # the package's own `lime` is the function
    monkeypatch.setattr(module, "MOST", 20)
    monkeypatch.setattr(module, "FIRST_ROUND", 20)
    monkeypatch.setattr(module, "stability", lambda *_: 0.3)
    code, out, _ = command(model, photo, "--out", tmp_path)
    assert code == 0 and "NOT stable (30 % of fits)" in out
    result = json.loads((tmp_path / "explanations.json").read_text())
    assert result["images"][0]["stable"] == 0.3
    notes = moganet.explain(model, photo)["notes"]
    assert len(notes) == 1 and "not stable after 20 samples" in notes[0] and "--samples" in notes[0]


@pytest.mark.parametrize(
    "own",
    [
        Preprocessing(size=(32, 48), crop_fraction=0.7),
        Preprocessing(size=(32, 32), crop_mode="squash"),
        Preprocessing(size=(24, 24), crop_fraction=1.0, interpolation="nearest"),
    ],
)
@pytest.mark.parametrize("have", [(60, 90), (300, 40), (47, 47)])
def test_the_part_that_is_said_to_be_seen_is_what_the_network_sees(own, have):
    top, left, bottom, right = seen_part(have, own)
    assert 0 <= top < bottom <= have[0] + 0.01 and 0 <= left < right <= have[1] + 0.01
    rows, columns = (np.arange(side, dtype=float) for side in have)
    for axis, ramp, ends in ((0, rows[:, None], (top, bottom)), (1, columns[None], (left, right))):
        grey = np.broadcast_to(ramp * 255 / max(have), have).round().astype(np.uint8)
        seen = resize_and_crop(np.stack([grey] * 3), own)[0].mean(1 - axis) * max(have) / 255
        step = (ends[1] - ends[0]) / len(seen)
        assert np.allclose(seen[1:-1], ends[0] - 0.5 + step * (np.arange(len(seen)) + 0.5)[1:-1], atol=1.6 + step)


def test_maps_lie_over_the_photograph_at_its_own_size(model, tmp_path):
    turned, large = tmp_path / "turned.jpg", tmp_path / "large.png"
    picture = Image.new("RGB", (400, 150), (200, 210, 220))
    exif = picture.getexif()
    exif[274] = 6  # lies on its side
    picture.save(turned, exif=exif)
    Image.new("RGB", (2000, 700), (90, 200, 90)).save(large)
    found = moganet.explain(model, [turned, large], "gradcam", out=tmp_path / "out")["images"]
    drawn = [np.asarray(Image.open(one["picture"])).astype(int) for one in found]
    assert [one.shape for one in drawn] == [(400, 150, 3), (420, 1200, 3)]
    top, left, bottom, _ = seen_part((400, 150), moganet.load(model).config.preprocessing)
    assert top > 100 and left < 20 and bottom < 300
    outside, frame = drawn[0][: round(top) - 1], drawn[0][round(top) - 1, 75]
    assert (outside == outside[0, 0]).all() and 70 < outside[0, 0, 0] < 100 and (frame == 255).all()


def test_a_page_shows_all_and_asks_for_nothing(model, photo, tmp_path):
    odd = [b"<b>&\"'%41?#.png", b"\xff\xfe.png", b"javascript:alert(1).png", b"a\nb.png"]
    files = [tmp_path / os.fsdecode(name) for name in odd]
    for file in files:
        file.write_bytes(photo.read_bytes())
    broken = tmp_path / "<i>broken.png"
    broken.write_bytes(b"no image")
    result = moganet.explain(
        model, [*files, broken], ["gradcam", "occlusion"], window=32, out=tmp_path / "out", score=True
    )
    page = Path(result["page"])
    text = page.read_text(encoding="utf-8")
    parser = Elements(text)
    assert len(parser.of("article")) == 4 and not parser.of("b") and not parser.of("i")
    assert all(source.startswith("data:") and alt for source, alt in ((i["src"], i["alt"]) for i in parser.of("img")))
    named = {(page.parent / os.fsdecode(unquote_to_bytes(link["href"]))).resolve() for link in parser.of("a")}
    assert named == {Path(one["picture"]).resolve() for one in result["images"]} and all(map(Path.is_file, named))
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert "broken.png" in text and "insertion" in text and text.count("<svg") == 8


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_calls_at_once_have_names_of_their_own(tmp_path):
    with free_stem(tmp_path, "a", [".npz", ".png"], overwrite=False) as first:
        with free_stem(tmp_path, "a", [".npz", ".png"], overwrite=False) as second:
            assert (first, second) == ("a", "a-2")
            (tmp_path / "a-2.npz").write_text("kept")
        (tmp_path / "a-3.png").symlink_to(tmp_path / "not there")
        with pytest.raises(OSError), free_stem(tmp_path, "a", [".npz", ".png"], overwrite=False) as third:
            assert third == "a-4"
            raise OSError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.npz", "a-3.png"]
