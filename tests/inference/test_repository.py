"""The folder for OpenVINO Model Server and Triton: their layout, the model's answers, and nothing of others lost."""

import json
import re
import shutil

import numpy as np
import openvino
import pytest
from dense_files import scene
from small_model import exported, model, pictures
from test_segment_forms import made as segmenter

import moganet
from moganet.engine.export import export
from moganet.errors import ConfigError, OutputError
from moganet.models.find import name_in_addresses
from moganet.models.formats.ours import save_model_file

FILES = ("1/model.bin", "1/model.xml", "README.md", "config.pbtxt", "labels.txt")
TENSOR = r'(input|output) \[ \{ name: "(\w+)" data_type: TYPE_(\w+) dims: \[ ([-\d, ]+) \](.*) \} \]'


def tensors(config):
    """Read Triton's description: each tensor's kind, name, type, sides, and whether it has names."""
    found = re.findall(TENSOR, config)
    return [
        (kind, name, of, [int(side) for side in sides.split(",")], bool(named))
        for kind, name, of, sides, named in found
    ]


def served(folder, image):
    """Answer as the servers do: by OpenVINO alone, from the file that their configuration names."""
    run = openvino.Core().compile_model(folder / "1" / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.get_any_name(): values for port, values in run(np.ascontiguousarray(image[None])).items()}


def agree(folder, given, one_size):
    """Compare what Triton is told of a model's tensors with what the file gives."""
    config = (folder / "config.pbtxt").read_text()
    assert config.splitlines()[0] == f'name: "{folder.name}"'
    (kind, name, of, sides, _), *outputs = tensors(config)
    expected = ("UINT8", [-1, -1, -1, 3]) if one_size else ("FP32", [-1, 3, -1, -1])
    assert (kind, name, of, sides) == ("input", "images", *expected)
    assert [one[1] for one in outputs] == list(given) and [one[4] for one in outputs][1:] == [False] * (len(given) - 1)
    for kind, name, of, sides, _ in outputs:
        assert (kind, of, given[name].dtype) == ("output", "FP32", np.float32)
        assert all(told in (-1, real) for told, real in zip(sides, given[name].shape, strict=True)), name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "models"


@pytest.fixture
def repository(place):
    """Give a repository with the small model, made by the first test that asks."""
    if not place.exists():
        made = export(model(), "repository", place, calibrated=True)
        assert made.out == str(place / "small") and made.format == "repository" and made.deviation <= made.tolerance
    return place


def listed(root):
    return {
        one["config"]["name"]: one["config"]
        for one in json.loads((root / "config.json").read_text())["model_config_list"]
    }


def test_servers_find_their_layout_and_give_the_models_probabilities(repository):
    folder, image, predictor = repository / "small", pictures()[0], moganet.load(model())
    there = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    assert there == {"config.json", *(f"small/{name}" for name in FILES)}
    given, answer = served(folder, image), predictor(image, calibrated=True)[0]
    order = [predictor.class_names.index(name) for name in answer.names]
    assert np.allclose(given["probabilities"][0][order], answer.probabilities, atol=5e-3)
    agree(folder, given, one_size=True)
    assert (folder / "labels.txt").read_text().splitlines() == list(predictor.class_names)
    assert listed(repository)["small"] == {
        "name": "small",
        "base_path": "small",
        "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
    }
    assert moganet.load(folder / "1" / "model.xml")(image)[0].names == answer.names


def write_segmenter(path, names=("a", "b", "c", "d", "e")):
    network, description = segmenter("fpn")
    task = description.task.changed(class_names=names)
    save_model_file(path, network.state_dict(), description.changed(task=task))
    return path


def test_a_segmenter_beside_it_takes_prepared_images_of_any_size(repository, tmp_path):
    own, path = json.loads((repository / "config.json").read_text()), write_segmenter(tmp_path / "s.safetensors")
    (repository / "config.json").write_text(json.dumps({**own, "monitoring": {"metrics": {"enable": True}}}))
    made, folder = export(path, "repository", repository), repository / "s"
    assert not made.raw and made.size is None
    assert set(listed(repository)) == {"small", "s"} and "monitoring" in (repository / "config.json").read_text()
    x = scene(64, 96, 1)[0].numpy()
    given, expected = served(folder, x), moganet.load(path, "eager").outputs(x[None])
    assert np.abs(given["logits"] - expected["logits"]).max() < 1e-3 * expected["logits"].std()
    agree(folder, given, one_size=False)
    assert "multiples of 32" in (folder / "README.md").read_text()
    with pytest.raises(ConfigError, match="--calibrated is for --raw"):
        export(path, "repository", repository, calibrated=True)


def test_another_model_takes_a_place_only_where_it_is_told_to_and_names_are_data(tmp_path):
    names = ("two\nlines", "<img onerror>", '"', "\x1b[31m", "e")
    root, path = tmp_path / "models", tmp_path / 'ein "Modell" mit {{ 7 * 7 }}.safetensors'
    folder = root / "ein-Modell-mit-7-7"
    (folder / "1").mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        shutil.copy(exported("openvino").with_suffix(suffix), folder / "1" / f"model{suffix}")
    with pytest.raises(OutputError, match=r"is another: .*; choose another --out, or --overwrite"):
        export(write_segmenter(path, names), "repository", root)
    assert export(path, "repository", root, overwrite=True).out == str(folder)
    assert len((folder / "labels.txt").read_text().splitlines()) == len(names)
    assert tensors((folder / "config.pbtxt").read_text()) and {one.name for one in root.iterdir()} == {
        "config.json",
        folder.name,
    }
    (folder / "2").mkdir()
    (folder / "2" / "model.xml").touch()
    with pytest.raises(OutputError, match=r"holds 2/model\.xml, which would be lost"):
        export(path, "repository", root, overwrite=True)


@pytest.mark.parametrize("text", ["[]", "{", '{"model_config_list": [1]}', '{"model_config_list": {"a": 1}}'])
def test_a_list_that_is_none_is_left_alone(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(OutputError, match="is no list of OpenVINO Model Server"):
        export(model(), "repository", tmp_path)
    assert (tmp_path / "config.json").read_text() == text and len(list(tmp_path.iterdir())) == 1


def test_a_model_is_called_by_its_run_or_file(tmp_path):
    run = tmp_path / "Hunde & Katzen 1"
    run.mkdir()
    (run / "best.safetensors").touch()
    assert name_in_addresses(str(run)) == name_in_addresses(str(run / "best.safetensors")) == "Hunde-Katzen-1"
    assert name_in_addresses("x.pth.tar") == "x" and name_in_addresses("a b.v2.safetensors") == "a-b.v2"
    assert name_in_addresses("moganet_nano.digits") == "moganet_nano.digits"
    assert name_in_addresses("timm:resnet18@x") == "timm-resnet18-x" and name_in_addresses("漢字") == "model"


def test_images_of_any_size_need_no_option():
    with pytest.raises(ConfigError, match="leave --any-size out"):
        export(model(), "repository", any_size=True)
