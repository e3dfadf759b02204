"""Hostile and damaged files: nothing in them runs, hangs or fills the memory, and one line says what is wrong."""

import io
import json
import pickle
import random
import struct
import time
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torchvision.models import resnet18

import moganet
import moganet_cli
from moganet.errors import WeightsError
from moganet.inference import read_model

MAGIC, PROTOCOL, SYSTEM = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}
OFFICIAL = torch.load(GOLDEN / "mini_official.pth.tar", weights_only=True)
STATE = OFFICIAL["state_dict"]
SLACK = 24 << 20  # bytes that Python and torch take and give back as they like


def resident(key="VmRSS"):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) << 10


def read(path):
    """Read as `info`, `convert` and `load` do, within three times the file's size and ten seconds."""
    limited = Path("/proc/self/clear_refs").exists()
    if limited:
        Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before, start = resident() if limited else 0, time.monotonic()
    try:
        moganet.load(path)
    finally:
        assert time.monotonic() - start < 10
        if limited:
            assert resident("VmHWM") - before < 3 * Path(path).stat().st_size + SLACK


def refused(path, said=None):
    with pytest.raises(WeightsError, match=said) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text and str(Path(path)) in text and len(text) < 1200
    return text


class Exploit:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def zip_of(pickled, storages=None, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return buffer.getvalue()


def torch_bytes(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def legacy_of(*parts):
    return b"".join(pickle.dumps(part, protocol=2) for part in parts)


def exploits(trap):
    """Give files of every format that would run code in a reader that unpickles freely."""
    bad = Exploit(trap)
    command = f"cposix\nsystem\n(S'touch {trap}'\ntR."
    arrays = {"patch_embed1.proj.0.weight": np.zeros((4, 3, 3, 3), np.float32)}
    stacked = (
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c"
        + bytes([len(f"touch {trap}")])
        + f"touch {trap}".encode()
        + b"\x85R."
    )
    return {
        "official": torch_bytes({**OFFICIAL, "args": bad}),
        "official tensor": torch_bytes({**OFFICIAL, "state_dict": {**STATE, "head.bias": bad}}),
        "openmixup": torch_bytes(
            {"meta": {"hooks": [bad]}, "state_dict": {f"backbone.{n}": t for n, t in STATE.items()}}
        ),
        "run": torch_bytes({"moganet": "{}", "state_dict": {f"network.{n}": t for n, t in STATE.items()}, "x": bad}),
        "zip with a command": zip_of(command.encode()),
        "zip of protocol 4": zip_of(stacked),
        "legacy content": legacy_of(MAGIC, PROTOCOL, SYSTEM, {"state_dict": bad}, []),
        "legacy system": legacy_of(MAGIC, PROTOCOL, bad, {}, []),
        "legacy keys": legacy_of(MAGIC, PROTOCOL, SYSTEM, {}, [bad]),
        "legacy by torch": torch_bytes({**OFFICIAL, "args": bad}, _use_new_zipfile_serialization=False),
        "paddle": pickle.dumps({**arrays, "x": bad}),
        "paddle of protocol 0": pickle.dumps({**arrays, "x": bad}, protocol=0),
        "paddle with a command": command.encode(),
        "paddle by instance": f"(S'touch {trap}'\niposix\nsystem\n.".encode(),
        "paddle by object": f"(cposix\nsystem\nS'touch {trap}'\no.".encode(),
        "paddle by stacked names": stacked,
        "paddle by numpy": b"cnumpy.f2py.diagnose\nrun_command\n(S'touch " + str(trap).encode() + b"'\ntR.",
        "paddle by attribute": f"cnumpy\nload.__globals__\n(S'{trap}'\ntR.".encode(),
        "paddle by extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("name", exploits(Path("trap")))
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(name, tmp_path, capsys):
    trap, file = tmp_path / "ran", tmp_path / "weights"
    file.write_bytes(exploits(trap)[name])
    refused(file, "nothing was run")
    for command in (["info", file], ["convert", file, tmp_path / "out.safetensors"], ["verify", file]):
        with pytest.raises(SystemExit) as ended:
            moganet_cli.main([str(part) for part in command])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text(json.dumps({"architecture": "moganet_xtiny"}))
    file.rename(tmp_path / "hub" / "model.safetensors")
    with pytest.raises(WeightsError):
        read(tmp_path / "hub" / "model.safetensors")
    assert not trap.exists() and not (tmp_path / "out.safetensors").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of files that they leave open
def test_the_exploits_are_real(tmp_path):
    ran = 0
    for name, content in exploits(tmp_path / "trap").items():
        if name.startswith("paddle") and name not in ("paddle by numpy", "paddle by attribute", "paddle by extension"):
            pickle.loads(content)
            assert (tmp_path / "trap").exists(), name
            (tmp_path / "trap").unlink()
            ran += 1
        if name in ("official", "openmixup", "run", "legacy by torch", "official tensor"):
            torch.load(io.BytesIO(content), weights_only=False)
            assert (tmp_path / "trap").exists(), name
            (tmp_path / "trap").unlink()
            ran += 1
    assert ran >= 10


def rebuilt(size, stride, numel, key="0", legacy=False):
    """Give the pickle of an official file whose first tensor is described so."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, thing):
            view = (None,) if legacy else ()
            return ("storage", torch.FloatStorage, key, "cpu", numel, *view) if isinstance(thing, Storage) else None

        def save_global(self, thing, name=None):
            if isinstance(thing, type) and thing.__module__ == "torch":
                self.write(b"ctorch\n" + thing.__name__.encode() + b"\n")
            else:
                super().save_global(thing, name)

        dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global}

    class Tensor:
        def __reduce__(self):
            return (torch._utils._rebuild_tensor_v2, (Storage(), 0, size, stride, False, {}))

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"state_dict": {"patch_embed1.projection.0.weight": Tensor()}})
    return buffer.getvalue()


def official_with(tensor, name="patch_embed1.projection.0.weight"):
    return torch_bytes({"arch": "moganet_xtiny", "state_dict": {**STATE, name: tensor}})


def call(line, argument):
    """Give a pickle that calls a global of torch's or Python's with a number."""
    return b"\x80\x02c" + line.encode() + b"\n\x8a\x05" + argument.to_bytes(5, "little") + b"\x85R."


def shared_tuples(levels):
    body = b"K\x01\x85q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(levels))
    return b"\x80\x02}" + body + b"K\x01s."


LIES = {
    "a storage that claims more": lambda: zip_of(rebuilt((10**8,), (1,), 10**8), {"0": bytes(16)}),
    "a storage that claims a little more": lambda: zip_of(rebuilt((40,), (1,), 40), {"0": bytes(16)}),
    "a storage that claims less": lambda: zip_of(rebuilt((2,), (1,), 2), {"0": bytes(16)}),
    "a stride of nought": lambda: zip_of(rebuilt((10**12,), (0,), 4), {"0": bytes(16)}),
    "a tensor without elements": lambda: zip_of(rebuilt((10**12, 0), (1, 1), 4), {"0": bytes(16)}),
    "a shape below nought": lambda: zip_of(rebuilt((-4,), (1,), 4), {"0": bytes(16)}),
    "a storage that is not there": lambda: zip_of(rebuilt((4,), (1,), 4, "9"), {"0": bytes(16)}),
    "a sparse tensor": lambda: official_with(torch.sparse_coo_tensor([[0]], [1.0], (10**10,), check_invariants=False)),
    "a tensor without storage": lambda: official_with(torch.empty(10**12, device="meta")),
    "a complex tensor": lambda: official_with(torch.zeros(4, 3, 3, 3, dtype=torch.complex64)),
    "a text": lambda: official_with("text"),
    "a name that is no text": lambda: torch_bytes({"state_dict": {**STATE, 7: torch.zeros(1)}}),
    "a compressed archive": lambda: zip_of(bytes(50 << 20), compression=zipfile.ZIP_DEFLATED),
    "a call for a bytearray": lambda: zip_of(call("__builtin__\nbytearray", 10**11)),
    "a call for a tensor": lambda: zip_of(call("torch\nTensor", 10**11)),
    "a block that is far off": lambda: official_with(torch.zeros(4), "blocks1.99999999999.norm1.weight"),
    "a torch index without end": lambda: zip_of(b"\x80\x02}r\xff\xff\xff\x7f."),
    "tuples without end": lambda: zip_of(shared_tuples(60)),
    "paddle tuples without end": lambda: shared_tuples(60),
    "a paddle index without end": lambda: b"\x80\x02}r\xff\xff\xff\x7f.",
    "paddle bytes that claim more": lambda: b"\x80\x04}\x8c\x01a\x8e" + (1 << 40).to_bytes(8, "little") + b"x",
    "a paddle frame that claims more": lambda: b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"}.",
    "paddle numbers that claim more": lambda: b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a legacy storage that claims more": lambda: (
        legacy_of(MAGIC, PROTOCOL, SYSTEM)
        + rebuilt((10**11,), (1,), 10**11, legacy=True)
        + legacy_of(["0"])
        + (10**11).to_bytes(8, "little")
    ),
}


def paddle_with(**arrays):
    class Array:
        def __init__(self, shape, dtype, raw):
            self.parts = (shape, dtype, raw)

        def __reduce__(self):
            shape, dtype, raw = self.parts
            return (np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, shape, np.dtype(dtype), False, raw))

    return pickle.dumps({name: Array(*parts) for name, parts in arrays.items()})


LIES |= {
    "an array that claims more": lambda: paddle_with(a=((10**9,), "f4", bytes(16))),
    "an array of objects": lambda: paddle_with(a=((10**9,), "O", [])),
    "an array of long texts": lambda: paddle_with(a=((1,), "V1000000000", bytes(16))),
    "an array of negative length": lambda: paddle_with(a=((-1, -4), "f4", bytes(16))),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_and_shapes_that_lie_cost_no_memory(name, tmp_path):
    (tmp_path / "x.pth").write_bytes(LIES[name]())
    refused(tmp_path / "x.pth")


SAFETENSORS_LIES = {
    "a header that claims more": struct.pack("<Q", 1 << 40) + b"{}",
    "a header that is cut off": struct.pack("<Q", 200) + b'{"a":',
    "offsets beyond the end": {"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}},
    "offsets that overlap": {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    },
    "a shape that claims more": {"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 16]}},
    "no numbers": {"a": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}},
    "a description that is no text": {"__metadata__": {"moganet": {"architecture": 1}}},
    "a description that is nothing": {"__metadata__": {"moganet": "{}"}},
}


@pytest.mark.parametrize("name", SAFETENSORS_LIES)
def test_a_safetensors_file_that_lies_is_refused(name, tmp_path):
    content = SAFETENSORS_LIES[name]
    if isinstance(content, dict):
        header = json.dumps(content).encode()
        content = (
            struct.pack("<Q", len(header)) + header + bytes(16 if "__metadata__" not in SAFETENSORS_LIES[name] else 0)
        )
    (tmp_path / "x.safetensors").write_bytes(content)
    refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02c",
        b"\x80\x04\x8e" + b"\0" * 8,
        b"(dp0\nS",
    ],
    ids=["zeros", "zip", "legacy", "a name", "bytes", "a text"],
)
def test_gigabytes_of_nothing_are_refused_at_once(start, tmp_path):
    with open(tmp_path / "x.pth", "wb") as file:
        file.write(start)
        file.truncate(8 << 30)  # a sparse file: it takes no room
    before = resident()
    text = refused(tmp_path / "x.pth")
    assert resident() - before < 1 << 30, text


def foreign(folder):
    resnet = resnet18(num_classes=3).state_dict()
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    save_file(resnet, folder / "resnet.safetensors")
    return {
        "empty": (b"", "empty"),
        "text": (b"not a checkpoint", "nothing was run"),
        "a web page": (b"\n<!DOCTYPE html><html></html>", "web page"),
        "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "nothing was run"),
        "an array": (buffer.getvalue(), "nothing was run"),
        "a list": (pickle.dumps([1, 2]), "holds a list"),
        "other arrays": (pickle.dumps({"a": np.zeros(3)}), "unexpected: a"),
        "an empty zip": (b"PK\x05\x06" + b"\0" * 18, "data.pkl"),
        "another zip": (zip_of(b"").replace(b"data.pkl", b"mimetype"), "data.pkl"),
        "a number": (torch_bytes(7), "a int"),
        "a tensor": (torch_bytes(torch.zeros(3)), "a Tensor"),
        "a ResNet": (torch_bytes(resnet), r"missing: patch_embed1.*unexpected: conv1.weight \(64, 3, 7, 7\)"),
        "a ResNet's checkpoint": (
            torch_bytes({"state_dict": resnet, "arch": "resnet18"}),
            r"conv1.weight \(64, 3, 7, 7\)",
        ),
        "a ResNet in safetensors": ((folder / "resnet.safetensors").read_bytes(), "missing: patch_embed1"),
        "a part of a MogaNet": (
            torch_bytes({"state_dict": {n: t for n, t in STATE.items() if "patch_embed3" not in n}}),
            "missing: patch_embed3.projection.weight",
        ),
        "a MogaNet with more": (official_with(torch.zeros(3), "extra.weight"), "unexpected: extra.weight"),
        "a MogaNet with less": (
            torch_bytes({"state_dict": {n: t for n, t in STATE.items() if n != "norm2.bias"}}),
            "missing: norm2.bias",
        ),
        "a MogaNet of other shapes": (
            official_with(torch.zeros(9), "norm2.bias"),
            r"norm2.bias is \(9,\), not \(16,\)",
        ),
    }


FOREIGN = (
    *("empty", "text", "a web page", "a picture", "an array", "a list", "other arrays", "an empty zip", "another zip"),
    *("a number", "a tensor", "a ResNet", "a ResNet's checkpoint", "a ResNet in safetensors", "a part of a MogaNet"),
    *("a MogaNet with more", "a MogaNet with less", "a MogaNet of other shapes"),
)


@pytest.fixture(scope="module")
def foreigners(tmp_path_factory):
    return foreign(tmp_path_factory.mktemp("foreign"))


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_give_one_line_with_what_is_missing(name, foreigners, tmp_path):
    content, said = foreigners[name]
    (tmp_path / "x.pth").write_bytes(content)
    refused(tmp_path / "x.pth", said)
    assert foreigners.keys() == set(FOREIGN)


@pytest.fixture(scope="module")
def minis(tmp_path_factory):
    """The bytes of a mini file of every format."""
    folder = tmp_path_factory.mktemp("minis")
    moganet.convert(GOLDEN / "mini_official.pth.tar", folder / "model.safetensors")
    save_file(STATE, folder / "plain.safetensors")
    torch.save({"arch": "moganet_xtiny", "state_dict": STATE}, folder / "legacy", _use_new_zipfile_serialization=False)
    named = {"official": "mini_official.pth.tar", "openmixup": "mini_openmixup.pth", "paddle": "mini_paddle.pdparams"}
    named["birder"] = "mini_birder.pt"
    files = {name: GOLDEN / file for name, file in named.items()}
    files |= {name: folder / name for name in ("legacy", "model.safetensors", "plain.safetensors")}
    return {name: path.read_bytes() for name, path in files.items()}


MINIS = ("official", "openmixup", "paddle", "birder", "legacy", "model.safetensors", "plain.safetensors")


@pytest.mark.parametrize("name", MINIS)
def test_truncated_files_give_one_line(name, minis, tmp_path):
    whole = minis[name]
    for length in (1, 8, 10, 1000, len(whole) // 2, len(whole) - 10, len(whole) - 1):
        (tmp_path / "x").write_bytes(whole[:length])
        refused(tmp_path / "x")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), cut=st.booleans(), near=st.sampled_from(["start", "end", "anywhere"]))
@pytest.mark.parametrize("name", MINIS)
def test_no_damage_ends_in_anything_but_a_model_or_one_line(name, minis, tmp_path, seed, cut, near):
    draw, content = random.Random(seed), bytearray(minis[name])
    reach = {"start": (0, 4000), "end": (len(content) - 4000, len(content)), "anywhere": (0, len(content))}[near]
    for _ in range(draw.randint(1, 6)):
        place, length = draw.randrange(*reach), draw.choice([0, 1, 1, 1, 4, 8])
        content[place : place + length] = draw.choice(
            [draw.randbytes(length), b"\xff" * length, bytes(length), draw.randbytes(1), content[:length]]
        )
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content[: draw.randrange(len(content))] if cut else content)
    try:
        read(damaged)
    except WeightsError as error:
        assert "\n" not in str(error) and len(str(error)) < 1200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300), start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04}", b"PK\x03\x04", b"\x80\x02}("])
)
def test_no_bytes_end_in_a_traceback(data, start, tmp_path):
    (tmp_path / "x").write_bytes(start + data)
    refused(tmp_path / "x")
    (tmp_path / "x").write_bytes(zip_of(start + data))
    refused(tmp_path / "x")


def test_harmless_contents_of_official_files_are_read(tmp_path):
    import argparse

    content = {**OFFICIAL, "args": argparse.Namespace(lr=1e-3, model="x"), "metric": np.float64(76.5)}
    torch.save(content, tmp_path / "x.pth.tar")
    assert read_model(tmp_path / "x.pth.tar").chosen["format"] == "official"


def test_weights_do_not_change_with_the_file_that_they_came_from(tmp_path):
    path = tmp_path / "x.pth.tar"
    path.write_bytes((GOLDEN / "mini_official.pth.tar").read_bytes())
    predictor = moganet.load(path)
    x = torch.randn(1, 3, 32, 32)
    before = predictor.logits(x)
    path.write_bytes(bytes(path.stat().st_size))  # in place, not renamed
    assert torch.equal(predictor.logits(x), before)
