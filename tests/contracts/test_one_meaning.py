"""Rule 5, one meaning a word: a probability is the same from every form of a model, and a calibrated one is too."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import FORMS, TEMPERATURE, exported, model, need, pictures, write_model

import moganet
from moganet.engine.export import export, export_all
from moganet.errors import ConfigError, OutputError
from moganet.inference.export import EXPORTERS
from moganet.inference.exported import read_metadata


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in three of the model's classes."""
    root = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures()):
        place = root / f"class {number % 3}"
        place.mkdir(exist_ok=True)
        Image.fromarray(picture).save(place / f"{number}.png")
    return root


def probabilities(predictor, calibrated):
    return np.array([found.probabilities for found in predictor(pictures(), 6, calibrated=calibrated)])


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(("to", "kind"), [("eager", ""), ("onnx", ""), ("openvino", ""), *FORMS])
def test_a_probability_is_the_same_from_every_form(to, kind, calibrated):
    need(to)
    plain = moganet.load(model(), "eager")
    other = moganet.load(exported(to, kind)) if kind else moganet.load(model(), to)
    difference = np.abs(probabilities(other, calibrated) - probabilities(plain, calibrated)).max()
    assert difference < 1e-4
    assert np.abs(probabilities(plain, True) - probabilities(plain, False)).max() > 0.1  # so that it would be seen


@pytest.mark.parametrize(("to", "kind"), FORMS)
def test_the_file_itself_gives_what_its_metadata_say(to, kind):
    path, plain = exported(to, kind), moganet.load(model(), "eager")
    metadata = read_metadata(path)
    assert metadata.raw == ("raw" in kind) and metadata.calibrated is ("calibrated" in kind)
    assert metadata.is_scaled is ("calibrated" in kind) and metadata.description.task.temperature == TEMPERATURE
    if not metadata.raw:
        return
    given = EXPORTERS[to].load(path, "f32", metadata.outputs)(pictures()[0][None])["probabilities"][0]
    expected = plain.probabilities(plain.logits(plain.preprocess(pictures()[0])), metadata.is_scaled)[0].numpy()
    assert np.abs(given - expected).max() < 0.02
    verified = moganet.verify(path)
    assert verified["ok"] and verified["sha256"] == metadata.sha256 and verified["fixtures"] == 0
    described = moganet.info(path)["file"]
    assert described["calibrated"] is metadata.is_scaled and ("calibrated" in described["reason"]) is metadata.is_scaled


def test_what_has_no_temperature_is_not_called_calibrated(tmp_path):
    need("openvino")
    path = write_model(tmp_path / "m.safetensors", temperature=None)
    with pytest.raises(ConfigError, match="moganet report"):
        export(path, "openvino", raw=True, calibrated=True)
    with pytest.raises(ConfigError, match="--raw"):
        export(path, "openvino", calibrated=True)
    made = export(path, "openvino", raw=True)
    with pytest.raises(ConfigError, match="exported from"):  # and not: run `moganet report` on this file
        moganet.load(made["out"])(pictures()[0], calibrated=True)


def test_a_raw_file_from_before_it_was_said_is_taken_as_it_was_made(tmp_path, monkeypatch):
    from moganet.inference.export.graph import Graph

    def old(self, sha256):
        metadata = {"format": self.format, "precision": "f32", "raw": True, "size": list(self.size)}
        return json.dumps({**metadata, "description": self.description.model_dump(mode="json", exclude_none=True)})

    need("openvino")
    monkeypatch.setattr(Graph, "metadata", old)
    path = export(model(), "openvino", tmp_path / "old.xml", raw=True, calibrated=True)["out"]
    said = moganet.predict(path, [tmp_path / "x.png"])["notes"]
    assert any("taken for calibrated" in line for line in said) and any("no hash" in line for line in said)
    plain, before = moganet.load(model(), "eager"), moganet.load(path)
    for calibrated in (False, True):
        assert np.abs(probabilities(before, calibrated) - probabilities(plain, calibrated)).max() < 1e-4


def test_the_same_figures_whichever_form_is_measured(folder, monkeypatch):
    expected = moganet.evaluate(model(), data=str(folder), split="all", runtime="eager")
    for to, kind in (("onnx", "plain"), ("program", "raw"), ("openvino", "raw calibrated")):
        found = moganet.evaluate(exported(to, kind), data=str(folder), split="all")
        assert found["top1"] == expected["top1"]
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-3)
        assert found["ece"] == pytest.approx(expected["ece"], abs=1e-3)


def test_a_raw_export_is_measured_on_whole_images(folder, tmp_path, monkeypatch):
    need("openvino")
    seen = []
    from moganet.inference.export import openvino

    original = openvino.load

    def load(path, precision, outputs):
        run = original(path, precision, outputs)
        return lambda x: (seen.append(tuple(x.shape)), run(x))[1]

    monkeypatch.setattr(openvino, "load", load)
    (folder / "class 0" / "broken.png").write_text("no image")
    result = export(model(), "openvino", tmp_path / "m.xml", raw=True, data=str(folder))
    (folder / "class 0" / "broken.png").unlink()
    assert seen[-len(pictures()) :] == [(1, 36, 40, 3)] * len(pictures())  # as they lie in their files
    assert result["num_images"] == len(pictures()) and result["top1"] == result["top1_before"]
    assert any("broken.png" in line for line in result["notes"])


def test_rejection_stands_in_every_form_of_an_answer(folder, tmp_path):
    result = moganet.predict(model(), [folder], csv_file=tmp_path / "p.csv", grid=tmp_path / "g.png", top_k=1)
    said = [item["rejected"] for item in result["predictions"]]
    with open(tmp_path / "p.csv", newline="") as file:
        assert [row["rejected"] for row in csv.DictReader(file)] == ["yes" if reject else "no" for reject in said]
    predictor = moganet.load(model(), "eager")
    assert [predictor(item["file"])[0].rejected for item in result["predictions"]] == said


@pytest.mark.parametrize(("to", "kind"), [("onnx", ""), ("openvino", ""), *FORMS])
def test_the_same_images_are_rejected_by_every_form(to, kind):
    need(to)
    noise = [np.random.RandomState(i).randint(0, 256, (40, 36, 3), dtype=np.uint8) for i in range(4)]
    asked = [*pictures(), *noise]
    other = moganet.load(exported(to, kind)) if kind else moganet.load(model(), to)
    said = [found.rejected for found in other(asked)]
    assert said == [found.rejected for found in moganet.load(model(), "eager")(asked)]
    assert all(said[-4:]) and not all(said[:-4])
    features = other.features(asked)
    assert features.shape == (len(asked), other.config.architecture.embed_dims[-1]) and features.dtype == np.float32
    assert np.abs(features - moganet.load(model(), "eager").features(asked)).max() < 1e-3 * np.abs(features).max()


def test_a_file_from_before_the_guard_answers_as_it_did_and_says_by_what(folder, monkeypatch):
    from moganet.inference import exported as exporteds

    known = exporteds.read_metadata
    monkeypatch.setattr(exporteds, "read_metadata", lambda path: known(path).changed(more=()))
    plain, before = moganet.load(model(), "eager"), exported("openvino", "plain")
    by_energy = [bool(plain.rejected(plain.logits(plain.preprocess(one)))) for one in pictures()]
    assert [found.rejected for found in moganet.load(before)(pictures())] == by_energy
    assert any("energy of their logits alone" in line for line in moganet.predict(before, [folder])["notes"])
    with pytest.raises(ConfigError, match="gives no features: it was exported before"):
        moganet.load(before).features(pictures())
    raw = exported("openvino", "raw")
    assert moganet.load(raw)(pictures()[0])[0].rejected is None  # and the file says so
    assert any("unlike the training images" in line for line in moganet.predict(raw, [folder])["notes"])


def test_a_drawn_grid_marks_what_is_rejected(monkeypatch, tmp_path):
    from moganet.report import grids

    titles = []
    monkeypatch.setattr(grids, "draw_images", lambda images, given, *rest: titles.extend(given))
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    grids.draw_grid([grids.GridItem(image, "a", 0.5, rejected=reject) for reject in (True, False)], tmp_path / "g.png")
    assert "unlike" in titles[0] and "unlike" not in titles[1]


def test_no_file_of_another_form_or_another_model_is_lost(tmp_path, monkeypatch):
    need("openvino")
    unmeasured = {"deviation": 0.0, "tolerance": 1.0}  # what the files compute is tried above
    monkeypatch.setattr("moganet.engine.export._verify", lambda *_: unmeasured)
    (tmp_path / "other").mkdir()
    path = write_model(tmp_path / "m.safetensors")
    raw, plain = (export(path, "openvino", **options)["out"] for options in ({"raw": True}, {}))
    assert raw != plain and read_metadata(tmp_path / "m-raw.xml").raw
    export(path, "openvino")  # this model in this form again
    export(path, "openvino", plain, raw=True)  # whoever names a file knows what it stands for
    with pytest.raises(OutputError, match=r"raw is True.*--overwrite"):
        export(path, "openvino")
    export(path, "openvino", overwrite=True)
    write_model(path, seed="other")
    with pytest.raises(OutputError, match="other weights"):
        export(path, "openvino")
    other = write_model(tmp_path / "other" / "n.safetensors")
    (tmp_path / "other" / "n.bin").write_text("pytorch's")
    with pytest.raises(OutputError, match=r"n\.bin"):
        export(other, "openvino", tmp_path / "other" / "n.xml")
    assert (tmp_path / "other" / "n.bin").read_text() == "pytorch's"


def test_export_all_leaves_other_files_alone_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("moganet.engine.export.EXPORTERS", {"program": EXPORTERS["program"]})
    monkeypatch.setattr(EXPORTERS["program"], "PRECISIONS", ("f32",))
    monkeypatch.setattr("moganet.engine.export.ROUNDS", 1)
    path = write_model(tmp_path / "m.safetensors")
    (tmp_path / "m.pt2").write_text("something else")
    for out in (None, tmp_path):
        rows = {row["name"]: row for row in export_all(path, out)["exports"]}
        assert "--overwrite" in rows["program f32"]["failed"]
    assert (tmp_path / "m.pt2").read_text() == "something else"


def test_an_export_goes_through_a_link_and_a_ring_of_links_is_said(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link.pt2").symlink_to(tmp_path / "kept" / "real.pt2")
    assert export(model(), "program", tmp_path / "link.pt2")["bytes"] > 1000
    assert (tmp_path / "link.pt2").is_symlink() and (tmp_path / "kept" / "real.pt2").is_file()
    (tmp_path / "a.pt2").symlink_to(tmp_path / "b.pt2")
    (tmp_path / "b.pt2").symlink_to(tmp_path / "a.pt2")
    for out in (tmp_path / "a.pt2", tmp_path / "a.pt2" / "c.pt2", tmp_path / "kept"):
        with pytest.raises(OutputError) as caught:
            export(model(), "program", out)
        assert "\n" not in str(caught.value) and ".export-" not in str(caught.value)
