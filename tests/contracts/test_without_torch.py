"""The ground without torch: what an answer from an exported graph needs is there where torch can't be imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
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
