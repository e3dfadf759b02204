"""The ground without torch: what an answer from an exported graph needs is there where torch can't be imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import moganet
from moganet.config import Preprocessing
from moganet.data.preprocess import decode, preprocess

PACKAGE = Path(moganet.__file__).parent
# The package itself registers its networks with timm, and a room may hold more than its ground.
GROUND = """
import importlib, sys, types
package, image, out, heavy, ground = sys.argv[1:]
sys.modules.update(dict.fromkeys(heavy.split(",")))
for name in ("moganet", "moganet.data"):
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
