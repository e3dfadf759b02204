"""Released checkpoints are recognised by their contents, and what they leave open can be chosen."""

import json
import shutil
from dataclasses import replace

import pytest
import timm
import torch
from conftest import GOLDEN, MINI, golden
from safetensors.torch import save_file
from timm.models import save_for_hf

import moganet
from moganet.errors import ConfigError, WeightsError
from moganet.models.choices import Choices
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of
from moganet.network import VARIANTS

FILES = {"official": "mini_official.pth.tar", "openmixup": "mini_openmixup.pth", "paddle": "mini_paddle.pdparams"}
FUNCTIONS = {
    "official": ("single", "reference"),
    "openmixup": ("double", "reference"),
    "dense": ("single", "reference"),
    "paddle": ("single", "paddle"),
    "timm": ("single", "reference"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A mini file of every format, by its name; those without a head are `dense` and `backbone`."""
    folder = tmp_path_factory.mktemp("formats")
    state = torch.load(GOLDEN / FILES["official"], weights_only=True)["state_dict"]
    made = {name: shutil.copy(GOLDEN / file, folder / f"{name}.bin") for name, file in FILES.items()}
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    dense = {f"backbone.{name}": tensor for name, tensor in headless.items()}
    dense |= {"neck.lateral_convs.0.conv.weight": torch.zeros(4, 8, 1, 1), "decode_head.conv_seg.bias": torch.zeros(3)}
    contents = {
        "dense": {"meta": {"epoch": 12}, "state_dict": dense, "optimizer": {"state": {0: {"step": 1}}}},
        "timm": dict(state),
        "timm under model": {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        "backbone": headless,
        "openmixup backbone": {"state_dict": {f"backbone.{name}": tensor for name, tensor in headless.items()}},
        "openmixup with buffers": {
            "state_dict": {
                **torch.load(GOLDEN / FILES["openmixup"], weights_only=True)["state_dict"],
                "ema_backbone_norm1_weight": torch.zeros(8),
            }
        },
    }
    for name, content in contents.items():
        made[name] = folder / f"{name}.bin"
        torch.save(content, made[name])
    made["legacy"] = folder / "legacy.bin"
    torch.save({"arch": "moganet_xtiny", "state_dict": state}, made["legacy"], _use_new_zipfile_serialization=False)
    made["safetensors"] = folder / "plain.bin"
    save_file(state, made["safetensors"])
    return made


@pytest.mark.parametrize("name", FUNCTIONS)
def test_format_function_and_shape_are_read_off_the_contents(name, files):
    checkpoint = read_checkpoint(files[name])
    assert checkpoint.format == name
    assert (checkpoint.gate, checkpoint.channel_aggregation) == FUNCTIONS[name]
    architecture = architecture_of(checkpoint)
    assert architecture.embed_dims == MINI["embed_dims"] and architecture.depths == MINI["depths"]
    assert architecture.mlp_ratios == MINI["mlp_ratios"]
    assert (architecture.num_classes, architecture.in_chans) == (0 if name == "dense" else 10, 3)
    for part in (f"{checkpoint.weights} weights", f"{checkpoint.gate} gate", checkpoint.channel_aggregation):
        assert part in checkpoint.reason


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("timm under model", "timm"),
        ("backbone", "timm"),
        ("openmixup backbone", "openmixup"),
        ("openmixup with buffers", "openmixup"),
        ("legacy", "official"),
        ("safetensors", "timm"),
    ],
)
def test_forms_of_the_same_weights_are_known_too(name, known_as, files):
    checkpoint = read_checkpoint(files[name])
    assert checkpoint.format == known_as
    whole = torch.load(GOLDEN / FILES["official"], weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, whole[key]) for key, tensor in checkpoint.state.items())
    assert len(checkpoint.state) == len(whole) - ("backbone" in name) * 2


def test_a_backbone_gives_features_or_a_new_head(files):
    x = golden("mini_single_gate_expected")["input"]
    assert moganet.load(files["dense"]).logits(x).shape == (2, 32)
    predictor = moganet.load(files["backbone"], num_classes=4)
    assert predictor.logits(x).shape == (2, 4) and "starts anew" in predictor.config.provenance["reason"]


@pytest.mark.parametrize(
    ("arch", "asked", "taken"),
    [
        ("moganet_xtiny", None, "plain"),
        ("moganet_tiny", None, "plain"),
        ("moganet_small", None, "ema"),
        (None, None, "ema"),  # by its shapes it is no variant
        ("moganet_xtiny", "ema", "ema"),
        ("moganet_small", "plain", "plain"),
    ],
)
def test_the_weights_of_the_published_accuracy_are_taken(arch, asked, taken, tmp_path):
    content = torch.load(GOLDEN / FILES["official"], weights_only=True)
    torch.save({**content, "arch": arch}, tmp_path / "x.pth.tar")
    checkpoint = read_checkpoint(tmp_path / "x.pth.tar", Choices(weights=asked))
    assert checkpoint.weights == taken
    expected = content["state_dict_ema" if taken == "ema" else "state_dict"]
    assert torch.equal(checkpoint.state["head.weight"], expected["head.weight"])


@pytest.mark.parametrize("name", ["openmixup", "paddle", "timm", "dense", "legacy"])
def test_weights_that_are_not_there_are_said(name, files):
    with pytest.raises(WeightsError, match="no EMA weights"):
        read_checkpoint(files[name], Choices(weights="ema"))


@pytest.mark.parametrize(
    "name", ["moga_small_sz224_8xb128_no_forcefp32_ep300.pth", "moga_large_sz224_8xb64_accu2_ep300.pth"]
)
def test_single_gated_openmixup_releases_are_told_by_their_names(name, tmp_path):
    checkpoint = read_checkpoint(shutil.copy(GOLDEN / FILES["openmixup"], tmp_path / name))
    assert checkpoint.gate == "single"


@pytest.mark.parametrize("name", FILES)
def test_every_choice_replaces_the_files_own_and_is_recorded(name, files, caplog):
    caplog.set_level("INFO", "moganet")
    asked = {"gate": "double", "channel_aggregation": "paddle", "stem_stride": 2, "num_classes": 5, "in_chans": 1}
    predictor = moganet.load(files[name], **asked)
    assert {key: getattr(predictor.config.architecture, key) for key in asked} == asked
    assert predictor.model.gate == "double" and predictor.model.stem_stride == 2
    assert predictor.logits(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    said = [record for record in caplog.records if "does not say" not in record.message]
    assert len(said) == 1 and all("\n" not in record.message for record in caplog.records)
    for part in ("as asked", "5 classes instead of 10", "from 3 to 1 channels", "stem_stride 2"):
        assert part in caplog.text and part in predictor.config.provenance["reason"]


def test_a_stem_is_adapted_as_timm_does(files):
    weight = read_checkpoint(files["official"]).state["patch_embed1.projection.0.weight"]
    assert torch.allclose(
        moganet.load(files["official"], in_chans=1).model.patch_embed1.projection[0].weight, weight.sum(1, keepdim=True)
    )
    four = moganet.load(files["official"], in_chans=4).model.patch_embed1.projection[0].weight
    assert torch.allclose(four[:, 3], weight[:, 0] * 3 / 4)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"weights": "best"}, "plain, ema"),
        ({"gate": "triple"}, "single, double"),
        ({"stem_stride": 3}, "4, 2, 1"),
        ({"num_classes": -1}, "at least 0"),
        ({"stride": 3}, "stem_stride"),
    ],
)
def test_a_choice_that_does_not_exist_names_those_that_do(choice, said, files):
    with pytest.raises(ConfigError, match=said):
        moganet.load(files["official"], **choice)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_told_by_its_shapes(name, tmp_path):
    with torch.device("meta"):
        shapes = moganet.build_network(name, num_classes=7, in_chans=1).state_dict()
    state = {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in shapes.items()}
    read = read_checkpoint(GOLDEN / FILES["official"])
    architecture = architecture_of(replace(read, state=state))
    assert (architecture.name, architecture.num_classes, architecture.in_chans) == (name, 7, 1)


def test_ratios_that_are_no_round_numbers_give_the_same_width():
    read = read_checkpoint(GOLDEN / FILES["official"])
    for dim, hidden in ((24, 29), (96, 29), (7, 30), (48, 47)):
        state = {**read.state, "blocks3.0.mlp.fc1.weight": torch.zeros(hidden, dim, 1, 1)}
        state["patch_embed3.projection.weight"] = torch.zeros(dim, 16, 3, 3)
        assert int(dim * architecture_of(replace(read, state=state)).mlp_ratios[2]) == hidden


def test_a_hub_folder_of_timms_making_is_read_with_its_function(tmp_path):
    network = timm.create_model("moganet_nano", **MINI, in_chans=1, gate="double", stem_stride=2).eval()
    config = {"label_names": list("abcdefghij"), "model_args": {**MINI, "in_chans": 1, "gate": "double"}}
    config["model_args"] = {k: list(v) if isinstance(v, tuple) else v for k, v in config["model_args"].items()}
    config["model_args"]["stem_stride"] = 2
    save_for_hf(network, tmp_path / "hub", model_config=config, safe_serialization=True)
    predictor = moganet.load(tmp_path / "hub")
    x = torch.randn(2, 1, 48, 48)
    assert torch.allclose(predictor.logits(x), network(x), atol=1e-5)
    assert predictor.class_names == tuple("abcdefghij") and predictor.config.architecture.name == "moganet_nano"
    again = moganet.load(tmp_path / "hub" / "model.safetensors")  # the file in the folder means the folder
    assert again.config.architecture.gate == "double"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "JSON"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "JSON"),
        (json.dumps({"architecture": "resnet50"}), "no variant of MogaNet"),
        (json.dumps({"architecture": "moganet_nano", "model_args": {"gate": "triple"}}), "can't be"),
        (json.dumps({"architecture": "moganet_nano", "model_args": {"global_pool": "max"}}), "global_pool"),
        (json.dumps({"architecture": "moganet_nano", "model_args": {"depths": [10**9] * 4}}), "can't be"),
        (json.dumps({"architecture": "moganet_nano", "model_args": {"depths": [1000] * 4}}), "blocks"),
        (json.dumps({"architecture": "moganet_nano", "pretrained_cfg": {"input_size": 3}}), "can't be"),
    ],
)
def test_a_hub_folder_with_an_odd_configuration_is_said(config, said, files, tmp_path):
    (tmp_path / "config.json").write_text(config)
    shutil.copy(files["safetensors"], tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=said) as caught:
        moganet.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        read_checkpoint(GOLDEN / "nowhere.pth")
