"""The ground without torch: what an answer from an exported graph needs is there where torch can't be imported."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from PIL import Image
from small_model import exported, pictures

import moganet
from moganet.config import Preprocessing
from moganet.data.preprocess import decode, preprocess

PACKAGE = Path(moganet.__file__).parent
# The package itself registers its networks with timm, and a room may hold more than its ground.
GROUND = """
import importlib, sys, types
package, image, out, heavy, ground = sys.argv[1:]
sys.modules.update(dict.fromkeys(heavy.split(",")))
for name in ("moganet", "moganet.data", "moganet.inference", "moganet.models"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = ["/".join([package, *name.split(".")[1:]])]
for name in ground.split(","):
    importlib.import_module(name)
import numpy as np
from moganet.config import Preprocessing
from moganet.data import read, resample
np.save(out, resample.preprocess(read.read_pixels(image), Preprocessing(size=20)))
"""


def test_an_image_becomes_the_networks_input_where_there_is_no_torch(tmp_path):
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    contracts = {one["name"]: one for one in project["tool"]["importlinter"]["contracts"]}
    ground = contracts["the ground without torch"]
    photo = np.random.RandomState(0).randint(0, 256, (50, 70, 4), np.uint8)
    Image.fromarray(photo).save(tmp_path / "x.png")
    lists = [",".join(ground[key]) for key in ("forbidden_modules", "source_modules")]
    places = [str(PACKAGE), str(tmp_path / "x.png"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", GROUND, *places, *lists], check=True)
    expected = preprocess(decode(tmp_path / "x.png"), Preprocessing(size=20))
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "out.npy")), expected)


# What a process without torch runs, on an exported file: rooms whose lists of names bring torch are only folders to it.
ANSWER = """
import sys, types
package, file, image, out, heavy = sys.argv[1:]
class Refused:
    @staticmethod
    def find_spec(name, *_):
        if name.split(".")[0] in heavy.split(","):
            raise ImportError(name)
sys.meta_path.insert(0, Refused)
for name in ("moganet", "moganet.data", "moganet.inference", "moganet.models"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = ["/".join([package, *name.split(".")[1:]])]
sys.modules["moganet.data"].ImageLike = object
import numpy as np
from pathlib import Path
from moganet.inference.exported import load_exported
from moganet.tasks.task import Asked
predictor = load_exported(Path(file))
inputs = predictor._inputs([image], range(1))
answer = predictor.answers(predictor.outputs(inputs), Asked(top_k=3))[0]
assert answer.names and "torch" not in sys.modules
np.save(out, answer.probabilities)
"""


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_exported_file_answers_where_there_is_no_torch(to, tmp_path):
    file = exported(to)
    Image.fromarray(pictures()[0]).save(tmp_path / "x.png")
    places = [str(PACKAGE), str(file), str(tmp_path / "x.png"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", ANSWER, *places, "torch,torchvision,timm,pytorch_lightning"], check=True)
    expected = moganet.load(file)(tmp_path / "x.png", 3)[0]
    assert np.allclose(np.load(tmp_path / "out.npy"), expected.probabilities, atol=1e-6)


# What starts quickly imports nothing but this, beside Python's own modules.
MAY_BE_IMPORTED = {
    "defusedxml",
    "filelock",
    "moganet",
    "moganet_cli",
    "numpy",
    "PIL",
    "pydantic",
    "pydantic_core",
    "annotated_types",
}
MAY_BE_IMPORTED |= {"typing_extensions", "typing_inspection", "yaml", "_yaml", "typer", "click", "rich", "shellingham"}
MAY_BE_IMPORTED |= {
    "absl",
    "annotated_doc",
    "cython_runtime",
    "openvino",
    "openvino_telemetry",
    "packaging",
    "onnxruntime",
}
WARM = """
import json, sys
before, commands = set(sys.modules), json.loads(sys.argv[1])
import moganet_cli
for command in commands:
    try:
        moganet_cli.main(command)
    except SystemExit as end:
        assert end.code == 0, command
print("\\0" + json.dumps(sorted({name.partition(".")[0] for name in {*sys.modules} - before})))
"""


@pytest.fixture
def knows(tmp_path, monkeypatch):
    """Let this process keep what it finds out of models, as one does that has not imported torch."""
    monkeypatch.setenv("MOGANET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOGANET_RUNTIME", "auto")
    monkeypatch.setattr("moganet.inference.load._torch_is_there", lambda: False)


def test_what_was_loaded_once_needs_no_torch(knows, trained_run, tmp_path):
    pytest.importorskip("openvino")
    image = tmp_path / "x.png"
    Image.fromarray(pictures()[0]).save(image)
    moganet.convert(trained_run, tmp_path / "hub")
    (tmp_path / "link").symlink_to(tmp_path / "hub" / "model.safetensors")
    golden = GOLDEN / "mini_official.pth.tar"
    stored = [trained_run / "best.safetensors", trained_run, tmp_path / "hub", tmp_path / "link", golden]
    models = [*stored, exported("onnx"), exported("openvino")]
    expected = [moganet.predict(model, image, top_k=3) for model in models]
    commands = [["predict", str(model), str(image), "--top-k", "3", "--json"] for model in models]
    others = [
        "info",
        "info moganet_tiny --size 97",
        f"info {golden}",
        f"info {models[-1]}",
        "doctor",
        "train --help",
        "settings digits lr",
    ]
    others += [
        f"runs {trained_run}",
        f"verify {trained_run}",
        f"verify {models[-1]}",
        f"verify {tmp_path / 'hub'}",
        "evaluate --help",
    ]
    commands += [one.split() for one in others]
    done = subprocess.run(
        [sys.executable, "-c", WARM, json.dumps(commands)], stdout=subprocess.PIPE, text=True, check=True
    )
    printed, _, imported = done.stdout.partition("\0")
    named = {name for name in json.loads(imported) if not name.startswith("_")}  # those are parts of others
    assert sorted(named - sys.stdlib_module_names - MAY_BE_IMPORTED) == []
    for line, one in zip(printed.splitlines(), expected, strict=False):
        found, wanted = json.loads(line), one.plain()
        assert found["notes"] == list(wanted["notes"])  # guesses are said again
        classes = zip(found["predictions"][0]["classes"], wanted["predictions"][0]["classes"], strict=True)
        assert all(a["name"] == b["name"] and abs(a["probability"] - b["probability"]) < 1e-5 for a, b in classes)
    assert "these are guesses" in str(expected[4].notes)


ORDERS = """
import sys
import moganet
assert "torch" not in sys.modules
import timm
assert timm.is_model("moganet_tiny")
for name in [name for name in sys.modules if name.startswith("moganet")]:
    del sys.modules[name]
import moganet  # behind timm
assert "moganet.network.registry" in sys.modules
"""


def test_the_package_is_imported_without_torch_and_known_to_timm_in_either_order():
    subprocess.run([sys.executable, "-W", "ignore", "-c", ORDERS], check=True)


FIRST_LINE = """
import logging, os, sys
def said(record):
    assert not {"torch", "timm", "pytorch_lightning"} & sys.modules.keys()
    print(record.getMessage(), flush=True)
    os._exit(7)
logging.getLogger("moganet").addFilter(said)
logging.getLogger("moganet.engine.train").addFilter(said)
import moganet_cli
moganet_cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("start", "network", "behind"),
    [
        ([], "moganet_nano", ""),
        (["--from", "a.safetensors"], "the network of a.safetensors", ""),
        (["--from", "pretrained"], "moganet_nano", ", from pretrained"),
    ],
)
def test_training_says_what_begins_before_torch_is_there(start, network, behind, tmp_path):
    asked = ["train", "digits", *start, "--set", "seed=3", "--out", str(tmp_path / "run")]
    asked += ["--device", "cpu", "--threads", "1"]
    done = subprocess.run([sys.executable, "-c", FIRST_LINE, *asked], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 7
    begins = f"training {network} by the recipe digits: digits at 32x32 pixels{behind}, into "
    assert done.stdout.startswith(begins) and " on cpu with 1 thread" in done.stdout


def test_images_of_shards_are_found_without_torch(tmp_path):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for number, picture in enumerate(pictures()[:3]):
        Image.fromarray(picture).save(tmp_path / "photos" / "a" / f"{number}.png")
    moganet.make_shards(str(tmp_path / "photos"), tmp_path / "shards")
    script = """if True:
        import sys
        from moganet.batch.inputs import list_inputs
        files, missing = list_inputs(sys.argv[1])
        assert len(files) == 3 and not missing and all(file.load() for file in files)
        assert not {"torch", "pytorch_lightning"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", script, f"shards:{tmp_path / 'shards'}"], check=True)


def test_a_service_needs_no_torch_before_it_explains():
    heavy = "('torch', 'torchvision', 'timm', 'matplotlib', 'sklearn', 'gradio')"
    found = f"', '.join(one for one in {heavy} if one in sys.modules)"
    script = f"import sys, moganet_cli, moganet.serve.run, moganet.serve.page; sys.exit({found} or 0)"
    subprocess.run([sys.executable, "-c", script], check=True)
