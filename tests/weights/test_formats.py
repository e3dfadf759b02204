"""Released checkpoints are recognised by their contents, and nothing in them runs."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from conftest import GOLDEN, MINI

from moganet.errors import WeightsError
from moganet.weights import FORMATS, architecture_of, read_checkpoint

FILES = {"official": "mini_official.pth.tar", "openmixup": "mini_openmixup.pth", "paddle": "mini_paddle.pdparams"}
FUNCTIONS = {
    "official": ("single", "reference"),
    "openmixup": ("double", "reference"),
    "paddle": ("single", "paddle"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_format_function_and_shape_are_read_off_the_contents(name, tmp_path):
    path = shutil.copy(GOLDEN / FILES[name], tmp_path / "weights.bin")
    checkpoint = read_checkpoint(path)
    assert checkpoint.format == name
    assert (checkpoint.gate, checkpoint.channel_aggregation) == FUNCTIONS[name]
    architecture = architecture_of(checkpoint)
    assert architecture.embed_dims == MINI["embed_dims"] and architecture.depths == MINI["depths"]
    assert architecture.mlp_ratios == MINI["mlp_ratios"]
    assert (architecture.num_classes, architecture.in_chans) == (10, 3)
    assert checkpoint.gate in checkpoint.reason or name == "paddle"


@pytest.mark.parametrize(
    ("arch", "asked", "taken"),
    [
        ("moganet_xtiny", None, "plain"),
        ("moganet_tiny", None, "plain"),
        ("moganet_small", None, "ema"),
        ("moganet_xtiny", "ema", "ema"),
        ("moganet_small", "plain", "plain"),
    ],
)
def test_the_weights_of_the_published_accuracy_are_taken(arch, asked, taken, tmp_path):
    content = torch.load(GOLDEN / FILES["official"], weights_only=True)
    torch.save({**content, "arch": arch}, tmp_path / "x.pth.tar")
    checkpoint = read_checkpoint(tmp_path / "x.pth.tar", asked)
    assert checkpoint.weights == taken
    expected = content["state_dict_ema" if taken == "ema" else "state_dict"]
    assert torch.equal(checkpoint.state["head.weight"], expected["head.weight"])


def test_single_gated_openmixup_releases_are_told_by_their_names(tmp_path):
    name = "moga_small_sz224_8xb128_no_forcefp32_ep300.pth"
    checkpoint = read_checkpoint(shutil.copy(GOLDEN / FILES["openmixup"], tmp_path / name))
    assert checkpoint.gate == "single"


class Exploit:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("container", ["torch", "pickle"])
def test_a_file_that_would_run_code_is_refused(container, tmp_path):
    trap, file = tmp_path / "ran", tmp_path / "weights"
    if container == "torch":
        torch.save({"state_dict": Exploit(trap)}, file)
    else:
        file.write_bytes(pickle.dumps({"patch_embed1.proj.0.weight": Exploit(trap)}))
    with pytest.raises(WeightsError, match="nothing was run"):
        read_checkpoint(file)
    assert not trap.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps([1, 2]), pickle.dumps({"a": np.zeros(3)}), b"PK\x05\x06" + b"\0" * 18],
    ids=["empty", "text", "a list", "other arrays", "an empty zip"],
)
def test_foreign_files_give_one_line(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert len(str(caught.value).splitlines()) == 1 and "x.pth" in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files_give_one_line(name, tmp_path):
    whole = (GOLDEN / FILES[name]).read_bytes()
    for length in (10, 1000, len(whole) // 2, len(whole) - 10):
        (tmp_path / "x").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_checkpoint(tmp_path / "x")


def test_a_missing_file_is_named():
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        read_checkpoint(GOLDEN / "nowhere.pth")


def test_another_networks_tensors_are_named(tmp_path):
    checkpoint = read_checkpoint(GOLDEN / FILES["official"])
    broken = {k: v for k, v in checkpoint.state.items() if not k.startswith("patch_embed3")}
    torch.save({"state_dict": broken, "arch": "moganet_xtiny"}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="patch_embed3"):
        architecture_of(read_checkpoint(tmp_path / "x.pth"))
