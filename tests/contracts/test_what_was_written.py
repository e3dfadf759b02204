"""What is read back is checked to be what was written: one flipped bit in any file of ours, and one line says so."""

import json
import random
import shutil
import zipfile

import numpy as np
import pytest
import torch
from conftest import MINI
from safetensors.torch import save_file

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.errors import MogaNetError, OutputError, WeightsError
from moganet.inference import ModelDescription, load_model_file, save_model_file
from moganet.models.description import DESCRIPTION_KEY, SEAL, describe_as_json, seal_of
from moganet.notices import listening

FORMATS = {"model": "x.safetensors", "hub": "hub", "official": "x.pth.tar", "paddle": "x.pdparams"}
FLIPS = 50


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One trained network's file in every format that `convert` writes, and what it came from."""
    folder = tmp_path_factory.mktemp("written")
    torch.manual_seed(0)
    network = moganet.build_network("nano", **MINI, gate="double").eval()
    place = folder / "private" / "flowers"
    description = ModelDescription(
        architecture=Architecture(name="moganet_nano", gate="double", in_chans=3, **MINI),
        preprocessing=Preprocessing(size=32),
        class_names=("a", "é", "[other]", "line\nbreak", "\udce9", *"fghij"),
        provenance={
            "data": f"folder:{place}",
            "recipe": {
                "data": {"source": f"table:{place}.csv?root={place}&label=x"},
                "start": {"model": str(place / "best.safetensors")},
                "loss": {"teacher": str(place / "teacher.pth")},
            },
            "anything": [f"{place}/else", "~/secret/file"],
        },
    )
    save_model_file(folder / "source.safetensors", network.state_dict(), description)
    for target, name in FORMATS.items():
        moganet.convert(folder / "source.safetensors", folder / name, target)
    return folder


def tensors_of(path):
    return path / "model.safetensors" if path.is_dir() else path


@pytest.mark.parametrize("target", FORMATS)
def test_a_flipped_bit_is_noticed_wherever_it_is(target, written, tmp_path):
    path = tmp_path / FORMATS[target]
    (shutil.copytree if (written / FORMATS[target]).is_dir() else shutil.copy)(written / FORMATS[target], path)
    file, draw = tensors_of(path), random.Random(0)
    whole = file.read_bytes()
    before = moganet.load(path).config
    for number in range(FLIPS):
        content = bytearray(whole)
        # Every other one near an end, where names and the description lie.
        reach = (0, len(whole)) if number % 2 else draw.choice([(0, 6000), (len(whole) - 6000, len(whole))])
        position = draw.randrange(*reach)
        content[position] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        try:
            after = moganet.load(path).config
        except WeightsError as error:
            assert "\n" not in str(error)
            continue
        # Of an archive's padding and dates nothing hangs, nor of a digit beyond those that a number has.
        assert after == before and not np.array_equal(content, whole)
        if target == "official":
            with zipfile.ZipFile(file) as archive:
                assert archive.testzip() is None


@pytest.mark.parametrize("target", FORMATS)
def test_names_come_back_as_they_were_and_places_do_not(target, written):
    path = written / FORMATS[target]
    config = moganet.load(path).config
    assert config.class_names == ("a", "é", "[other]", "line\nbreak", "\udce9", *"fghij")
    for file in path.iterdir() if path.is_dir() else [path]:
        content = file.read_bytes()
        for secret in (str(written), "private", "secret"):
            assert secret.encode() not in content, (file, secret)
    assert config.provenance["recipe"] == {
        "data": {"source": "table:flowers.csv?root=flowers&label=x"},
        "start": {"model": "best.safetensors"},
        "loss": {"teacher": "teacher.pth"},
    }


def test_a_card_and_a_hub_folder_hold_no_places(written, tmp_path):
    moganet.push(written / "x.safetensors", "user/name", tmp_path / "pushed")
    for file in (tmp_path / "pushed").iterdir():
        assert str(written).encode() not in file.read_bytes()


def test_a_description_that_lies_elsewhere_is_noticed(written, tmp_path):
    content = (written / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(content.replace(b'"moganet":', b'"moganeu":', 1))
    with pytest.raises(WeightsError, match="not where it was written"):
        moganet.load(tmp_path / "x.safetensors")


def test_a_configuration_that_says_otherwise_is_said(written, tmp_path):
    shutil.copytree(written / "hub", tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    with listening() as heard:
        moganet.load(tmp_path / "hub")
    assert not any("differs" in line for line in heard)
    (tmp_path / "hub" / "config.json").write_text(json.dumps({**config, "label_names": list("0123456789")}))
    with listening() as heard:
        moganet.load(tmp_path / "hub")
    assert any("differs" in line and "label_names" in line for line in heard)


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ("a",) * 9},
        {"class_names": tuple(map(str, range(100_000)))},
        {"class_names": ()},
        {"temperature": float("nan")},
        {"temperature": 1e300},
        {"temperature": 1e-300},
        {"temperature": 0.0},
        *({"preprocessing": {"size": size}} for size in (0, -1, 10**6, [224, 10**9], 1e300, "nan")),
        *({"preprocessing": {"mean": [value] * 3}} for value in (1e300, float("inf"), float("nan"), 123.7)),
        *({"preprocessing": {"std": [value] * 3}} for value in (0, -1, 1e300, 1e-300, float("nan"))),
        {"reject": {"threshold": float("nan"), "kept": 0.9, "num_images": 10}},
        {"reject": {"threshold": 1.0, "kept": 7, "num_images": -1}},
        *({"architecture": {"embed_dims": [value] * 4}} for value in (0, -1, 10**18)),
        *({"architecture": {"depths": [value] * 4}} for value in (0, 10**9)),
        {"architecture": {"mlp_ratios": [1e300] * 4}},
        {"architecture": {"num_classes": 10**12}},
        {"architecture": {"in_chans": 10**9}},
    ],
)
def test_what_can_not_be_is_refused_in_a_description(change, written, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(written / "x.safetensors", "pt") as file:
        plain = json.loads(file.metadata()["moganet"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    plain.pop("seal")  # somebody else's writer
    for key, value in change.items():
        plain[key] = {**plain.get(key, {}), **value} if isinstance(value, dict) else value
    save_file(tensors, tmp_path / "x.safetensors", {"moganet": json.dumps(plain)})
    for door in (moganet.load, moganet.info, moganet.verify):
        with pytest.raises(WeightsError) as caught:
            door(tmp_path / "x.safetensors")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200


def test_two_classes_of_one_name_are_said_when_read_and_not_written(tmp_path):
    network = moganet.build_network("nano", **MINI)
    from safetensors.torch import save_file

    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "moganet_nano", "label_names": [*"abcdefghh", "j"]}
    config["model_args"] = {key: list(value) for key, value in MINI.items() if key != "num_classes"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with listening() as heard:
        assert moganet.load(tmp_path).class_names[7:9] == ("h", "h")
    assert any("2 of its classes 'h'" in line for line in heard)
    for name in FORMATS.values():
        with pytest.raises(OutputError, match="2 classes are named 'h'"):
            moganet.convert(tmp_path, tmp_path / "out" / name)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("room", [1000, 60_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(target, room, written, tmp_path):
    import resource
    import signal

    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        with pytest.raises(MogaNetError, match="can't write") as caught:
            moganet.convert(written / "x.safetensors", tmp_path / "out" / FORMATS[target], target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, before)
    assert isinstance(caught.value, OutputError) and "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "provenance",
    [
        {"recipe": "x"},
        {"recipe": {"data": [1]}},
        {"recipe": {"data": {"source": 5}}},
        {"fingerprint": {"a": 1}},
        {"versions": [1]},
        {"data": 5},
    ],
)
def test_a_provenance_of_other_kinds_is_one_line(provenance, written, tmp_path):
    state, description = load_model_file(written / "x.safetensors")
    plain = {**json.loads(describe_as_json(description)), "provenance": provenance}
    del plain[SEAL]
    text = json.dumps({**plain, SEAL: seal_of(plain)})
    save_file(state, tmp_path / "x.safetensors", {DESCRIPTION_KEY: text})
    with pytest.raises(WeightsError, match=r"description that can't be read: .* is a \w+, not a \w+"):
        moganet.evaluate(tmp_path / "x.safetensors", "digits", runtime="eager")


def test_names_in_a_card_are_text(written, tmp_path):
    state, description = load_model_file(written / "x.safetensors")
    names = ("<b>x</b>", "\n\n# h\n", "`a`", "[x](http://e)", *"efghij")
    changed = {"class_names": names, "provenance": {"validation": {"top1": None}, "recipe": None}}
    save_model_file(tmp_path / "x.safetensors", state, description.changed(**changed))
    moganet.push(tmp_path / "x.safetensors", "user/name", tmp_path / "pushed")
    card = (tmp_path / "pushed" / "README.md").read_text()
    assert r"(&lt;b\>x&lt;/b\>, \\n\\n\# h\\n, \`a\`, \[x\](http://e), e" in card


@pytest.mark.parametrize("target", ["model", "hub", "official"])
def test_load_pretrained_takes_what_the_file_says_of_itself_and_notices_damage(target, written, tmp_path):
    path = tmp_path / FORMATS[target]
    (shutil.copytree if (written / FORMATS[target]).is_dir() else shutil.copy)(written / FORMATS[target], path)
    network = moganet.build_network("nano", **MINI, gate="single")
    with listening() as heard:
        network.load_pretrained(path)
    assert "the network computes a single gate" in " ".join(heard)
    assert "guess" not in " ".join(heard)
    file = tensors_of(path)
    content = bytearray(file.read_bytes())
    content[content.index(network.head.weight.detach().numpy().tobytes()[:64])] ^= 4
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        network.load_pretrained(path)
