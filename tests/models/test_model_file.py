"""A model file is a whole model, and says so when it is not."""

import json
import re
import struct
from pathlib import Path

import pytest
import torch
from conftest import MINI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.errors import WeightsError
from moganet.inference import ModelDescription, load_model_file, save_model_file
from moganet.models.fixtures import replay_fixtures
from moganet.models.make_fixtures import make_fixtures


@pytest.fixture
def model(tmp_path):
    network = moganet.build_network("nano", **MINI, in_chans=1, stem_stride=2, gate="double").eval()
    preprocessing = Preprocessing(size=16, channels=1, mean=0.5, std=0.25)
    images = [torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8) for _ in range(6)]
    description = ModelDescription(
        architecture=Architecture(name="moganet_nano", in_chans=1, stem_stride=2, gate="double", **MINI),
        preprocessing=preprocessing,
        class_names=tuple("abcdefghij"),
        provenance={"seed": 3, "größe": "α"},
        fixtures=make_fixtures(network, preprocessing, images),
    )
    path = tmp_path / "model.safetensors"
    save_model_file(path, network.state_dict(), description)
    return path, network, description


def test_it_brings_back_tensors_function_names_and_provenance(model):
    path, network, description = model
    state, loaded = load_model_file(path)
    assert loaded == description.changed(sha256=loaded.sha256)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    predictor = moganet.load(path)
    x = torch.randn(2, 1, 16, 16)
    assert torch.allclose(predictor.logits(x), network(x), atol=1e-5)
    assert predictor.class_names == description.class_names


def test_its_tensors_are_a_plain_state_dict(model):
    path, _, _ = model
    fresh = moganet.build_network("nano", **MINI, in_chans=1, stem_stride=2, gate="double")
    fresh.load_state_dict(load_file(path))


def test_its_fixtures_replay_within_rounding_and_catch_another_function(model):
    path, network, description = model
    assert len(description.fixtures) == 4
    predictor = moganet.load(path)
    assert replay_fixtures(predictor.config, predictor.outputs) < 1e-5
    other = moganet.build_network("nano", **MINI, in_chans=1, stem_stride=1).eval()
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert replay_fixtures(description, lambda x: {"logits": other(torch.from_numpy(x)).numpy()}) > 1e-3


def test_equal_models_make_equal_files(model, tmp_path):
    path, network, description = model
    save_model_file(tmp_path / "again.safetensors", network.state_dict(), description)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_one_flipped_bit_is_noticed(model):
    path, _, _ = model
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="hash"):
        moganet.load(path)


def test_a_file_of_another_kind_is_said(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="no MogaNet checkpoint"):
        moganet.load(tmp_path / "x.safetensors")


def test_a_description_that_lies_about_shapes_is_said(model):
    path, network, description = model
    lying = description.architecture.changed(depths=(1, 1, 3, 1), num_classes=7)
    save_model_file(path, network.state_dict(), description.changed(architecture=lying))
    with pytest.raises(WeightsError) as caught:
        moganet.load(path)
    assert "blocks3.2" in str(caught.value) and "head.weight is (10, 32), not (7, 32)" in str(caught.value)


def test_a_description_of_an_impossible_network_is_said(model):
    path, network, description = model
    lying = description.architecture.changed(name="moganet_nanx")
    save_model_file(path, network.state_dict(), description.changed(architecture=lying))
    with pytest.raises(WeightsError, match="can't be") as caught:
        moganet.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_ends_in_anything_but_a_model_or_one_line(model, tmp_path, data):
    path, _, _ = model
    content = bytearray(path.read_bytes())
    header = struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, header + 200))
        content[position] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        moganet.load(damaged)
    except WeightsError as error:
        assert "\n" not in str(error)


def test_metadata_is_json_that_others_can_read(model):
    path, _, _ = model
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    description = json.loads(header["__metadata__"]["moganet"])
    assert description["task"]["class_names"][0] == "a" and description["architecture"]["gate"] == "double"


def test_the_page_about_the_file_runs_as_it_stands(capsys):
    page = Path(__file__).parents[2] / "docs" / "model-file.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, str(page), "exec"), {"__name__": "model_file"})
    said = capsys.readouterr().out
    assert "version, architecture, preprocessing, task, provenance, sha256, fixtures, seal" in said
    keys = said.splitlines()[0].partition("; ")[2].split(", ")
    assert all(f"| `{key}` |" in page.read_text(encoding="utf-8") for key in keys)
