"""birder's checkpoints: recognised by contents, its logits, its classes and pictures, and the way back.

The golden file is as birder 0.8.4 writes one (`checkpoint_model`); where birder is installed, it is written anew.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDEN, fill, golden, noise_image
from PIL import Image
from safetensors.torch import save_file

import moganet
from moganet.errors import ConfigError, MogaNetError, WeightsError
from moganet.models.formats import read_checkpoint
from moganet.models.formats.birder import BEFORE_NORMS
from moganet.notices import listening

FILE = GOLDEN / "mini_birder.pt"
NAMES = ("Kohlmeise", "Abendsegler", "Éider", "鶴", "Zwergtaucher", "b", "a", "Wren", "Great tit", "Rook")
CONFIG = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "drop_path_rate": 0.0}
SIZE = (40, 48)  # height, width
STATS = {"mean": (0.5191, 0.5306, 0.4877), "std": (0.2316, 0.2304, 0.2588)}
VARIANTS = {"xt": "xtiny", "t": "tiny", "s": "small", "b": "base", "l": "large", "xl": "xlarge"}


def picture():
    """A photograph of neither the network's size nor its proportions."""
    return Image.fromarray(np.random.RandomState(1).randint(0, 256, (7, 5, 3), dtype=np.uint8)).resize((90, 70))


@pytest.fixture(scope="module")
def content():
    return torch.load(FILE, weights_only=True)


def written(content, path, **changed):
    """Write a file of birder's with other values under some keys; None leaves one out."""
    values = {key: value for key, value in {**content, **changed}.items() if value is not None}
    torch.save(values, path)
    return path


def test_a_checkpoint_says_all_that_a_model_needs():
    with listening() as heard:
        predictor = moganet.load(FILE, "eager")
    expected = golden("mini_birder_expected")
    assert (predictor.logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5
    assert predictor.class_names == NAMES
    # Pillow resizes there and torch here: a pixel may be a grey level off.
    assert (predictor.preprocess(picture()) - expected["pixels"]).abs().max() < 1.01 / 255 / min(STATS["std"])
    own = predictor.config.preprocessing
    assert (own.size, own.mean, own.std) == (SIZE, STATS["mean"], STATS["std"])
    assert heard == [f"{FILE.name}: birder, {predictor.config.provenance['reason']}"]  # and nothing was a guess
    assert "unread" not in predictor.config.provenance


def test_its_forms_are_recognised_by_what_they_hold(content, tmp_path):
    state = content["state"]
    texts = {key: json.dumps(content[key]) for key in ("class_to_idx", "signature", "rgb_stats")}
    save_file(state, tmp_path / "x.bin", {**texts, "task": "image_classification", "birder_version": "0.8.4"})
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    written({**content, "state": wrapped}, tmp_path / "wrapped.bin")
    expected = golden("mini_birder_expected")
    for name in ("x.bin", "wrapped.bin"):
        predictor = moganet.load(tmp_path / name, "eager")
        assert (predictor.logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5
        assert predictor.class_names == NAMES and predictor.config.preprocessing.size == SIZE
    states = {"model_base_state": {k: 2 * v for k, v in state.items()}, "ema_model_state": state}
    torch.save(states, tmp_path / "states.bin")
    read = read_checkpoint(tmp_path / "states.bin")
    assert read.format == "birder" and (read.weights, read.preprocessing, read.class_names) == ("ema", None, None)


def test_a_detectors_backbone_keeps_no_names_of_classes(content, tmp_path):
    state = {f"backbone.{n}": t for n, t in content["state"].items() if not n.startswith("classifier")}
    state["rpn.head.weight"] = torch.ones(3, 3)
    changed = {"state": state, "task": "object_detection", "class_to_idx": {"bird": 1}}
    predictor = moganet.load(written(content, tmp_path / "d.pt", **changed), "eager")
    assert predictor.class_names == () and predictor.logits(torch.zeros(1, 3, 40, 48)).shape == (1, 32)
    assert "passed over beside it: 1 tensor" in predictor.config.provenance["reason"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"class_to_idx": {"a": 0}}, "names 1 classes for a head of 10"),
        ({"class_to_idx": dict.fromkeys("abcdefghij", 0)}, "does not number 10 classes from 0, each once"),
        ({"class_to_idx": {name: str(i) for i, name in enumerate(NAMES)}}, "does not number 10 classes"),
        ({"class_to_idx": {i: i for i in range(10)}}, "no number for each class's name"),
        ({"class_to_idx": list(NAMES)}, "no number for each class's name"),
        ({"rgb_stats": {"mean": (123.7,) * 3, "std": (58.0,) * 3}}, r"no preprocessing that is known: mean\.0"),
        ({"rgb_stats": {"mean": (0.5,) * 3}}, "are not as birder writes them"),
        ({"rgb_stats": "imagenet"}, "are not as birder writes them"),
        ({"signature": {"inputs": []}}, "are not as birder writes them"),
        ({"signature": {"inputs": [{"data_shape": [0, 3, 10**9, 4]}]}}, "size"),
        ({"signature": [[[]]]}, "are not as birder writes them"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(changed, said, content, tmp_path):
    with pytest.raises(WeightsError, match=said) as caught:
        moganet.load(written(content, tmp_path / "x.pt", **changed))
    assert "\n" not in str(caught.value) and "x.pt" in str(caught.value)


def test_what_it_does_not_say_is_a_guess_that_is_said(content, tmp_path):
    with listening() as heard:
        predictor = moganet.load(written(content, tmp_path / "x.pt", rgb_stats=None, class_to_idx={}), "eager")
    assert predictor.class_names[0] == "class_0" and "guesses: preprocessing 224x224" in heard[-1]
    signature = {"inputs": [{"data_shape": [0, 1, 40, 48]}], "outputs": [{"data_shape": [0, 10]}]}
    with listening() as heard:
        moganet.load(written(content, tmp_path / "x.pt", signature=signature), "eager")
    assert "says that its images have 1 channels" in heard[0] and "guesses: preprocessing" in heard[-1]


def test_other_heads(content, tmp_path):
    state = dict(content["state"])
    bias = state.pop("classifier.bias")
    written(content, tmp_path / "x.pt", state=state)
    plain, without = (moganet.load(path, "eager") for path in (FILE, tmp_path / "x.pt"))
    x = golden("mini_birder_expected")["input"]
    assert torch.allclose(without.logits(x), plain.logits(x) - bias, atol=1e-5)
    layers = {"classifier.0.weight": torch.ones(96, 32), "classifier.3.weight": torch.ones(10, 96)}
    state.pop("classifier.weight")
    with pytest.raises(WeightsError, match="classifier has several layers"):
        moganet.load(written(content, tmp_path / "x.pt", state={**state, **layers}))


def test_a_file_that_would_run_code_is_refused(content, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    written(content, tmp_path / "x.pt", class_to_idx=Hostile())
    with pytest.raises(WeightsError, match="nothing was run"):
        moganet.load(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_the_way_back_is_tensor_for_tensor(content, tmp_path):
    result = moganet.convert(FILE, tmp_path / "back.birder.pt")
    back = torch.load(tmp_path / "back.birder.pt", weights_only=True)
    assert result.target == "birder" and result.warnings == ()
    assert back["state"].keys() == content["state"].keys()
    assert all(torch.equal(back["state"][name], tensor) for name, tensor in content["state"].items())
    for key in ("class_to_idx", "signature", "config", "task"):
        assert back[key] == content[key], key
    assert {key: tuple(values) for key, values in back["rgb_stats"].items()} == STATS


@pytest.mark.parametrize("name", ["x.safetensors", "x", "x.pth.tar", "x.pdparams"])
def test_it_is_the_same_model_in_every_other_format(name, tmp_path):
    moganet.convert(FILE, tmp_path / name)
    predictor, expected = moganet.load(tmp_path / name, "eager"), golden("mini_birder_expected")
    assert (predictor.logits(expected["input"]) - expected["logits"]).abs().max() < 1e-5
    assert predictor.class_names == NAMES and predictor.config.preprocessing.size == SIZE


def test_biases_before_norms_are_taken_up_by_the_norms(tmp_path):
    source = GOLDEN / "mini_official.pth.tar"
    result = moganet.convert(source, tmp_path / "x", "birder")
    assert "5 are taken up" in result.warnings[0] and "center_crop=0.9, simple_crop=True" in result.warnings[1]
    state = torch.load(tmp_path / "x", weights_only=True)["state"]
    assert len(state) == len(moganet.load(source, "eager").model.state_dict()) - len(BEFORE_NORMS)
    x = golden("mini_single_gate_expected")
    assert (moganet.load(tmp_path / "x", "eager").logits(x["input"]) - x["logits"]).abs().max() < 1e-5
    before, after = (moganet.load(path, "eager").config for path in (source, tmp_path / "x"))
    assert (before.preprocessing, before.task, before.architecture) == (
        after.preprocessing,
        after.task,
        after.architecture,
    )


def test_what_birder_can_not_build_is_refused_or_warned_of(tmp_path):
    with pytest.raises(ConfigError, match="8, 8, 4, 4 times the width alone, not 4, 4, 4, 2"):
        moganet.convert("moganet_nano.cifar10", tmp_path / "x.birder.pt")
    assert not list(tmp_path.iterdir())
    warnings = moganet.convert(GOLDEN / "mini_openmixup.pth", tmp_path / "x.birder.pt", stem_stride=2).warnings
    assert "gate double (there: single), stem_stride 2 (there: 4)" in warnings[0]
    assert moganet.load(tmp_path / "x.birder.pt", "eager").model.stem_stride == 2
    with pytest.raises(MogaNetError, match="--to"):
        moganet.convert(FILE, tmp_path / "x.pt")  # a name that says nothing


@pytest.fixture
def birder(tmp_path, monkeypatch):
    """birder itself, which writes into a folder of the test's."""
    package = pytest.importorskip("birder")
    from birder.common import fs_ops

    monkeypatch.setattr(fs_ops.settings, "MODELS_DIR", tmp_path)
    return package, fs_ops


def as_birder_writes(birder, network, classes, size, config=None):
    package, fs_ops = birder
    from birder.data.transforms.classification import get_rgb_stats
    from birder.net.base import get_signature

    built = package.model_registry.registry.net_factory(network, len(classes), 3, config=config, size=size).eval()
    built.load_state_dict(fill(built.state_dict()))
    indices = {name: classes.index(name) for name in sorted(classes)}
    signature = get_signature((0, 3, *size), len(classes))
    nothing = (None,) * 4
    stats = get_rgb_stats("birder")
    fs_ops.checkpoint_model(network, 1, built, signature, indices, stats, *nothing, external_config=config)
    return built, Path(fs_ops.model_path(network, epoch=1))


def test_the_golden_file_is_what_birder_writes(birder, content):
    from birder.data.transforms.classification import inference_preset

    network, path = as_birder_writes(birder, "moganet_xt", NAMES, SIZE, CONFIG)
    made = torch.load(path, weights_only=True)
    assert made.keys() == content.keys()
    assert all(torch.equal(made["state"][name], tensor) for name, tensor in content["state"].items())
    assert all(made[key] == content[key] for key in ("class_to_idx", "signature", "rgb_stats", "config", "task"))
    expected = golden("mini_birder_expected")
    assert (network(expected["input"]).detach() - expected["logits"]).abs().max() < 1e-6
    assert torch.equal(inference_preset(SIZE, STATS)(picture()), expected["pixels"])


@pytest.mark.slow
@pytest.mark.parametrize("short", VARIANTS)
def test_every_variant_of_birders_both_ways(short, birder, tmp_path):
    name, classes, x = f"moganet_{short}", [f"class {i}" for i in range(20)], noise_image(2, 64)
    network, path = as_birder_writes(birder, name, classes, (64, 64))
    predictor = moganet.load(path, "eager")
    assert predictor.config.architecture.name == f"moganet_{VARIANTS[short]}"
    with torch.no_grad():
        logits = network(x)
    spread = max(1.0, float(logits.std()))  # of the largest it is 20, since every block's part is large in these
    assert (predictor.logits(x) - logits).abs().max() < 1e-5 * spread
    exact = network.double()(x.double()) - predictor.model.double()(x.double())
    assert exact.abs().max() < 1e-10
    own = moganet.build_network(VARIANTS[short], num_classes=3).eval()
    own.load_state_dict(fill(own.state_dict()))
    torch.save(own.state_dict(), tmp_path / "own.pth")
    moganet.convert(tmp_path / "own.pth", tmp_path / "own.birder.pt")
    theirs, told = birder[1].load_model(torch.device("cpu"), name, path=tmp_path / "own.birder.pt", inference=True)
    with torch.no_grad():
        expected = own(x)
        assert (theirs(x) - expected).abs().max() < 1e-5 * max(1.0, float(expected.std()))
    assert list(told.class_to_idx) == ["class_0", "class_1", "class_2"]
