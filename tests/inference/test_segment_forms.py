"""Segmenters answer alike in every form: fused, by OpenVINO for one size or any, with preprocessing in the graph."""

import numpy as np
import pytest
import torch
from dense_files import filled, scene
from scipy.special import softmax
from torch import nn

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.data.resample import preprocess
from moganet.errors import ConfigError
from moganet.inference.export import openvino
from moganet.inference.export.graph import Graph
from moganet.inference.export.raw import RawPreprocess
from moganet.inference.load import load
from moganet.inference.together import as_one
from moganet.models.build import build_blank, build_network_for
from moganet.models.formats.ours import save_model_file
from moganet.models.make_fixtures import with_fixtures
from moganet.models.timms import describe
from moganet.network.dense.layers import ConvNorm
from moganet.network.fuse import fastest, for_size
from moganet.tasks.segment.description import SegmentDescription

HEADS = {"fpn": {"name": "fpn", "neck": 16, "channels": 8}, "upernet": {"name": "upernet", "channels": 8}}
FIT = Preprocessing(size=(64, 128), crop_mode="fit", multiple=32, interpolation="bilinear", antialias=False)
SQUASH = FIT.changed(size=(64, 96), crop_mode="squash", multiple=1)
NAMES = ("a", "b", "c", "d", "e")


def made(head, preprocessing=FIT):
    architecture = Architecture(name="moganet_nano", head=HEADS[head], num_classes=len(NAMES), in_chans=3)
    network = build_network_for(architecture).eval()
    shapes = {name: torch.empty(t.shape) for name, t in build_blank(architecture).state_dict().items()}
    network.load_state_dict(filled(shapes))
    task = SegmentDescription(class_names=NAMES)
    return network, describe(architecture, {}).changed(task=task, preprocessing=preprocessing)


def logits_of(network, x):
    with torch.inference_mode():
        return network(x).numpy()


def apart(given, expected):
    return float(np.abs(given - expected).max() / expected.std())


@pytest.mark.parametrize("head", HEADS)
def test_the_fused_form_gives_the_plain_ones_logits(head):
    network, _ = made(head)
    generator = torch.get_rng_state()
    fused, x = fastest(network), scene(65, 96, 1)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert any(isinstance(module, ConvNorm) for module in fused.modules()) and not hasattr(fused, "auxiliary_head")
    assert apart(logits_of(fused, x), logits_of(network, x)) < 1e-5
    assert apart(logits_of(for_size(fused, 3, (65, 96)), x), logits_of(network, x)) < 1e-5
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.decode_head.modules())  # it stayed as it was


@pytest.mark.parametrize("head", HEADS)
def test_openvino_answers_for_one_size_and_for_any(head, tmp_path):
    network, description = made(head)
    one_size = ((64, 96), [(64, 96)])
    for size, sides in (*[one_size] * (head == "upernet"), (None, [(32, 64), (97, 131)])):
        openvino.save(Graph(fastest(network), description, "openvino", size=size), tmp_path / "x.xml")
        run = openvino.load(tmp_path / "x.xml", "f32", ("logits",))
        for side in sides:
            x = scene(*side, 2, 2)
            assert apart(run(x.numpy())["logits"], logits_of(network, x)) < 1e-4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A segmenter whose images differ in size, and one whose images are squashed to one."""
    folder, found = tmp_path_factory.mktemp("segmenters"), {}
    for name, preprocessing in (("fit", FIT), ("squash", SQUASH)):
        network, description = made("fpn", preprocessing)
        found[name] = folder / f"{name}.safetensors"
        save_model_file(found[name], network.state_dict(), with_fixtures(network, description))
    return found


def test_an_export_takes_any_size_where_images_have_their_own(files, tmp_path):
    result = moganet.export(files["fit"], "openvino", tmp_path / "x.xml")
    assert result.size is None and result.deviation < 1e-4
    exported, model = moganet.load(tmp_path / "x.xml"), load(files["fit"], "eager")
    for sides in ((40, 70), (70, 40)):
        image = np.random.RandomState(0).randint(0, 256, (*sides, 3), dtype=np.uint8)
        (given,), (wanted,) = exported(image), model(image)
        assert given.labels.shape == sides and (given.labels == wanted.labels).mean() > 0.999
    with pytest.raises(ConfigError, match="sizes of their own"):
        moganet.export(files["fit"], "openvino", raw=True)


def test_a_size_that_is_asked_for_squashes_and_says_so(files, tmp_path):
    result = moganet.export(files["fit"], "openvino", tmp_path / "x.xml", size=64)
    assert result.size == (64, 64) and any("squashed to the 64x64" in note for note in result.notes)
    assert moganet.load(tmp_path / "x.xml").config.preprocessing.crop_mode == "squash"


@pytest.mark.slow
def test_a_raw_export_answers_for_whole_images(files, tmp_path):
    assert moganet.export(files["squash"], "openvino", tmp_path / "x.xml", raw=True).size == (64, 96)
    image = np.random.RandomState(0).randint(0, 256, (50, 70, 3), dtype=np.uint8)
    (given,), (wanted,) = moganet.load(tmp_path / "x.xml")(image), load(files["squash"], "eager")(image)
    assert (given.labels == wanted.labels).mean() > 0.99


@pytest.mark.parametrize("sides", [(50, 70), (200, 333), (64, 96), (1, 5)])
def test_a_graph_resizes_as_opencv_does(sides):
    image = np.random.RandomState(0).randint(0, 256, (3, *sides), dtype=np.uint8)
    given = RawPreprocess(SQUASH)(torch.from_numpy(image).permute(1, 2, 0)[None])[0].numpy()
    levels = np.abs(given - preprocess(image, SQUASH)) * np.array(SQUASH.std).reshape(3, 1, 1) * 255
    assert levels.max() < 1.01


def test_a_runtime_has_one_file_for_all_sizes(files):
    predictor, eager = (moganet.load(files["fit"], runtime) for runtime in ("openvino", "eager"))
    for number in range(6):  # more than there are files of one size each
        x = scene(32 + 32 * (number % 2), 32 + 32 * number, number).numpy()
        assert apart(predictor.outputs(x)["logits"], eager.outputs(x)["logits"]) < 1e-4
    assert list(predictor.run.runs) == [None]


def test_what_a_mirrored_image_is_answered_is_mirrored_back(files):
    model, both = load(files["squash"], "eager"), as_one(files["squash"], "eager", tta="flip")
    x = scene(64, 96, 3).numpy()
    own, other = (softmax(model.outputs(images)["logits"], 1) for images in (x, np.ascontiguousarray(x[..., ::-1])))
    given = softmax(both.outputs(x)["logits"], 1)
    assert np.abs(given - (own + other[..., ::-1]) / 2).max() < 1e-5
