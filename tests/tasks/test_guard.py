"""The guard tells images unlike those trained on, says nothing where it can't, and is refused where it is damaged."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import moganet
from moganet.config import Preprocessing
from moganet.data import open_data
from moganet.inference import save_model_file
from moganet.inference.guarding import make_guard, scramble
from moganet.models.description import ModelDescription
from moganet.models.shipped import shipped_models
from moganet.network.features import with_features
from moganet.tasks import TASKS
from moganet.tasks.guard import LEVELS, Curve, packed, texture_of
from moganet.tasks.texture import texture

DIGITS = "moganet_nano.digits"


@pytest.fixture(scope="module")
def predictor():
    return moganet.load(DIGITS, "eager")


def share(predictor, images):
    return np.mean([found.rejected for found in predictor(images)])


def foreign():
    random = np.random.default_rng(0)
    photograph = load_sample_image("china.jpg")
    crops = [photograph[y : y + 100, x : x + 100] for y in range(0, 400, 100) for x in range(0, 600, 100)]
    plain = [np.full((32, 32, 3), random.integers(0, 256, 3), np.uint8) for _ in range(40)]
    return {"noise": list(random.integers(0, 256, (40, 64, 64, 3), np.uint8)), "plain": plain, "photograph": crops}


@pytest.mark.parametrize("kind", ["noise", "plain", "photograph"])
def test_foreign_images_are_rejected(predictor, kind):
    assert share(predictor, foreign()[kind]) >= 0.95


def test_its_own_kind_is_not(predictor):
    held = open_data("digits").split("test")
    assert share(predictor, [held[i].image for i in range(len(held))]) <= 0.08


def test_photographs_are_unlike_photographs_of_animals_and_vehicles():
    predictor = moganet.load("moganet_nano.cifar10", "eager")
    assert share(predictor, foreign()["noise"]) == share(predictor, foreign()["plain"]) == 1


@pytest.mark.parametrize("name", shipped_models())
def test_it_takes_little_room(name):
    assert len(moganet.load(name, "eager").config.task.guard.model_dump_json()) < 50_000


def test_a_score_is_the_more_surprising_the_higher_and_beyond_all_that_was_seen(predictor):
    scores = np.random.default_rng(0).normal(size=2000)
    curve = Curve.of(scores)
    told = curve.surprise(np.array([-9, -1, 0, 1, 2, 5, 50, 1e30]))
    assert (np.diff(told) >= 0).all() and told[0] == 0 and np.isfinite(told).all()
    assert curve.surprise(np.quantile(scores, [0.5, 0.9])) == pytest.approx([0.69, 2.3], abs=0.05)
    same = Curve.of(np.zeros(200))
    assert np.isfinite(same.surprise(np.array([-1.0, 0, 1]))).all()


def test_it_says_nothing_where_a_part_is_missing(predictor):
    guard, x = predictor.config.task.guard, predictor.preprocess(foreign()["plain"][:3]).numpy()
    outputs = dict(predictor.outputs(x, judged=True))
    energy = predictor.task.energy(outputs)
    assert guard.unlike(outputs, energy).all() and predictor.task.judged_by(outputs, predictor.config.task) == "guard"
    for part in ("features", "texture"):
        less = {name: values for name, values in outputs.items() if name != part}
        assert guard.unlike(less, energy) is None
        assert predictor.task.judged_by(less, predictor.config.task) == "energy"  # which the model file keeps too
    assert guard.unlike({**outputs, "features": outputs["features"][:, 1:]}, energy) is None
    assert "texture" not in predictor.outputs(np.zeros((1, 1, 48, 48), np.float32), judged=True)


def test_a_damaged_guard_is_refused(predictor):
    plain = json.loads(predictor.config.model_dump_json(exclude_none=True))
    for part, value in {
        "center": packed(np.zeros(3), "<f4"),
        "spread": "%%%",
        "direction": packed(np.array([np.nan]), "<f4"),
        "curves": {"energy": {"knots": [0.0] * len(LEVELS), "tail": 1.0}},
    }.items():
        with pytest.raises(ValueError, match="guard"):
            ModelDescription.model_validate(
                {**plain, "task": {**plain["task"], "guard": {**plain["task"]["guard"], part: value}}}
            )
    falling = {"knots": [*range(len(LEVELS), 0, -1)], "tail": 1.0}
    with pytest.raises(ValueError, match="rise"):
        Curve.model_validate(falling)


def test_too_few_images_held_back_make_none(predictor):
    data = open_data("digits")
    assert make_guard(predictor, data.split("train"), data.split("test").subset(range(99))) is None


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (3, 224, 200), (2, 1, 1), (24, 33, 9)])
def test_images_of_any_shape_have_statistics_and_parts(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    found = texture(images / 255)
    assert found.shape[0] == 3 and found.ndim == 2 and np.isfinite(found).all()
    for parts in (2, 4):
        mixed = scramble(images, parts, np.random.default_rng(1))
        assert mixed.shape == images.shape and (np.sort(mixed, axis=None) == np.sort(images, axis=None)).all()
        assert min(shape[1:]) < 2 or all((a != b).any() for a, b in zip(images, mixed, strict=True))


def test_the_pixels_are_those_before_their_colours_were_scaled(predictor):
    image = Image.fromarray(foreign()["noise"][0]).convert("L").resize((32, 32))
    x = predictor.preprocess(image).numpy()
    expected = texture(np.asarray(image, np.float32)[None, None] / 255)
    assert texture_of(x, predictor.config.preprocessing) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_a_network_of_timms_gives_what_its_head_takes(name):
    network = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(3, 3, *network.pretrained_cfg["input_size"][1:])
    with torch.inference_mode():
        logits, features = with_features(network)(x)
        assert torch.equal(logits, network(x))
        assert torch.allclose(network.get_classifier()(features), logits, atol=1e-5)
    network.reset_classifier(0)
    assert with_features(network) is network


def test_several_labels_have_one_too(tmp_path):
    from small_model import network_of, with_guard

    network, architecture = network_of(classes=6)
    task = TASKS["multilabel"].description(name="multilabel", class_names=tuple("abcdef"))
    description = ModelDescription(architecture=architecture, preprocessing=Preprocessing(size=(32, 32)), task=task)
    description = with_guard(network, description)
    save_model_file(tmp_path / "m.safetensors", network.state_dict(), description)
    assert set(description.task.guard.curves) == {"energy", "texture", "scrambled"}
    result = moganet.predict(tmp_path / "m.safetensors", [noise_file(tmp_path)], csv_file=tmp_path / "p.csv")
    assert result.predictions[0]["rejected"] and "yes" in (tmp_path / "p.csv").read_text()
    assert "unlike what it was trained on" in result.predictions[0].text()


def noise_file(folder):
    Image.fromarray(foreign()["noise"][0]).save(folder / "noise.png")
    return folder / "noise.png"
