"""A network that is exported in a moment, with a temperature, a threshold, a guard, and pictures to ask about."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINI, fill
from once import once
from PIL import Image

from moganet.config import Architecture, Preprocessing
from moganet.data import ArraySplit
from moganet.engine.export import export
from moganet.inference.export import EXPORTERS
from moganet.inference.guarding import make_guard
from moganet.inference.runtimes import open_predictor
from moganet.models.build import build_network_for
from moganet.models.description import ModelDescription, describe_as_json, parse_description
from moganet.models.formats.ours import save_model_file
from moganet.models.make_fixtures import make_fixtures
from moganet.tasks.classify.description import Reject

NEEDS = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino",), "program": (), "eager": ()}
NEEDS["executorch"] = ("executorch",)
SIZE = (32, 48)
FILE, TEMPERATURE = "small.safetensors", 2.5
RAW = {"onnx": (), "openvino": ("raw", "raw calibrated"), "program": ("raw",), "executorch": ()}
FORMS = [(to, kind) for to in EXPORTERS for kind in ("plain", *RAW[to])]
FORMS += [pytest.param(to, "raw calibrated", marks=pytest.mark.slow) for to in ("onnx", "program")]
FORMS += [pytest.param("onnx", "raw", marks=pytest.mark.slow)]  # the module that a raw program is made of too
OPTIONS = {"plain": {}, "raw": {"raw": True}, "raw calibrated": {"raw": True, "calibrated": True}}


def need(name):
    for package in NEEDS[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (extra '{'mobile' if name == 'executorch' else 'export'}')")


def network_of(classes=6, seed=""):
    """Give a small network whose answers are sure, and how it is described."""
    options = {**MINI, "num_classes": classes, "depths": (1, 1, 1, 1)}
    architecture = Architecture(**options, name="moganet_xtiny")
    network = build_network_for(architecture).eval()
    state = fill(network.state_dict())
    state["head.weight"] *= 10  # so that answers are sure, and a temperature matters
    state["head.bias"] += len(seed)
    network.load_state_dict(state)
    return network, architecture


def write_model(path, temperature=TEMPERATURE, classes=6, seed=""):
    network, architecture = network_of(classes, seed)
    preprocessing = Preprocessing(size=SIZE, mean=(0.4,) * 3, std=(0.3,) * 3, crop_fraction=0.9)
    images = [torch.tensor(image).permute(2, 0, 1) for image in pictures()[:2]]
    description = ModelDescription(
        architecture=architecture,
        preprocessing=preprocessing,
        fixtures=make_fixtures(network, preprocessing, images),
        class_names=tuple(f"class {i}" for i in range(classes)),
        temperature=temperature,
        reject=Reject(threshold=-3.0, kept=0.95, num_images=100),
    )
    plain = description.changed(task=description.task.changed(temperature=None))
    guard = guard_of(classes, seed, describe_as_json(plain))
    described = description.changed(task=description.task.changed(guard=guard))
    save_model_file(path, network.state_dict(), described)
    return path


def with_guard(network, description):
    """Give a description with a guard that takes smooth pictures for the training images, and others for held back."""
    images = torch.stack([torch.from_numpy(one.transpose(2, 0, 1).copy()) for one in pictures(220)])
    every = ArraySplit(images, torch.zeros(len(images), dtype=torch.long))
    guard = make_guard(
        open_predictor(network, description, "eager"), every.subset(range(20, 120)), every.subset(range(120, 220))
    )
    return description.changed(task=description.task.changed(guard=guard))


@cache
def guard_of(classes, seed, description):
    """Give the guard of a small network; it takes a second to make."""
    return with_guard(network_of(classes, seed)[0], parse_description(description, Path("x"))).task.guard


@cache
def model():
    return once("small_model", lambda folder: (folder.mkdir(), write_model(folder / FILE))) / FILE


@cache
def exported(to, kind="plain", **options):
    """Give the file of a form, written once in a test run."""
    need(to)
    options = {**OPTIONS.get(kind, {}), **options}

    def make(folder):
        folder.mkdir()
        export(model(), to, folder / f"small{EXPORTERS[to].SUFFIX}", **options)

    name = "-".join(("small", to, *(f"{key}_{value}" for key, value in options.items())))
    return once(name, make) / f"small{EXPORTERS[to].SUFFIX}"


@cache
def pictures(number=12):
    generator = np.random.RandomState(0)
    coarse = [Image.fromarray(generator.randint(0, 256, (5, 5, 3), dtype=np.uint8)) for _ in range(number)]
    return [np.asarray(image.resize((40, 36), Image.Resampling.BICUBIC)) for image in coarse]
