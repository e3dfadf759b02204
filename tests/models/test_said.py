"""What a foreign file says of itself is read or said to be passed over; what it does not say is said to be a guess."""

import json

import pytest
import torch
from conftest import MINI, fill
from safetensors.torch import save_file

import moganet
from moganet.errors import OutputError, WeightsError
from moganet.notices import listening

CONFIG = {
    "architecture": "moganet_xtiny",
    "num_classes": MINI["num_classes"],
    "model_args": {key: MINI[key] for key in ("embed_dims", "depths", "mlp_ratios")},
    "pretrained_cfg": {
        "input_size": [3, 64, 64],
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": [0.5] * 3,
        "std": [0.4] * 3,
    },
    "label_names": list("abcdefghij"),
}


@pytest.fixture(scope="module")
def state():
    return fill(moganet.build_network("xtiny", **MINI).state_dict())


def hub(folder, state, **changed):
    config = {**CONFIG, **changed}
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def loaded(path):
    with listening() as heard:
        return moganet.load(path, "eager").config, " ".join(heard)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.bool, torch.int64])
def test_whole_numbers_are_no_weights(kind, state, tmp_path):
    changed = {**state, "head.weight": state["head.weight"].to(kind)}
    torch.save(changed, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"1 \(head.weight\) of its tensors hold torch.* floats"):
        moganet.load(tmp_path / "m.pth", "eager")


def test_a_file_whose_end_is_zeros_is_said(state, tmp_path):
    save_file(state, tmp_path / "m.safetensors")
    content = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    assert "tensors hold only zeros" in loaded(tmp_path / "m.safetensors")[1]
    assert "zeros" not in loaded(hub(tmp_path / "hub", state))[1]


@pytest.mark.parametrize("key", ["class_to_idx", "classes", "names", "args", "hyper_parameters", "img_size"])
def test_what_may_say_more_is_named(key, state, tmp_path):
    torch.save({"state_dict": state, "epoch": 3, key: {"a": 0}, "label_map": None}, tmp_path / "m.pth")
    assert f"may say it under {key}, which is not read" in loaded(tmp_path / "m.pth")[1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_args": {**CONFIG["model_args"], "act_layer": "relu"}}, "sets act_layer in model_args"),
        ({"num_classes": 9}, "says 9 classes, but its head has 10"),
        ({"model_args": {}}, "says that it is a moganet_xtiny, but its tensors have other"),
        ({"pretrained_cfg": {"input_size": [3, 64, 64]}}, "crop_pct 0.875, interpolation bicubic, mean (0.485"),
        ({"label_names": ["a", None]}, "label_names that is no list of names"),
        ({}, ""),
    ],
)
def test_a_configuration_that_does_not_fit_is_said(changed, said, state, tmp_path):
    heard = loaded(hub(tmp_path / "hub", state, **changed))[1]
    assert said in heard
    assert heard.count(";") <= 3


def test_a_configuration_is_read_in_each_of_its_forms(state, tmp_path):
    flat = {**CONFIG["pretrained_cfg"], "pretrained_cfg": None, "label_names": None}
    numbered = {str(number): name for number, name in enumerate("abcdefghij")}
    plain, _ = loaded(hub(tmp_path / "plain", state))
    other, heard = loaded(hub(tmp_path / "flat", state, **flat, id2label=numbered))
    assert (other.preprocessing, other.class_names) == (plain.preprocessing, plain.class_names)
    assert "guess" not in heard
    (tmp_path / "flat" / "config.json").write_text("\ufeff" + json.dumps(CONFIG), "utf-8")
    assert loaded(tmp_path / "flat")[0].preprocessing == plain.preprocessing


def test_nobodys_folder_is_written_over(state, tmp_path):
    model = hub(tmp_path / "hub", state)
    (tmp_path / "mine").mkdir()
    for name, text in (("README.md", "mine"), ("config.json", "{}")):
        path = tmp_path / "mine" / name
        path.write_text(text)
        with pytest.raises(OutputError, match="would be replaced"):
            moganet.push(model, "user/mine", tmp_path / "mine")
        assert path.read_text() == text
        path.unlink()
    moganet.push(model, "user/mine", tmp_path / "mine")
    assert any("is replaced" in note for note in moganet.push(model, "user/mine", tmp_path / "mine")["notes"])
