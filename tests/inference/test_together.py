"""Several models, or several views of an image, answer as one: by the mean of their probabilities."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import TEMPERATURE, exported, model, network_of, pictures, write_model
from torch.nn import functional as F

import moganet
import moganet_cli
from moganet.config import Preprocessing
from moganet.data.contents import sketch
from moganet.errors import ConfigError
from moganet.inference.runtimes import open_predictor
from moganet.inference.together import Together, as_one
from moganet.models.description import ModelDescription
from moganet.models.formats.ours import load_model_file, save_model_file
from moganet.tasks import TASKS

NAMES = ("a", "b", "c", "d", "e", "f")


def softmax(logits, temperature=1.0):
    return torch.tensor(logits / temperature).softmax(1).numpy()


def changed(source, target, order=None, **changes):
    """Write a model file again, with its classes in another order, or described otherwise."""
    state, description = load_model_file(source)
    if order is not None:
        state |= {name: state[name][order] for name in ("head.weight", "head.bias")}
        names = tuple(description.class_names[place] for place in order)
        changes["task"] = description.task.changed(class_names=names)
        changes["fixtures"] = ()
    save_model_file(target, state, description.changed(**changes))
    return target


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for number, array in enumerate(pictures()):
        Image.fromarray(array).save(tmp_path / "images" / f"{number:02}.png")
    (tmp_path / "images" / "05.png").write_bytes(b"no image")
    return tmp_path / "images"


def probabilities(result):
    """Give what predictions say, (images, classes), the classes by their names."""
    return np.array([[c["probability"] for c in sorted(r["classes"], key=lambda c: c["name"])] for r in result])


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("openvino", "onnx", "program", "executorch")]


@pytest.mark.parametrize("runtime", ["eager", "openvino raw", *SLOW])
def test_flips_are_averaged_whatever_runs(runtime, images):
    name, *kind = runtime.split()
    what = model() if runtime == "eager" else exported(name, *kind)
    plain = moganet.load(what)
    x = plain.preprocess(pictures()).numpy()
    views = [plain.outputs(view)["logits"] for view in (x, np.ascontiguousarray(x[..., ::-1]))]
    expected = np.mean([softmax(logits) for logits in views], 0)
    assert np.abs(softmax(views[0]) - expected).max() > 1e-3  # else nothing would be seen
    given = moganet.predict(what, images, tta="flip", top_k=6)["predictions"]
    readable = [number for number in range(12) if number != 5]
    assert probabilities(given) == pytest.approx(expected[readable], abs=1e-5)
    scaled = np.mean([softmax(logits, TEMPERATURE) for logits in views], 0)
    given = moganet.predict(what, images, tta="flip", top_k=6, calibrated=True)["predictions"]
    assert probabilities(given) == pytest.approx(scaled[readable], abs=1e-5)


def test_six_views_are_averaged(images):
    plain = moganet.load(model())
    x = plain.preprocess(pictures())
    up, across = (side // 32 for side in x.shape[-2:])
    wide = F.pad(x, (across, across, up, up), "reflect")
    height, width = x.shape[-2:]
    places = [x, wide[..., :height, :width], wide[..., 2 * up :, 2 * across :]]
    shares = [softmax(plain.outputs(v)["logits"]) for place in places for v in (place, place.flip(-1))]
    given = moganet.predict(model(), images, tta="6", top_k=6)["predictions"]
    readable = [number for number in range(12) if number != 5]
    assert probabilities(given) == pytest.approx(np.mean(shares, 0)[readable], abs=1e-5)
    assert {row["tta"] for row in given} == {"6"}


def test_what_is_unlike_is_told_by_the_image_as_it_is(images):
    once, twice = (moganet.predict(model(), images, tta=tta)["predictions"] for tta in ("none", "flip"))
    assert [row["rejected"] for row in once] == [row["rejected"] for row in twice]
    assert {row["rejected"] for row in once} == {True, False}


def test_models_of_other_sizes_and_orders_answer_as_one(images, tmp_path):
    other = write_model(tmp_path / "other.safetensors", seed="xyz")
    own = Preprocessing(size=(24, 40), mean=(0.5,) * 3, std=(0.2,) * 3, crop_mode="squash")
    other = changed(other, tmp_path / "turned.safetensors", [3, 0, 5, 1, 2, 4], preprocessing=own)
    several = [model(), other, model()]
    expected = np.mean(
        [probabilities(moganet.predict(one, images, top_k=6, calibrated=True)["predictions"]) for one in several],
        0,
    )
    result = moganet.predict(several, images, top_k=6, batch_size=2)
    assert probabilities(result["predictions"]) == pytest.approx(expected, abs=1e-5)
    assert [one["file"][-6:] for one in result["unreadable"]] == ["05.png"]
    assert [one["model"] for one in result["models"]] == list(map(str, several))
    assert any("calibrated" in note and str(other) in note for note in result["notes"])
    once = moganet.predict(several, (array for array in pictures()), top_k=6, batch_size=2)  # an iterator of images
    assert len(once["predictions"]) == 12 and probabilities(once["predictions"])[:5] == pytest.approx(
        expected[:5], abs=1e-5
    )
    answers = moganet.load(several)([Image.fromarray(array) for array in pictures()[:3]], top_k=1)
    assert [a.names[0] for a in answers] == [row["classes"][0]["name"] for row in result["predictions"][:3]]


def test_plain_probabilities_are_averaged_where_one_keeps_no_temperature(images, tmp_path):
    cold = write_model(tmp_path / "cold.safetensors", temperature=None, seed="x")
    expected = np.mean(
        [probabilities(moganet.predict(one, images, top_k=6)["predictions"]) for one in (model(), cold)], 0
    )
    result = moganet.predict([model(), cold], images, top_k=6)
    assert probabilities(result["predictions"]) == pytest.approx(expected, abs=1e-5)
    assert any("plain" in note and str(cold) in note for note in result["notes"])
    with pytest.raises(ConfigError, match=r"cold\.safetensors keeps no temperature"):
        moganet.predict([model(), cold], images, calibrated=True)


def test_models_that_can_not_answer_as_one_are_refused(tmp_path):
    fewer = write_model(tmp_path / "fewer.safetensors", classes=5)
    with pytest.raises(ConfigError, match=r"know 5 and 6 classes, and only one of them knows 'class 5'"):
        moganet.load([model(), fewer])
    with pytest.raises(ConfigError, match="no model is given"):
        moganet.load([])
    with pytest.raises(ConfigError, match="no network of their own"):
        moganet.load([model(), model()]).model  # noqa: B018
    with pytest.raises(ConfigError, match="there is no tta 'spin'; choose one of 'none', 'flip', '6'"):
        moganet.predict(model(), [tmp_path], tta="spin")
    network, architecture = network_of()
    found = TASKS["multilabel"].description(name="multilabel", class_names=tuple(f"class {i}" for i in range(6)))
    described = ModelDescription(architecture=architecture, preprocessing=Preprocessing(), task=found)
    with pytest.raises(ConfigError, match="answers another question"):
        as_one([open_predictor(network, described), model()])


def test_several_labels_are_averaged_and_so_are_their_thresholds():
    task, members = TASKS["multilabel"], []
    for thresholds, temperature, order in (((0.2,) * 6, 2.0, range(6)), ((0.6,) * 6, 1.0, range(5, -1, -1))):
        network, architecture = network_of(seed="x" * len(members))
        names = tuple(NAMES[place] for place in order)
        described = task.description(
            name="multilabel", class_names=names, thresholds=thresholds, temperature=temperature
        )
        description = ModelDescription(architecture=architecture, preprocessing=Preprocessing(size=32), task=described)
        members.append(open_predictor(network, description, "eager"))
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    joint = Together(members, "flip", calibrated=True)
    views = [x, x[..., ::-1].copy()]
    ours = [torch.tensor(members[0].outputs(view)["logits"] / 2).sigmoid().numpy() for view in views]
    theirs = [torch.tensor(members[1].outputs(view)["logits"]).sigmoid().numpy()[:, ::-1] for view in views]
    mean = np.mean(ours + theirs, 0)
    assert task.probabilities(joint.outputs(x), joint.config.task) == pytest.approx(mean, abs=1e-5)
    scaled = 1 / (1 + np.exp(-np.log(0.2 / 0.8) / 2))
    assert joint.config.task.thresholds == pytest.approx(((scaled + 0.6) / 2,) * 6)
    above = [set(answer.above) for answer in joint.answers(joint.outputs(x))]
    assert above == [{name for name, p in zip(NAMES, row, strict=True) if p >= (scaled + 0.6) / 2} for row in mean]


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([str(word) for word in words])
    return end.value.code, *capsys.readouterr()


def test_the_command_takes_models_first_and_then_images(images, tmp_path, capsys, caplog):
    other = write_model(tmp_path / "other.safetensors", seed="x")
    code, printed, _ = run(
        capsys, "predict", model(), other, images / "00.png", "--json", "--tta", "flip", "--csv", tmp_path / "x.csv"
    )
    said = json.loads(printed)
    assert code == 0 and [one["model"] for one in said["models"]] == [str(model()), str(other)]
    assert said["tta"] == said["predictions"][0]["tta"] == "flip"
    with open(tmp_path / "x.csv", newline="") as file:
        assert {row["tta"] for row in csv.DictReader(file)} == {"flip"}
    code, _, said = run(capsys, "predict", model(), images / "00.png", other)
    assert code == 2 and f"{other} is a model, and stands behind images" in said
    code, _, said = run(capsys, "predict", model(), "missing.safetensors", images / "00.png")
    assert code == 2 and "there is no model 'missing.safetensors'" in said
    code, _, said = run(capsys, "predict", model(), "moganet_nano.cifar100", images / "00.png")
    assert code == 2 and "no model either; did you mean the model moganet_nano.cifar10?" in said
    images.rename(tmp_path / "photos.bin")  # a folder of images, whatever it is called
    code, printed, _ = run(capsys, "predict", model(), tmp_path / "photos.bin", "--json")
    assert code == 3 and len(json.loads(printed)["predictions"]) == 11
    assert f"2 models answer as one, by the mean of their calibrated probabilities: {model()}, {other}" in caplog.text


def test_an_evaluation_says_of_what_it_is(trained_run, tmp_path, capsys):
    plain, views = (moganet.evaluate(trained_run, tta=tta) for tta in ("none", "flip"))
    assert views["tta"] == "flip" and "tta" not in plain and views["out"] != plain["out"]
    assert views["top1"] < plain["top1"]  # of mirrored digits
    assert any("augment.hflip is 0" in note for note in views["notes"])
    both = moganet.evaluate([trained_run, trained_run / "last.safetensors"])
    assert [one["model"] for one in both["models"]] == [str(trained_run), str(trained_run / "last.safetensors")]
    assert both["num_images"] == plain["num_images"] and both["sha256"] == "" and "out" not in both
    assert abs(both["top1"] - plain["top1"]) < 0.1
    seen = sketch(moganet.open_data("digits").with_validation(0.1, 0).split("val").contents()[:90])
    provenance = {**moganet.load(trained_run).config.provenance, "images": seen}
    other = changed(trained_run / "best.safetensors", tmp_path / "other.safetensors", provenance=provenance)
    code, printed, _ = run(capsys, "evaluate", trained_run, other, "--split", "val", "--json")
    assert code == 0 and f"{other} was trained on 90 of 144 images of digits (val)" in printed
