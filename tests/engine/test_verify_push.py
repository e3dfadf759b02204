"""`verify` notices one flipped bit anywhere; `push` makes a folder that timm reads, and uploads it with a token."""

import json
import struct

import huggingface_hub
import pytest
import timm
import torch
from conftest import GOLDEN, golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import moganet
from moganet.errors import ConfigError, OutputError, WeightsError
from moganet.models.formats.ours import load_model_file, save_model_file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "model.safetensors"
    moganet.convert(GOLDEN / "mini_official.pth.tar", path)
    return path


def test_a_converted_file_brings_fixtures_that_replay(model):
    result = moganet.verify(model)
    assert result["ok"] and result["fixtures"] == 4 and 0 <= result["max_deviation"] < 1e-4
    assert moganet.verify(model, tolerance=0.0)["max_deviation"] == result["max_deviation"]


def test_its_tensors_are_the_plain_state_dict(model):
    state = torch.load(GOLDEN / "mini_official.pth.tar", weights_only=True)["state_dict"]
    read = load_file(model)
    assert read.keys() == state.keys() and all(torch.equal(read[name], tensor) for name, tensor in state.items())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_flipped_bit_fails_it(data, model, tmp_path):
    content = bytearray(model.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    place = data.draw(st.one_of(st.integers(0, header - 1), st.integers(header, len(content) - 1)))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        moganet.verify(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_another_function_under_the_same_tensors_fails_it(model, tmp_path):
    """A file whose hash and description agree, but which computes something else, is told by its fixtures."""
    state, description = load_model_file(model)
    other = description.architecture.changed(gate="double")
    save_model_file(tmp_path / "x.safetensors", state, description.changed(architecture=other))
    result = moganet.verify(tmp_path / "x.safetensors")
    assert not result["ok"] and result["max_deviation"] > result["limit"]


@pytest.mark.parametrize("change", [{"png": "no picture"}, {"logits": (1.0,)}])
def test_fixtures_that_can_not_be_replayed_are_said(change, model, tmp_path):
    state, description = load_model_file(model)
    odd = description.fixtures[0].changed(**change)
    save_model_file(tmp_path / "x.safetensors", state, description.changed(fixtures=(odd,)))
    with pytest.raises(WeightsError, match="fixture"):
        moganet.verify(tmp_path / "x.safetensors")


def test_a_file_that_records_nothing_says_how_to_make_it(tmp_path):
    with pytest.raises(WeightsError, match="moganet convert"):
        moganet.verify(GOLDEN / "mini_official.pth.tar")


def test_a_run_is_verified_by_its_best_weights(trained_run):
    result = moganet.verify(trained_run)
    assert result["ok"] and result["fixtures"] == 4 and result["max_deviation"] < 1e-4


@pytest.fixture
def no_token(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)


def test_push_without_a_token_makes_the_folder(no_token, tmp_path):
    result = moganet.push(GOLDEN / "mini_openmixup.pth", "somebody/mini", tmp_path / "hub")
    assert not result["uploaded"] and sorted(p.name for p in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    values = golden("mini_double_gate_expected")
    network = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    assert (network(values["input"]) - values["logits"]).abs().max() < 1e-5
    assert moganet.verify(tmp_path / "hub")["ok"]
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "double gate" in card and "Not measured" in card and "somebody/mini" in card


def test_the_card_holds_what_was_measured_of_these_weights(no_token, trained_run, tmp_path):
    measured = moganet.evaluate(trained_run)
    moganet.push(trained_run, "somebody/digits", tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert f"top-1 {100 * measured['top1']:.2f} %" in card and "measured by `moganet evaluate`" in card
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert config["label_names"] == [str(i) for i in range(10)]
    moganet.push(trained_run / "last.ckpt", "somebody/digits", tmp_path / "other")
    assert "measured by `moganet evaluate`" not in (tmp_path / "other" / "README.md").read_text()


def test_push_uploads_the_folder_where_a_token_is(monkeypatch, tmp_path):
    calls = []

    class Hub:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, repo, private, exist_ok):
            calls.append((repo, private, exist_ok))
            return f"https://hub/{repo}"

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            calls.append((repo_id, sorted(p.name for p in folder_path.iterdir()), sorted(allow_patterns)))

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    result = moganet.push(GOLDEN / "mini_official.pth.tar", "somebody/mini", tmp_path / "hub", private=True)
    files = ["README.md", "config.json", "model.safetensors"]
    assert calls == ["a token", ("somebody/mini", True, True), ("somebody/mini", files, files)]
    assert result["uploaded"] and result["url"] == "https://hub/somebody/mini"


def test_a_hub_that_refuses_is_one_line_and_the_folder_stays(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    real = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: real("http://127.0.0.1:9", token=token))
    with pytest.raises(OutputError, match="can't be uploaded") as caught:
        moganet.push(GOLDEN / "mini_official.pth.tar", "somebody/mini", tmp_path / "hub")
    assert "\n" not in str(caught.value) and (tmp_path / "hub" / "model.safetensors").exists()


def test_a_name_that_the_hub_can_not_have_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no name on the hub"):
        moganet.push(GOLDEN / "mini_official.pth.tar", "a/b/c", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
