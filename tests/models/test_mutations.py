"""Every format that we read, damaged in many ways: a model, or one line; nothing else, not late, not large."""

import json
import random
import shutil
import time

import pytest
import torch
from conftest import GOLDEN, MINI
from safetensors.torch import save_file

import moganet
from moganet.errors import MogaNetError

FEW, MANY = 6, 520
STATE = torch.load(GOLDEN / "mini_official.pth.tar", weights_only=True)["state_dict"]
CONFIG = {
    "architecture": "moganet_xtiny",
    "model_args": {key: list(value) for key, value in MINI.items() if key != "num_classes"},
    "label_names": list("abcdefghij"),
    "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.9},
}


def make_hub(folder, name, write):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write(folder / name)
    return folder


def make_sharded(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    names = sorted(STATE)
    parts = {"a.safetensors": names[: len(names) // 2], "b.safetensors": names[len(names) // 2 :]}
    for file, part in parts.items():
        save_file({name: STATE[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Give what to load, and which file of it to damage, by the format's name."""
    folder = tmp_path_factory.mktemp("whole")
    lightning = {f"model.{name}": tensor for name, tensor in STATE.items()}
    torch.save({"state_dict": lightning, "hyper_parameters": {"lr": 0.1}}, folder / "lightning")
    torch.save({"arch": "moganet_xtiny", "state_dict": STATE}, folder / "legacy", _use_new_zipfile_serialization=False)
    save_file({f"net.{name}": tensor for name, tensor in STATE.items()}, folder / "prefixed")
    files = {name: folder / name for name in ("lightning", "legacy", "prefixed")}
    files |= {"official": GOLDEN / "mini_official.pth.tar", "openmixup": GOLDEN / "mini_openmixup.pth"}
    files |= {"port": GOLDEN / "mini_paddle.pdparams", "birder": GOLDEN / "mini_birder.pt"}
    for name in ("x.safetensors", "x.pth.tar", "x.pdparams", "hub"):
        moganet.convert(GOLDEN / "mini_openmixup.pth", folder / name)
        files[f"our {name}"] = folder / name
    bin_hub = make_hub(folder / "bin", "pytorch_model.bin", lambda path: torch.save(STATE, path))
    sharded = make_sharded(folder / "sharded")
    made = {name: (path, None) for name, path in files.items() if path.is_file()}
    made["our hub"] = (folder / "hub", "model.safetensors")
    made["our hub's config"] = (folder / "hub", "config.json")
    made["hub's config"] = (bin_hub, "config.json")
    made["hub of torch"] = (bin_hub, "pytorch_model.bin")
    made["index"] = (sharded, "model.safetensors.index.json")
    made["shard"] = (sharded, "b.safetensors")
    return made


NAMES = (
    *("lightning", "legacy", "prefixed", "official", "openmixup", "port", "birder", "our x.safetensors"),
    *("our x.pth.tar", "our x.pdparams", "our hub", "our hub's config", "hub's config", "hub of torch"),
    *("index", "shard"),
)


def mutate(content, draw):
    """Damage bytes in one of several ways, half of them where names, shapes and numbers lie."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        ends = (0, min(6000, len(content))), (max(0, len(content) - 6000), len(content)), (0, len(content))
        place, length = draw.randrange(*draw.choice(ends)), draw.choice([1, 1, 2, 4, 8, 64])
        match draw.randrange(8):
            case 0 | 1:
                content[place] ^= 1 << draw.randrange(8)
            case 2:
                content[place : place + length] = draw.randbytes(length)
            case 3:
                content[place : place + length] = draw.choice([b"\xff", b"\0", b"9"]) * length
            case 4:
                del content[place : place + length]
            case 5:
                content[place:place] = draw.choice(
                    [draw.randbytes(length), b"[" * 2000, b"9" * 30, b"NaN", b"\xed\xb2\x80"]
                )
            case 6:
                content[place : place + 1] = draw.choice([b'"', b",", b"}", b"-", b"1e999", b"null"])
            case 7:
                del content[draw.randrange(1, len(content)) :]
    return bytes(content)


def check(name, whole, tmp_path, seeds):
    source, inner = whole[name]
    target = tmp_path / ("folder" if inner else "file")
    (shutil.copytree if inner else shutil.copy)(source, target)
    file = target / inner if inner else target
    content = file.read_bytes()
    for seed in seeds:
        file.write_bytes(mutate(content, random.Random(f"{name} {seed}")))
        start = time.monotonic()
        for door in (moganet.load, moganet.info):
            try:
                door(target)
            except MogaNetError as error:
                assert "\n" not in str(error) and len(str(error)) < 1500, (seed, str(error))
            except Exception as error:
                raise AssertionError(f"mutation {seed} of {name}: {error!r}") from error
        assert time.monotonic() - start < 20, seed


@pytest.mark.parametrize("name", NAMES)
def test_a_few_mutations_end_in_a_model_or_one_line(name, whole, tmp_path):
    assert whole.keys() == set(NAMES)
    moganet.load(whole[name][0])
    check(name, whole, tmp_path, range(FEW))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_mutations_end_in_a_model_or_one_line(name, whole, tmp_path):
    check(name, whole, tmp_path, range(MANY))
