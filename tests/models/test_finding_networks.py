"""A network is found wherever people keep one, and what a file does not say is said to be a guess."""

import argparse
import warnings

import pytest
import torch
from conftest import GOLDEN
from safetensors.torch import save_file

import moganet
from moganet.errors import ConfigError, WeightsError
from moganet.inference import read_model
from moganet.models.choices import Choices
from moganet.notices import listening

STATE = torch.load(GOLDEN / "mini_official.pth.tar", weights_only=True)["state_dict"]
EMA = {name: tensor + 1 if name == "head.bias" else tensor for name, tensor in STATE.items()}
HEADLESS = {name: tensor for name, tensor in STATE.items() if not name.startswith("head.")}
PREFIXES = (
    *("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "student.", "my_own.part."),
    *("module._orig_mod.", "model._orig_mod.", "module.backbone."),
)
KEYS = (
    (),
    ("state_dict",),
    ("model",),
    ("model_state",),
    ("net",),
    ("checkpoint", "model_state_dict"),
    ("a", "b", "c"),
)


def under(keys, state):
    for key in reversed(keys):
        state = {key: state, "epoch": 3}
    return state


def read(path, **choices):
    with listening() as heard:
        contents = read_model(path, Choices(**choices))
    return contents, "\n".join(heard)


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
@pytest.mark.parametrize("keys", KEYS, ids="/".join)
def test_it_is_found_under_any_keys_and_prefix_single_gated(keys, prefix, tmp_path):
    torch.save(under(keys, {prefix + name: tensor for name, tensor in STATE.items()}), tmp_path / "x.pth")
    contents, heard = read(tmp_path / "x.pth")
    assert contents.state.keys() == STATE.keys() and contents.description.architecture.gate == "single"
    assert "guess" in heard and "--gate" in heard
    if prefix not in ("", "module.", "_orig_mod.", "module._orig_mod."):
        assert repr("/".join((*keys, prefix + "*"))) in heard


def test_safetensors_and_compiled_parts_too(tmp_path):
    save_file({f"net.{name}": tensor for name, tensor in STATE.items()}, tmp_path / "x.safetensors")
    assert read(tmp_path / "x.safetensors")[0].state.keys() == STATE.keys()
    inner = {name.replace("blocks2.", "blocks2._orig_mod."): tensor for name, tensor in STATE.items()}
    torch.save(inner, tmp_path / "x.pth")
    assert read(tmp_path / "x.pth")[0].state.keys() == STATE.keys()


def test_what_lies_beside_is_counted(tmp_path):
    lightning = {f"model.{name}": tensor for name, tensor in STATE.items()} | {"criterion.weight": torch.ones(3)}
    torch.save({"state_dict": lightning, "pytorch-lightning_version": "2.6"}, tmp_path / "x.ckpt")
    _, heard = read(tmp_path / "x.ckpt")
    assert "passed over beside it: 1 tensor (criterion.weight)" in heard


@pytest.mark.parametrize(
    ("beside", "gate", "known_as", "guess"),
    [
        ({"head.fc.weight": STATE["head.weight"], "head.fc.bias": STATE["head.bias"]}, "double", "openmixup", False),
        ({}, "double", "openmixup", True),
        ({"ema_backbone_norm1_weight": torch.ones(8)}, "double", "openmixup", True),
        ({"head.weight": STATE["head.weight"]}, "single", "timm", True),
        ({"classifier.1.weight": torch.ones(3, 32)}, "single", "timm", True),
        (
            {"backbone.head.weight": STATE["head.weight"], "backbone.head.bias": STATE["head.bias"]},
            "single",
            "timm",
            True,
        ),
    ],
)
@pytest.mark.parametrize("outer", ["", "module."])
def test_only_openmixups_own_head_or_nothing_means_openmixup(beside, gate, known_as, guess, outer, tmp_path):
    state = {f"backbone.{name}": tensor for name, tensor in HEADLESS.items()} | beside
    torch.save({"state_dict": {outer + name: tensor for name, tensor in state.items()}}, tmp_path / "x.pth")
    contents, heard = read(tmp_path / "x.pth")
    assert (contents.description.architecture.gate, contents.chosen["format"]) == (gate, known_as)
    assert ("gate" in contents.chosen["guessed"]) is guess and ("--gate" in heard) is guess
    other = "single" if gate == "double" else "double"
    chosen, _ = read(tmp_path / "x.pth", gate=other)
    assert chosen.description.architecture.gate == other and "gate" not in chosen.chosen["guessed"]


@pytest.mark.parametrize(
    "keys", [("state_dict_ema",), ("ema",), ("model_ema", "module"), ("ema_state_dict",)], ids="/".join
)
def test_of_two_kinds_one_is_taken_as_a_guess_and_the_other_on_demand(keys, tmp_path):
    content = {"state_dict": STATE, **under(keys, EMA), "args": argparse.Namespace(model_ema=True)}
    torch.save({**content, "arch": "moganet_xtiny"}, tmp_path / "x.pth.tar")
    contents, heard = read(tmp_path / "x.pth.tar")
    assert contents.chosen["weights"] == "plain" and "the published accuracy" not in heard and "--weights" in heard
    contents, heard = read(tmp_path / "x.pth.tar", weights="ema")
    taken = contents.state["head.bias"]
    assert torch.equal(taken, EMA["head.bias"])


def test_ema_weights_alone_are_ema_weights(tmp_path):
    torch.save({"model_ema": EMA}, tmp_path / "x.pth")
    assert read(tmp_path / "x.pth")[0].chosen["weights"] == "ema"
    with pytest.raises(WeightsError, match="no plain weights"):
        read(tmp_path / "x.pth", weights="plain")


def test_two_networks_of_a_kind_are_refused_by_their_places(tmp_path):
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in STATE.items()}
    torch.save(both, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"'student\.\*', 'teacher\.\*'"):
        read(tmp_path / "x.pth")


class Own(torch.nn.Module):
    """Stands for a module that was saved whole."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: Own(), r"state_dict\(\)"),
        (lambda: {"model": Own()}, r"state_dict\(\)"),
        (lambda: {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}, "optimizer"),
    ],
)
def test_what_is_no_state_dict_names_the_remedy(content, said, tmp_path):
    torch.save(content(), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=said):
        read(tmp_path / "x.pth")


def test_other_archives_and_pointers_name_the_remedy(tmp_path):
    import numpy as np

    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "x.pt"))
    (tmp_path / "x.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n")
    for name, said in (("x.npz", "numpy"), ("x.pt", "TorchScript"), ("x.safetensors", "git lfs pull")):
        with pytest.raises(WeightsError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("name", ["head.bias", "norm2.running_mean", "blocks1.0.mlp.fc1.weight"])
def test_weights_that_are_not_finite_are_refused_with_name_and_count(value, name, tmp_path):
    broken = {n: t.clone().double() if t.is_floating_point() else t for n, t in STATE.items()}
    broken[name].view(-1)[:2] = value
    torch.save(broken, tmp_path / "x.pth")
    for door in (moganet.load, moganet.info, lambda path: moganet.convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(WeightsError, match=f"2 of the [0-9,]+ values of {name}"):
            door(tmp_path / "x.pth")
    network = moganet.build_network("xtiny", embed_dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_classes=10)
    with pytest.raises(WeightsError, match=name):
        network.load_pretrained(str(tmp_path / "x.pth"))


def test_a_negative_variance_is_refused_and_large_half_sums_are_not(tmp_path):
    torch.save({**STATE, "norm2.running_var": -torch.ones(16)}, tmp_path / "x.pth")
    if "norm2.running_var" in STATE:
        with pytest.raises(WeightsError, match="negative"):
            read(tmp_path / "x.pth")
    halves = {n: t.half() if t.is_floating_point() else t for n, t in STATE.items()}
    halves["head.weight"] = torch.full_like(halves["head.weight"], 60000)  # their sum is beyond float16
    torch.save(halves, tmp_path / "y.pth")
    read(tmp_path / "y.pth")


@pytest.mark.parametrize("choice", [{"num_classes": 10**9}, {"in_chans": 10**9}])
def test_no_choice_takes_all_memory(choice, tmp_path):
    with pytest.raises(ConfigError, match="at most"):
        Choices(**choice)


def test_weights_whose_answers_overflow_are_refused_when_they_answer(tmp_path):
    torch.save({**STATE, "head.weight": torch.full_like(STATE["head.weight"], 3e38)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="answers NaN or infinity"):
        moganet.load(tmp_path / "x.pth").logits(torch.randn(1, 3, 64, 64))
