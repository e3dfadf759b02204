"""Every format, however it is loaded or converted, computes what its authors computed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import GOLDEN, MINI, golden

import moganet
from moganet.errors import MogaNetError, WeightsError
from moganet.inference import read_model
from moganet.models.choices import Choices
from moganet.models.formats import FORMATS
from moganet.models.formats.birder import BEFORE_NORMS

# name: (file, choices, expected, what the network must compute)
SOURCES = {
    "official": ("mini_official.pth.tar", {}, "mini_single_gate_expected", {}),
    "official-ema": ("mini_official.pth.tar", {"weights": "ema"}, None, {}),
    "openmixup": ("mini_openmixup.pth", {}, "mini_double_gate_expected", {"gate": "double"}),
    "paddle": ("mini_paddle.pdparams", {}, "mini_paddle_expected", {"channel_aggregation": "paddle"}),
}
OUT = {"model": "x.safetensors", "hub": "x", "official": "x.pth.tar", "paddle": "x.pdparams"}
OUT["birder"] = "x.birder.pt"
# birder has no biases before norms, whose means take them up
MOVED = tuple(f"{name}." for pair in BEFORE_NORMS.items() for name in pair)
ONCE = [("official", target) for target in OUT] + [(source, "model") for source in SOURCES if source != "official"]
ALL = [  # each source and each format; all pairs in the slow sweep
    pytest.param(source, target, marks=[] if (source, target) in ONCE else [pytest.mark.slow])
    for source in SOURCES
    for target in OUT
]


class Converted(dict):
    """A source's file in a format, written when it is first asked for."""

    def __init__(self, folder):
        self.folder = folder

    def __missing__(self, pair):
        source, target = pair
        file, choices, _, _ = SOURCES[source]
        self[pair] = self.folder / source / target / OUT[target]
        moganet.convert(GOLDEN / file, self[pair], **choices)
        return self[pair]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return Converted(tmp_path_factory.mktemp("converted"))


def expected_of(source):
    """Give input and logits of a source; the EMA weights, the plain ones times 0.5, are run in a network of timm's."""
    file, _, expected, _ = SOURCES[source]
    values = golden(expected or "mini_single_gate_expected")
    if expected is None:
        network = timm.create_model("moganet_xtiny", **MINI).eval()
        network.load_state_dict(torch.load(GOLDEN / file, weights_only=True)["state_dict_ema"])
        return values["input"], network(values["input"]).detach()
    return values["input"], values["logits"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_released_file_gives_its_authors_logits(source):
    file, choices, _, function = SOURCES[source]
    predictor = moganet.load(GOLDEN / file, **choices)
    x, logits = expected_of(source)
    assert (predictor.logits(x) - logits).abs().max() < 1e-5
    assert all(getattr(predictor.model, key) == value for key, value in function.items())


def test_the_ema_weights_are_half_the_plain_ones():
    plain, ema = (moganet.load(GOLDEN / SOURCES["official"][0], weights=w).model.head for w in ("plain", "ema"))
    assert torch.allclose(plain.weight * 0.5, ema.weight)


@pytest.mark.parametrize(("source", "target"), ALL)
def test_a_converted_file_gives_its_authors_logits(source, target, converted):
    predictor = moganet.load(converted[source, target])
    x, logits = expected_of(source)
    assert (predictor.logits(x) - logits).abs().max() < 1e-5


@pytest.mark.parametrize(("source", "target"), ALL)
def test_every_round_trip_is_exact(source, target, converted, tmp_path):
    first = read_model(converted[source, target])
    file, choices, _, _ = SOURCES[source]
    origin = read_model(GOLDEN / file, Choices(**choices))
    for name, tensor in origin.state.items():
        if not name.startswith(MOVED if target == "birder" else ()) and not (
            target == "paddle" and name.endswith("num_batches_tracked")  # Paddle counts no batches
        ):
            assert torch.equal(first.state[name], tensor), name
    moganet.convert(converted[source, target], tmp_path / "model.safetensors")
    moganet.convert(tmp_path / "model.safetensors", tmp_path / "back" / OUT[target])
    again = read_model(tmp_path / "back" / OUT[target])
    assert all(torch.equal(first.state[name], tensor) for name, tensor in again.state.items())
    kept = ("architecture", "preprocessing", "class_names")
    assert all(getattr(again.description, k) == getattr(first.description, k) for k in kept)


def test_a_paddle_file_comes_back_array_for_array(converted):
    with open(GOLDEN / "mini_paddle.pdparams", "rb") as file, open(converted["paddle", "paddle"], "rb") as written:
        before, after = pickle.load(file), pickle.load(written)  # our own files
    before.pop("StructuredToParameterName@@")
    after.pop("moganet_sha256")
    assert before.keys() == after.keys()
    assert all(
        np.array_equal(before[name], array) and before[name].dtype == array.dtype for name, array in after.items()
    )


def test_an_official_file_comes_back_tensor_for_tensor(converted):
    before = torch.load(GOLDEN / "mini_official.pth.tar", weights_only=True)["state_dict"]
    after = torch.load(converted["official", "official"], weights_only=True)
    assert after["state_dict"].keys() == before.keys() and after["arch"] == "moganet_xtiny"
    assert all(torch.equal(after["state_dict"][name], tensor) for name, tensor in before.items())


# The EMA weights are the plain ones in another key of the same file.
@pytest.mark.parametrize("source", [source for source in SOURCES if source != "official-ema"])
def test_timm_loads_what_was_converted_strictly(source, converted):
    function = SOURCES[source][3]
    x, logits = expected_of(source)
    ours = converted[source, "model"]
    by_path = [
        timm.create_model("moganet_xtiny", checkpoint_path=path, **MINI, **function)
        for path in (ours, converted[source, "official"], converted[source, "hub"] / "model.safetensors")
    ]
    by_cfg = [
        timm.create_model(
            "moganet_xtiny",
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path), "num_classes": 10, "custom_load": custom},
            **MINI,
            **function,
        )
        for path, custom in ((ours, False), (converted[source, "official"], False), (ours, True))
    ]
    hub = timm.create_model(f"local-dir:{converted[source, 'hub']}", pretrained=True)
    for network in (*by_path, *by_cfg, hub):
        assert (network.eval()(x) - logits).abs().max() < 1e-5


@pytest.mark.parametrize("source", SOURCES)
def test_a_released_file_goes_through_timms_hook(source):
    """A configuration with `custom_load` reads any format; the network's function is the caller's to name."""
    file, choices, _, function = SOURCES[source]
    overlay = {"file": str(GOLDEN / file), "custom_load": True}
    if choices:
        network = timm.create_model("moganet_xtiny", **MINI, **function)
        network.load_pretrained(str(GOLDEN / file), **choices)
    else:
        network = timm.create_model("moganet_xtiny", True, pretrained_cfg_overlay=overlay, **MINI, **function)
    x, logits = expected_of(source)
    assert (network.eval()(x) - logits).abs().max() < 1e-5


@pytest.mark.parametrize(("stride", "targets"), [(4, ["model"]), (2, OUT), (1, ["model"])])
def test_a_checkpoint_loads_at_any_stem_stride_and_keeps_it(stride, targets, tmp_path):
    x = golden("mini_single_gate_expected")["input"]
    direct = moganet.load(GOLDEN / "mini_official.pth.tar", stem_stride=stride)
    for target in targets:
        out = tmp_path / target / OUT[target]
        moganet.convert(GOLDEN / "mini_official.pth.tar", out, stem_stride=stride)
        again = moganet.load(out)
        assert again.model.stem_stride == stride
        assert torch.allclose(again.logits(x), direct.logits(x), rtol=0, atol=1e-5 * (target == "birder"))


@pytest.mark.parametrize("target", [target for target in OUT if target != "birder"])  # which can't build this network
def test_names_preprocessing_and_temperature_survive(target, tmp_path, trained_run):
    moganet.convert(trained_run, tmp_path / OUT[target])
    before, after = moganet.load(trained_run), moganet.load(tmp_path / OUT[target])
    for key in ("class_names", "preprocessing", "task", "architecture", "provenance", "fixtures"):
        assert getattr(after.config, key) == getattr(before.config, key), key
    checkpoint = moganet.load(trained_run / "last.ckpt")
    last = moganet.load(trained_run / "last.safetensors")
    assert all(torch.equal(t, last.model.state_dict()[n]) for n, t in checkpoint.model.state_dict().items())


def test_another_function_than_the_readers_is_warned_of(tmp_path, caplog):
    result = moganet.convert(GOLDEN / "mini_openmixup.pth", tmp_path / "x.pth.tar")
    assert "gate double (there: single)" in result["warnings"][0] and "gate double" in caplog.text
    result = moganet.convert(GOLDEN / "mini_official.pth.tar", tmp_path / "x.pdparams")
    assert "channel_aggregation reference (there: paddle)" in result["warnings"][0]
    assert not moganet.convert(GOLDEN / "mini_official.pth.tar", tmp_path / "y.pth.tar")["warnings"]


def test_the_ports_own_files_are_plain_arrays(converted):
    with open(converted["paddle", "paddle"], "rb") as file:
        content = pickle.load(file)
    assert isinstance(content.pop("moganet_sha256"), str)  # by which a flipped bit is noticed
    assert {type(value) for value in content.values()} == {np.ndarray}


@pytest.mark.parametrize("source", SOURCES)
def test_paddle_loads_what_was_written(source, converted):
    paddle = pytest.importorskip("paddle")
    read = paddle.load(str(converted[source, "paddle"]))
    state = read_model(converted[source, "model"]).state
    for key in ("patch_embed1.proj.0.weight", "patch_embed1.norm._variance", "blocks4.0.ffn.fc2.bias"):
        assert isinstance(read[key], paddle.Tensor), key
    linear = paddle.nn.Linear(32, 10)
    linear.set_state_dict({key: read[f"head.{key}"] for key in ("weight", "bias")})
    assert np.array_equal(linear.weight.numpy(), state["head.weight"].numpy().T)
    x = np.random.RandomState(0).standard_normal((2, 32)).astype(np.float32)
    expected = x @ state["head.weight"].numpy().T + state["head.bias"].numpy()
    assert np.allclose(linear(paddle.to_tensor(x)).numpy(), expected, atol=1e-5)


def test_places_and_formats_that_can_not_be_written_are_said(tmp_path):
    source = GOLDEN / "mini_official.pth.tar"
    for out, to, said in (("x.onnx", None, "--to"), ("x.bin", "gguf", "model, hub, official, paddle")):
        with pytest.raises(MogaNetError, match=said):
            moganet.convert(source, tmp_path / out, to)
    (tmp_path / "file").write_text("")
    with pytest.raises(MogaNetError, match="is a file"):
        moganet.convert(source, tmp_path / "file")
    moganet.convert(source, tmp_path / "x.pth")
    with pytest.raises(MogaNetError, match="itself"):
        moganet.convert(tmp_path / "x.pth", tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no model"):
        moganet.convert("nowhere.pth", tmp_path / "y.pth")
    of_classifiers = {name for name, known in FORMATS.items() if known.write is not None} - {"mmseg", "mmdet", "mmpose"}
    assert set(OUT) == of_classifiers and sorted(p.name for p in Path(tmp_path).iterdir()) == ["file", "x.pth"]
