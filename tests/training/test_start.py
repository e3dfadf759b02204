"""What a run begins with and learns from goes by names, never by places, and is said."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_sources import make_folder
from torch import nn

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.data import Dataset, open_data
from moganet.errors import ConfigError
from moganet.inference import Predictor
from moganet.inference.runtimes import open_predictor
from moganet.models.build import build_network_for
from moganet.models.timms import describe
from moganet.network import VARIANTS, build_network
from moganet.network.releases import RELEASES
from moganet.notices import listening
from moganet.tasks.recipes import load_recipe
from moganet.training.start import Teacher, choose_start, frozen, load_teacher, start_from

SHAPE = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2)}


def predictor(names, channels=3) -> Predictor:
    torch.manual_seed(len(names))
    network = build_network("moganet_nano", num_classes=len(names), in_chans=channels, **SHAPE)
    nn.init.normal_(network.head.weight)
    description = describe(
        Architecture(name="moganet_nano", num_classes=len(names), in_chans=channels, **SHAPE), {}
    ).changed(class_names=tuple(names))
    return open_predictor(network, description, name_of_model="source")


def dataset(names) -> Dataset:
    digits = open_data("digits")
    return Dataset("given", tuple(names), digits.splits)


def said(what, *arguments):
    with listening() as heard:
        result = what(*arguments)
    return result, heard


def recipe(**overrides):
    return load_recipe("finetune", {f"{key.replace('__', '.')}": value for key, value in overrides.items()})


@pytest.mark.parametrize(
    ("overrides", "chosen"),
    [
        ({}, "moganet_nano.cifar10"),
        ({"start": "none"}, None),
        ({"start": "moganet_nano.digits"}, "moganet_nano.digits"),
        ({"network.gate": "double"}, None),
        ({"network.depths": [1, 1, 1, 1]}, None),
        ({"network.stem_stride": 4}, None),
        ({"preprocessing": {"channels": 1, "mean": 0, "std": 1}}, None),
    ],
    ids=str,
)
def test_finetune_starts_from_what_ships_and_says_so(overrides, chosen):
    found, heard = said(choose_start, load_recipe("finetune", overrides), None)
    assert found.start.model == chosen
    if chosen != "moganet_nano.digits":  # that one was asked for
        assert any((chosen or "random weights") in line and "--from" in line for line in heard)
    assert choose_start(load_recipe("finetune", overrides), found).start.model == chosen  # a run that goes on knows


def test_finetune_starts_from_published_weights_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path))
    file = tmp_path / "weights" / RELEASES["moganet_tiny.in1k"].file
    file.parent.mkdir()
    file.write_bytes(b"")
    found, heard = said(choose_start, load_recipe("finetune", {"network.name": "tiny"}), None)
    assert found.start.model == "moganet_tiny.in1k" and "starts from moganet_tiny.in1k" in heard[0]


def test_other_recipes_say_that_they_start_from_random_weights():
    found, heard = said(choose_start, load_recipe("digits"), None)
    assert found.start.model is None and ["random weights" in line for line in heard] == [True]


@pytest.mark.parametrize("name", [*VARIANTS, "tiny", "xt"])
@pytest.mark.parametrize("key", ["start.model", "loss.teacher"])
def test_a_name_without_weights_is_refused_with_those_that_have_some(name, key, tmp_path):
    with pytest.raises(ConfigError, match=r"has no weights; with weights: .*moganet_nano\.cifar10"):
        moganet.train("digits", overrides={key: name}, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("known", "wanted", "order"),
    [
        ("abc", "abc", [0, 1, 2]),
        ("abc", "cab", [2, 0, 1]),
        ("abc", "xyz", None),
        ("abc", "abx", None),
        ("abc", "ab", None),
        ("ab", "abc", None),
    ],
)
def test_the_head_follows_the_names(known, wanted, order):
    source, network = predictor(known), build_network("moganet_nano", num_classes=len(wanted), **SHAPE)
    drawn = network.head.weight.detach().clone()
    _, heard = said(start_from, network, source, tuple(wanted))
    expected = drawn if order is None else source.model.head.weight[order]
    assert torch.equal(network.head.weight, expected)
    assert torch.equal(network.patch_embed1.projection[0].weight, source.model.patch_embed1.projection[0].weight)
    if order is None:
        assert "the head starts anew" in heard[0] and f"({', '.join(wanted)})" in heard[0]
        assert ("instead of other" in heard[0]) == (len(known) == len(wanted))


@pytest.mark.parametrize(("known", "wanted"), [("abc", "abc"), ("abc", "cab"), ("abcd", "da")])
def test_a_teacher_answers_by_names(known, wanted, monkeypatch):
    source = predictor(known)
    monkeypatch.setattr("moganet.training.start.load", lambda name, **how: source)
    teacher = load_teacher(recipe(loss__teacher="x", preprocessing__size=32), dataset(wanted))
    images = torch.randn(2, 3, 32, 32)
    expected = source.model(images)[:, [known.index(name) for name in wanted]]
    assert torch.allclose(teacher(images), expected, atol=1e-5)


@pytest.mark.parametrize(("known", "wanted"), [("abc", "xyz"), ("abc", "abx"), ("abc", "ABC"), ("ab", "abc")])
def test_a_teacher_of_other_classes_is_refused(known, wanted, monkeypatch):
    monkeypatch.setattr("moganet.training.start.load", lambda name, **how: predictor(known))
    with pytest.raises(ConfigError, match=r"does not know the classes .*by the same names"):
        load_teacher(recipe(loss__teacher="x"), dataset(wanted))


def test_a_teacher_sees_pixels_as_it_was_taught_to():
    plain = {"size": (8, 8), "channels": 3, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    grey = {"size": (8, 8), "channels": 1, "mean": (0.4,), "std": (0.2,)}
    pixels = torch.rand(2, 1, 8, 8)

    def normal(values, settings):
        return (values - torch.tensor(settings.mean).view(-1, 1, 1)) / torch.tensor(settings.std).view(-1, 1, 1)

    colour, mono = Preprocessing(**plain), Preprocessing(**grey)
    to_colour = Teacher(nn.Identity(), colour, mono, None)
    assert torch.allclose(to_colour(normal(pixels, mono)), normal(pixels.expand(-1, 3, -1, -1), colour), atol=1e-5)
    to_grey = Teacher(nn.Identity(), mono, colour, None)
    assert torch.allclose(to_grey(normal(pixels.expand(-1, 3, -1, -1), colour)), normal(pixels, mono), atol=1e-3)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(Teacher(nn.Identity(), colour, colour, None)(images), images)


def test_a_teacher_of_timms_is_taken_on_trust_and_of_other_counts_refused(tmp_path):
    network = timm.create_model("test_resnet", num_classes=3).eval()
    own = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    save_file(network.state_dict(), tmp_path / "x.safetensors", {"preprocessing": own.model_dump_json()})
    settings = recipe(loss__teacher=f"timm:test_resnet@{tmp_path / 'x.safetensors'}")
    teacher, heard = said(load_teacher, settings, dataset("abc"))
    assert teacher.own == own and teacher.order is None
    assert any("names no classes" in line and "order" in line for line in heard)
    assert any("32x32" in line and "96x96" in line for line in heard)
    with pytest.raises(ConfigError, match="knows 3 classes, but the data set has 4"):
        load_teacher(settings, dataset("abcd"))


@pytest.mark.parametrize("key", ["loss__teacher", "start__model"])
def test_a_network_of_timms_without_weights_teaches_and_starts_nothing(key, monkeypatch):
    monkeypatch.setattr("moganet.models.open.unreachable", lambda url: "no connection")
    settings = recipe(**{key: "timm:test_resnet"})
    with pytest.raises(ConfigError, match=r"timm:test_resnet can't be had with weights from timm.*@FILE"):
        load_teacher(settings, dataset("abc")) if key == "loss__teacher" else choose_start(settings, None)


@pytest.mark.parametrize(("channels", "chosen"), [(3, "timm:test_resnet"), (1, None)])
def test_a_network_of_timms_starts_from_its_published_weights(channels, chosen, monkeypatch):
    architecture = Architecture(name="timm:test_resnet", num_classes=1000, in_chans=3)
    state = build_network_for(architecture).state_dict()
    monkeypatch.setattr("moganet.models.open.published", lambda name: (architecture, state))
    plain = {"channels": channels, "mean": (0.5,) * channels, "std": (0.5,) * channels}
    settings = load_recipe("digits", {"network": "timm:test_resnet", "preprocessing": plain})
    found, heard = said(choose_start, settings, None)
    assert found.start.model == chosen and (chosen or "random weights") in heard[0]
    assert choose_start(settings, found).start.model == chosen


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_convnext", "timm:test_vit", "moganet_nano"])
def test_freezing_goes_by_the_stages_that_a_network_names(name):
    network = build_network_for(Architecture(name=name, num_classes=3))
    first = frozen(network, 1)
    assert not frozen(network, 0) and first == frozen(network, 2)[: len(first)]
    assert sum(p.numel() for module in first for p in module.parameters())
    if name == "moganet_nano":
        assert first == [network.patch_embed1, network.blocks1, network.norm1]
    with pytest.raises(ConfigError, match=r"start\.freeze is 99"):
        frozen(network, 99)


def test_digits_with_a_teacher_of_cifar_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="does not know the classes 0, 1"):
        moganet.train("digits", overrides={"loss.teacher": "moganet_nano.cifar10"}, out=tmp_path / "run")


def test_a_teacher_of_other_channels_that_mean_nothing_is_one_line(monkeypatch):
    monkeypatch.setattr("moganet.training.start.load", lambda name, **how: predictor("abc", channels=5))
    with pytest.raises(ConfigError, match="reads 5 channels"):
        load_teacher(recipe(loss__teacher="x"), dataset("abc"))


def test_one_class_is_named_with_where_the_classes_may_lie(tmp_path):
    root = make_folder(tmp_path / "photos", ("photos",), 4)
    with pytest.raises(
        moganet.errors.DataError, match=r"has one class, 'photos'.*holds blue, red.*--data .*photos/photos"
    ):
        moganet.train("finetune", data=str(root), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("validation", "line"), [(0.25, "held back by seed 0"), ("test", "its own test"), (100, "held back")]
)
def test_the_division_is_said(validation, line):
    from moganet.training.resolve import open_divided

    _, heard = said(open_divided, "digits", load_recipe("digits", {"data.validation": validation}))
    assert heard[0].startswith("10 classes (0 1") and line in heard[0] and " training images, " in heard[0]
