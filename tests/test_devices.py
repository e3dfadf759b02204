"""A device that is here is used; one that is not is refused in a line that names what is."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_model import exported, model

import moganet
import moganet_cli
from moganet import devices
from moganet.config.recipe import TrainerConfig
from moganet.devices import choose_device
from moganet.errors import ConfigError
from moganet.training.resolve import prepare

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


@pytest.fixture
def made():
    """Have the files made before torch seems to have GPUs."""
    return model(), exported("openvino")


@pytest.fixture
def two_gpus(monkeypatch):
    """Let torch seem to have two GPUs."""
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_name=lambda n: f"Card {n}", is_available=lambda: True)
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    torch_of_two = SimpleNamespace(import_module=lambda name: SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(devices, "importlib", torch_of_two)


def test_every_name_of_a_gpu_that_is_here_is_taken(two_gpus):
    assert [choose_device(name) for name in ("auto", "cuda", "cuda:0", "cuda:1", "cpu")] == [
        *("cuda", "cuda", "cuda:0", "cuda:1", "cpu")
    ]
    assert choose_device(torch.device("cuda", 1)) == "cuda:1"
    with pytest.raises(ConfigError, match=r"no cuda:2 here; there are cpu, cuda:0 \(Card 0\), cuda:1 \(Card 1\)"):
        choose_device("cuda:2")


@without_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_here_is_refused_by_what_is(name, monkeypatch):
    monkeypatch.setattr(devices, "has_mps", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "GPU_NODES", ())
    with pytest.raises(ConfigError, match=f"^there is no {name} here; there is cpu$"):
        choose_device(name)


@without_gpu
def test_why_a_gpu_is_missed_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES is ''"):
        choose_device("cuda")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "GPU_NODES", (str(tmp_path),))
    with pytest.raises(ConfigError, match="this torch can't use it"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["0", "gpu", "CPU", "cuda:", "cuda:01", "cuda:-1", "cuda:1,2", "cuda: 1", "xpu", ""])
def test_a_word_that_is_no_device_is_refused(name):
    with pytest.raises(ConfigError, match="say auto, cpu, cuda, cuda:N or mps"):
        choose_device(name)
    if name != "gpu":  # the word of recipes from before
        with pytest.raises(ValueError, match="say auto, cpu, cuda, cuda:N or mps"):
            TrainerConfig(accelerator=name)


def test_mps_is_taken_where_torch_has_it_and_never_by_auto(monkeypatch):
    monkeypatch.setattr(devices, "has_mps", lambda: True)
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    assert choose_device("mps") == "mps" and choose_device() == "cpu" and devices.devices() == ["cpu", "mps"]


@without_gpu
@pytest.mark.parametrize(
    "ask",
    [
        lambda device: moganet.load(model(), device=device),
        lambda device: moganet.load(exported("openvino"), device=device),
        lambda device: moganet.predict(model(), data="digits", device=device),
        lambda device: moganet.evaluate(model(), "digits", device=device),
        lambda device: moganet.explain(model(), "x.png", device=device),
        lambda device: moganet.write_report(model(), "digits", device=device),
        lambda device: moganet.verify(model(), device=device),
        lambda device: moganet.embed(model(), data="digits", out="x.npz", device=device),
        lambda device: moganet.probe(model(), "digits", device=device),
        lambda device: moganet.similar(model(), "x.png", "digits", device=device),
        lambda device: moganet.interaction_curves(model(), "digits", device=device),
        lambda device: moganet.export(model(), "onnx", device=device),
        lambda device: moganet.benchmark_infer(["moganet_nano"], device=device),
        lambda device: moganet.benchmark_train(["moganet_nano"], device=device),
        lambda device: moganet.benchmark_data("digits", device=device),
        lambda device: moganet.train("digits", device=device),
        lambda device: moganet.train("digits", overrides=["trainer.max_epochs=1"], device=device),
    ],
)
def test_every_verb_that_computes_takes_a_device(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is no cuda:5 here; there is cpu"):
        ask("cuda:5")
    assert list(tmp_path.iterdir()) == []  # before anything is made


def test_an_exported_file_runs_on_the_cpu(made, two_gpus):
    with pytest.raises(ConfigError, match="which runs on the CPU, not on cuda:1"):
        moganet.load(exported("openvino"), device="cuda:1")
    assert moganet.load(exported("openvino")).device == "cpu"


def test_a_predictor_stays_where_it_was_loaded(made, two_gpus):
    predictor = moganet.load(model(), "eager", device="cpu")
    assert predictor.device == "cpu" and next(predictor.model.parameters()).device.type == "cpu"
    image = np.zeros((8, 8, 3), np.uint8)
    assert moganet.predict(predictor, data="digits", limit=1, device=torch.device("cpu")).predictions
    with pytest.raises(ConfigError, match="it was loaded, on cpu"):
        moganet.predict(predictor, image, device="cuda:1")


def test_a_device_of_train_is_its_setting(monkeypatch):
    settings, _ = prepare("digits", None, {"trainer.accelerator": "cpu"})
    assert settings.trainer.accelerator == "cpu"
    assert TrainerConfig(accelerator="gpu").accelerator == "cuda"  # as recipes say it that were written before
    monkeypatch.setattr("moganet.training.resolve.choose_device", lambda name: name)
    with pytest.raises(ConfigError, match="one device, but 2 processes train"):
        prepare("digits", None, ["trainer.accelerator=cuda:1", "trainer.devices=2"])


def test_doctor_says_what_is_here():
    found = json.loads(json.dumps(moganet.doctor().plain()))["environment"]
    assert found["devices"][0] == "cpu" and found["device"] in (*found["devices"], "cuda")
    assert 1 <= found["usable_cores"] <= found["cores"] and found["threads"] >= 1 and found["threads_by"]


@without_gpu
def test_the_command_takes_a_device_and_threads(capsys):
    asked = ["predict", "moganet_nano.digits", "--data", "digits", "--limit", "1", "--json"]

    def end_of(*options):
        with pytest.raises(SystemExit) as ended:
            moganet_cli.main([*asked, *options])
        return ended.value.code, capsys.readouterr()

    code, said = end_of("--device", "cpu", "--threads", "1")
    assert code == 0 and json.loads(said.out)["predictions"]
    for options, line in {
        ("--device", "cuda:7"): "moganet: there is no cuda:7 here; there is cpu",
        ("--device", "tpu"): "moganet: there is no device 'tpu'; say auto, cpu, cuda, cuda:N or mps; here there is cpu",
        ("--threads", "0"): "moganet: Invalid value for '--threads': ",
        ("--threads", "5000"): "moganet: threads is 5000; give a whole number from 1 to 4096",
    }.items():
        code, said = end_of(*options)
        assert code == 2 and said.out == "" and said.err.startswith(line) and said.err.count("\n") == 1
