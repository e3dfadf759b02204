"""Every script of benchmarks/ runs, on sizes at which it measures nothing: what it needs of the package is there."""

import contextlib
import functools
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import MINI, real_data
from test_sources import make_folder

import moganet
import moganet_cli
from moganet.config import Architecture, Preprocessing
from moganet.data import ArraySplit
from moganet.data.targets import ClassIndices
from moganet.inference import ModelDescription, save_model_file
from moganet.inference.export import EXPORTERS

FOLDER = Path(__file__).parents[2] / "benchmarks"
MINI_RUN = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "data.batch_size": 8,
    "data.workers": 0,
}


def set_options(settings):
    return [text for name, value in settings.items() for text in ("--set", f"{name}={json.dumps(value)}")]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Import a script, give some of its names other values, run its main, and read what it wrote."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for folder in ("benchmarks/results", "docs"):
        (tmp_path / folder).mkdir(parents=True)

    def script(name, *arguments, main=True, **values):
        sides = importlib.import_module("sides")
        monkeypatch.setattr(sides.compare, "__defaults__", (1,))
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        for key, value in {"__file__": str(tmp_path / "benchmarks" / f"{name}.py"), **values}.items():
            monkeypatch.setattr(module, key, value)
        if not main:
            return module
        module.main()
        result = tmp_path / "benchmarks" / f"{name}.json"
        return json.loads(result.read_text()) if result.exists() else None

    return script


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"), ("train", "val"), 4)


@pytest.fixture(scope="module")
def photo_model(tmp_path_factory) -> Path:
    """A small untrained network for photographs of two classes."""
    return made(tmp_path_factory.mktemp("model") / "photos.safetensors", ("blue", "red"), 3)


@pytest.fixture(scope="module")
def digit_model(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("model") / "digits.safetensors", tuple("0123456789"), 1)


ONE = {"f32": torch.float32}


def made(path: Path, names: tuple[str, ...], channels: int) -> Path:
    torch.manual_seed(0)
    shape = {**MINI, "num_classes": len(names), "in_chans": channels}
    spread = {"mean": (0.5,) * channels, "std": (0.5,) * channels}
    description = ModelDescription(
        architecture=Architecture(name="moganet_nano", **shape),
        preprocessing=Preprocessing(size=32, channels=channels, **spread),
        class_names=names,
    )
    save_model_file(path, moganet.build_network("nano", **shape).state_dict(), description)
    return path


def untrained(*_, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return moganet.load("moganet_nano", "eager", **options)


def in_this_process(command, **_):
    """Stand for `subprocess.run` of a line of Python or of the command, which would take seconds to start."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        if command[1] == "-c":
            patch.setattr(sys, "argv", ["-c", *command[3:]])
            exec(command[2], {})
        else:
            with pytest.raises(SystemExit) as ended:
                moganet_cli.main(command[command.index("train") :])
            assert not ended.value.code
    return SimpleNamespace(stdout=said.getvalue(), stderr="", returncode=0)


def test_table(run, capsys):
    run("table")
    assert capsys.readouterr().out.count("|---|") >= 4


@pytest.mark.slow
def test_inference(run):
    small = {"SIZE": 32, "BATCH": 2, "bound_gflops": lambda: 1.0, "compare": None}
    module = run("inference", main=False, **small)
    sides = importlib.import_module("sides")
    module.compare = lambda asked, rounds: sides.compare(asked, 1)
    found = run("inference", "nano")["moganet_nano, 32 px, batch 2"]
    assert set(found["ratio"]) == {"reference's form", "eager, fused, channels_last", "openvino"}


def test_training(run):
    found = run("training", SETTINGS=(("nano", "moganet_nano", {}, 32, 2),))
    assert found["nano, 32 px, batch 2"]["images_per_second"]["ours"] > 0


@pytest.mark.slow
def test_training_step(run):
    module = run("training_step", main=False, ROUNDS=1)
    step = module.make_step
    small = {"make_step": lambda variant, size, batch, **options: step("nano", 32, 2, **options)}
    assert run("training_step", main=False, **small).time_memory("returned") > 0
    found = run("training_step", compare_memory=lambda: {"kept": 2.0, "returned": 1.0}, **small)
    assert found["images_per_second"]["moganet_nano, 32 px, batch 128: kernels"]["cropped"] > 0


def test_depthwise(run):
    found = run("depthwise", SHAPES=((1, 8, 8, 5, 1),))["milliseconds"]
    assert set(next(iter(found.values()))) == {"forward", "forward and backward"}


@pytest.mark.slow
def test_precisions(run, photo_model, folder, monkeypatch):
    monkeypatch.setattr("moganet.engine.export.EXPORTERS", {"openvino": EXPORTERS["openvino"]})
    monkeypatch.setattr(EXPORTERS["openvino"], "PRECISIONS", ("f32",))
    monkeypatch.setattr("moganet.engine.export.ROUNDS", 1)
    found = run("precisions", photo_model, folder, "a network")
    assert found["model"] == "a network" and found["exports"]


@pytest.mark.slow
def test_folder(run):
    found = run("folder", IMAGES=8, predictor=lambda *_: untrained())
    assert set(found["share"]) == {"evaluate", "predict"}


def test_features(run, digit_model):
    options = ("--data", "digits", "--images", 40, "--rounds", 1)
    found = run("features", *options, MODEL=str(digit_model), OTHER=str(digit_model), peak=lambda *_: 0.0)
    assert min(found["images_per_second"].values()) > 0 and found["probe"][str(digit_model)]["images"] <= 40


def test_loader(run, folder):
    found = run("loader", folder, 32, BATCH=2, ROUNDS=1, REPEATS=1)
    assert found["32 px"]["ours"]["images_per_second"] > 0


def test_lime(run, photo_model):
    found = run("lime", SAMPLES=8, BATCH=4, ROUNDS=1, load=lambda *_: moganet.load(photo_model, "eager"))
    assert found["f32"]["num_superpixels"] >= 1 and set(found["bf16"]) == set(found["f32"])


def test_lime_ten(run, folder):
    found = run("lime_ten", folder, 1, FULL=64, AUTO=64, SIDE=32)
    assert found["pictures"] == 1 and found["agreement"]["first_auto"].keys() >= {"best_10", "shared_of_10"}


@pytest.mark.slow
def test_bound(run):
    pytest.importorskip("openvino")
    found = run("bound", VARIANT="moganet_nano", SIZE=32, IMAGES=3, ROUNDS=1, MATRIX=16, PAUSE=0.0, PRECISIONS=ONE)
    assert set(found["f32"]["share_of_bound"]) == {"ours", "free batch", "without activations"}
    assert {"1x1, with their SiLU", "1x1 to one channel (decompose)"} <= set(found["f32"]["profile_ms"])


def test_lime_auto(run, digit_model):
    found = run("lime_auto", digit_model, "digits", 1, FULL=128)
    assert found["images"] == 1 and set(found["agreement"]) == {"first_second", "first_auto", "second_auto"}


def test_temperature(run, digit_model):
    found = run("temperature", digit_model, "digits", 30, NUMBERS=(10,), DRAWS=2)
    assert found["images"] == 30


@pytest.mark.slow
def test_tune(run):
    pytest.importorskip("optuna")
    found = run("tune", 2, 1, SETTINGS={**MINI_RUN, "data.fraction": 0.1, "data.batch_size": 64})
    assert found["trials"] == 2 and found["seconds"] >= found["seconds_of_trainings"] > 0


@pytest.mark.slow  # two trainings
def test_freezing(run, folder, tmp_path):
    how = ["--model", "moganet_nano.digits", "--data", folder, "--keep", tmp_path / "runs", "--epochs", 2]
    found = run("freezing", *how, "--freeze-epochs", 1, "--seeds", 0)
    assert [one["freeze_epochs"] for one in found["sides"]] == [0, 1]


def test_guard(run, folder):
    found = run("guard", "moganet_nano.digits", "digits", f"photos={folder / 'val'}", NUM_DRAWN=3, NUM_KNOWN=20)
    rows = found["moganet_nano.digits"]["rejected"]
    assert (
        rows["plain pages"]["guard"] == 1 and rows["own test images"]["guard"] < 0.1 and rows["photos"]["images"] == 8
    )


def test_interactions(run):
    setting = {"variant": "moganet_nano", "options": {}, "size": 32, "grid": 4, "amount": (1, 1)}
    module = run("interactions", main=False, SETTINGS={"tiny": setting}, best_batch=lambda *_: (8, None))
    module.time_in_turns = lambda sides: importlib.import_module("sides").time_in_turns(sides, 1)
    module.main("tiny")


def test_interaction_checks(run):
    found = run("interaction_checks", population=lambda _: [], coverage=lambda *_: 0.9, CASES_OF_ESTIMATES=3)
    assert max(found["closed_forms"].values()) < 1e-10 and len(found["coverage"]) == 6


def test_interaction_curves(run, digit_model, tmp_path, monkeypatch):
    measure = moganet.interaction_curves
    small = {"grid": 4, "images": 2, "pairs": 2, "contexts": 2}
    monkeypatch.setattr(
        moganet, "interaction_curves", lambda *given, **options: measure(*given, **{**options, "budget": None, **small})
    )
    picture = {"PICTURE": tmp_path / "docs" / "i.png"}
    found = run("interaction_curves", f"title={digit_model}", "--data", "digits", **picture)
    assert found["models"][0]["name"] == "title" and (tmp_path / "docs" / "i.png").is_file()


def test_interaction_baselines(run, digit_model, tmp_path):
    small = ("--grid", 4, "--images", 2, "--pairs", 2, "--contexts", 2)
    found = run("interaction_baselines", digit_model, "--data", "digits", *small, PICTURE=tmp_path / "docs" / "b.png")
    assert (tmp_path / "docs" / "b.png").is_file() and found["zero"]["curve"] != found["blur"]["curve"]


def test_plain_network(run, tmp_path):
    channels = {"preprocessing.channels": 3, "preprocessing.mean": [0, 0, 0], "preprocessing.std": [1, 1, 1]}
    settings = {**channels, "data.batch_size": 8, "trainer.max_steps": 1, "trainer.max_epochs": 1}
    run("plain_network", tmp_path / "out", "--recipe", "digits", *set_options(settings))
    assert (tmp_path / "out" / "plain.safetensors").is_file()


def test_interruptions(run, tmp_path):
    module = run("interruptions", main=False)
    photographs = module.make_photographs(tmp_path / "photographs")
    line = [*module.photo_command(photographs), "--set", "trainer.max_steps=1", "--set", "data.workers=0"]
    in_this_process([*line, "--out", str(tmp_path / "run")])
    assert len(module.digest(tmp_path / "run")) == 64


@pytest.mark.slow
def test_processes(run, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", in_this_process)
    settings = {**MINI_RUN, "trainer.max_epochs": 1, "data.batch_size": 200}
    found = run("processes", LINE=["train", "digits", *set_options(settings)])
    assert len(found["two_processes"]["train/loss"]) == 1 and (tmp_path / "docs" / "processes.png").is_file()


SMALL_SCALE = {"VARIANTS": ("nano",), "SIZE": 32, "ROUNDS": 1, "PREDICTED": 4}


def test_scale(run, tmp_path):
    rates = {"a folder": 90.0, "shards": 80.0, "the network alone": 100.0}
    held = {"most_mb_by_threads": {"1": 300.0, "4": 900.0}, "a_further_thread_mb": 200.0}
    found = {"reading": rates, "batch": rates, "memory": {**held, "most_mb_by_torch_two_threads": 1000.0}}
    faked = {f"measure_{name}": lambda *_, figures=figures: figures for name, figures in found.items()}
    results, page = tmp_path / "benchmarks" / "results", tmp_path / "docs" / "scale.md"
    run("scale", **SMALL_SCALE, **faked, RESULTS=results)
    page.write_text((FOLDER.parent / "docs" / "scale.md").read_text())
    run("scale", "--only", "--write", page, RESULTS=results)
    text = page.read_text()
    assert text.count("| moganet_nano |") == 5 and "moganet_xlarge |" not in text
    assert "| read for training (`imagenet-xtiny`, 224 px) | 90 | 80 | |" in text and "900 MB by 4 threads" in text


@pytest.mark.slow
def test_scale_measures_what_is_read_and_predicted(run, tmp_path):
    results, network = tmp_path / "benchmarks" / "results", lambda *_: untrained()
    run("scale", **SMALL_SCALE, PHOTOGRAPHS=2, THREADS=(1, 2), predictor=network, RESULTS=results)
    found = json.loads((results / "scale.json").read_text())
    assert found["reading"]["shards"] > 0 and found["batch"]["a folder"] > 0
    assert found["memory"]["most_mb_by_threads"]["2"] > 100


def test_keep_run(run, trained_run, tmp_path):
    run("keep_run", trained_run, "kept", RESULTS=tmp_path / "results")
    assert {path.suffix for path in (tmp_path / "results").iterdir()} == {".json", ".yaml", ".csv"}


def test_accuracy_figure(run, trained_run, tmp_path):
    results = tmp_path / "results"
    run("keep_run", trained_run, "kept", RESULTS=results)
    peer = {"curve": [{"seconds": 60.0, "accuracy": 0.5}, {"seconds": 120.0, "accuracy": 0.9}]}
    (results / "peer.json").write_text(json.dumps(peer))
    module = run("accuracy_figure", main=False, RESULTS=results)
    seconds = json.loads((results / "kept.json").read_text())["seconds"]
    minutes, accuracy = module.curve("kept")
    assert minutes == sorted(minutes) and minutes[-1] == pytest.approx(seconds / 60)
    assert accuracy[-1] == json.loads((results / "kept.json").read_text())["validation"]["top1"]
    assert module.curve("peer") == ([1.0, 2.0], [0.5, 0.9])
    run("accuracy_figure", "ours=kept", "another=peer", "--out", tmp_path / "x.png", RESULTS=results)
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_ship(run, trained_run, tmp_path):
    run("ship", trained_run, "moganet_nano.digits", SHIPPED=tmp_path, TOLERANCE=1.0)
    assert "Test set: top-1" in (tmp_path / "moganet_nano.digits.md").read_text()
    assert tmp_path == run("ship", main=False).SHIPPED


def test_what_ships_lies_where_the_package_looks_for_it(run):
    assert (run("ship", main=False).SHIPPED / "moganet_nano.digits.safetensors").is_file()


def test_finetuning(run, photo_model, folder, tmp_path, monkeypatch):
    train = moganet.train
    small = {"preprocessing.size": 32, "data.batch_size": 8, "data.workers": 0, "trainer.precision": "f32"}
    monkeypatch.setattr(
        moganet, "train", lambda *given, **options: train(given[0], given[1], {**given[2], **small}, **options)
    )
    found = run("finetuning", photo_model, "--data", folder, "--keep", tmp_path, "--epochs", 1, "--seeds", 0, 1)
    assert found["budgets"][0]["epochs"] == 1 and len(found["budgets"][0]["interval"]) == 2


class SideInThisProcess:
    """Stand for a side's process, which would take seconds to start: each line that comes is served here."""

    def __init__(self, module, command, **_):
        self.serve = functools.partial(module.serve, *command[command.index("--serve") + 1 :])
        self.stdin, self.stdout = io.StringIO(), self

    def readline(self):
        kept, line = os.dup(1), self.stdin.getvalue().splitlines()[-1]
        with tempfile.TemporaryFile("w+") as said, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(f"{line}\n"))
            os.dup2(said.fileno(), 1)
            self.serve()
            os.dup2(kept, 1)
            os.close(kept)
            said.seek(0)
            return said.readline()

    def communicate(self):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_weights_memory(run, digit_model, monkeypatch):
    monkeypatch.setattr(subprocess, "run", in_this_process)
    assert run("weights_memory", main=False).peak("moganet.info(source)", digit_model) > 1e8


def test_against_paddle(run, capsys, monkeypatch):
    monkeypatch.setattr("inference.predictor", lambda *_: untrained(), raising=False)
    module = run("against_paddle", main=False)
    for what in ("infer", "train", "train-bf16"):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
        module.serve(what, 32, 2)
    assert all(float(line) > 0 for line in capsys.readouterr().out.split())


def test_port_in_paddle(run):
    pytest.importorskip("paddle", reason="paddlepaddle is not installed beside torch")
    run("port_in_paddle", main=False).make_round("infer", 32, 1)()


def test_house(run, folder, tmp_path, monkeypatch):
    module = run("house", main=False, XTINY={**MINI_RUN, "preprocessing.size": 32}, DIGITS=MINI_RUN)
    works = module.Works(tmp_path, str(folder), 1, 1)
    for work in (module.WORKS[name] for name in ("train-digits", "evaluate-photos", "predict-photos")):
        assert all(seconds > 0 for seconds in work(works).values())
    side = functools.partial(SideInThisProcess, module)
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(Popen=side, PIPE=subprocess.PIPE, run=subprocess.run))
    only = ("--rounds", 1, "--repeats", 1, "--only", "evaluate-digits", "predict-photos", "--photos", tmp_path / "none")
    run("house", FOLDER.parent, FOLDER.parent, *only)
    found = json.loads((tmp_path / "benchmarks" / "results" / "house.json").read_text())
    assert found["measured"]["evaluate-digits: whole"]["after_to_before"] > 0 and set(found["skipped"]) == {
        "predict-photos"
    }


GPU_PARTS = ("machine", "golden", "cifar10 test", "rates", "training")


@pytest.mark.slow  # two models in all their forms; the test below runs the script without its parts
@pytest.mark.parametrize("names", [("machine", "rates"), GPU_PARTS])
def test_gpu(names, run, monkeypatch, tmp_path):
    commands = []

    def trained(command, **options):
        commands.append(command)
        return in_this_process(command, **options)

    monkeypatch.setattr(subprocess, "run", trained)
    few = {"VARIANT": "nano", "MORE_PREDICTING": {}, "MORE_TRAINING": {}}
    module = run("gpu", main=False, **few)
    parts = {"machine": module.machine, "golden": module.golden, "cifar10 test": module.cifar10_test}
    parts |= {"rates": functools.partial(module.rates, variant="nano"), "training": module.training}
    out, sets = (
        tmp_path / "gpu.json",
        {**MINI_RUN, "preprocessing.size": 32, "trainer.max_epochs": 1, "data.batch_size": 479},
    )
    line = ["--data", "digits", *(text for key, value in sets.items() for text in ("--set", f"{key}={value}"))]
    run(
        "gpu",
        "--device",
        "cpu",
        "--quick",
        "--out",
        out,
        *line,
        PARTS={name: (0, parts[name]) for name in names},
    )
    found = json.loads(out.read_text())
    assert set(names) <= found.keys() and not [part for part in found.values() if part.get("failed")]
    assert found["rates"]["training"]["ratio"]["reference's form"] == 1 and not found["rates"]["training"]["failed"]
    if names != GPU_PARTS:
        return
    assert found["golden"]["f32"]["mini_paddle.pdparams"]["logits, fused"] < 1e-5
    assert found["training"]["exit_code"] == 0 and found["training"]["metrics"]["val/top1"].keys() == {"0"}
    assert commands[0][:2] == ["timeout", "--kill-after=20"] and "--resume" in commands[0]


def test_gpu_says_what_it_left_out(run, tmp_path):
    out = tmp_path / "gpu.json"
    out.write_text('{"golden": {"kept": 1}}')
    run("gpu", "machine", "rates of xtiny", "--minutes", 0, "--device", "cpu", "--out", out)
    found = json.loads(out.read_text())
    assert "skipped" in found["machine"] and "skipped" in found["rates of xtiny"] and found["golden"] == {"kept": 1}


def test_startup(run, tmp_path, monkeypatch):
    module = run("startup", main=False, MAKE="")
    monkeypatch.setattr(module.Side, "prepare", lambda side, works: None)
    run("startup", FOLDER.parent, FOLDER.parent, "--rounds", 1, "--only", "train: first line")
    found = json.loads((tmp_path / "benchmarks" / "results" / "startup.json").read_text())
    after = found["measured"]["train: first line"]["after"]
    assert all(after[key] > 0 for key in ("seconds", "processors", "mb"))


def test_busy(run, tmp_path, monkeypatch):
    """The scripts' processes would each take seconds to start: what they do is done here."""
    module = run("busy", main=False, BATCHES={"eager": 2})
    monkeypatch.setenv("THREADS", str(torch.get_num_threads()))

    class Here:
        def __init__(self, work, setting, threads):
            self.work = work

        def measure(self, seconds):
            with contextlib.redirect_stdout(io.StringIO()) as said, pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "stdin", io.StringIO(f"{seconds}\n"))
                module.serve(self.work)
            images, taken, processors = json.loads(said.getvalue().split("\n")[1])
            return images / taken, images / processors

        def end(self):
            pass

    how = ["--rounds", 1, "--seconds", 0.01, "--others", 0, 1, "--only", "eager"]
    run("busy", *how, Worker=Here, BATCHES={"eager": 2})
    found = json.loads((tmp_path / "benchmarks" / "results" / "busy.json").read_text())["others"]["eager"]
    assert list(found) == ["0", "1"] and "one thread" in found["1"]
    assert all(rate > 0 for some in found.values() for one in some.values() for rate in one.values())


LEFT_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # clients' sockets


@pytest.mark.slow
@LEFT_OPEN
def test_service(run):
    found = run("service", "--seconds", 1, "--concurrency", 1, 2, SIZES=((64, 48), (80, 60)), FILES=10)
    for one in (found["concurrency 1"], found["concurrency 2"]):
        assert one["lost"] == 0 and set(one["codes"]) <= {
            "200",
            "422",
        }  # many tests here made it eager, or on one thread
    assert found["concurrency 1"]["p95_ratio"] > 0


@pytest.mark.slow
def test_service_streams(run):
    assert all(rate > 0 for rate in run("service_streams", "--images", 16)["images_per_second"].values())


@pytest.mark.slow
@LEFT_OPEN
def test_service_against_litserve(run):
    pytest.importorskip("litserve", reason="a peer is measured, which nothing here needs")
    assert run("service_against_litserve", "--seconds", 1, "--rounds", 1)


@pytest.mark.slow
@LEFT_OPEN
def test_service_ray(run, monkeypatch):
    pytest.importorskip("ray.serve", reason="ray is not installed (extra 'scale')")
    monkeypatch.setenv("MOGANET_RUNTIME", "auto")  # eager answers differ in their last bits by the number of threads
    how = ["--seconds", 1, "--rounds", 1, "--concurrency", 2, "--kills", 1]
    found = run("service_ray", *how)
    assert found["killed"]["lost"] == found["killed"]["unlike_predict"] == 0
    assert set(found["killed"]["codes"]) <= {"200", "422"} and found["concurrency 2"]["share_of_local"] > 0


@pytest.mark.slow
def test_batch_memory(run, capsys):
    run("batch_memory", 5, SIZE=(320, 200))
    assert "5 photographs" in capsys.readouterr().out


@pytest.mark.slow
def test_batch_engines(run, tmp_path):
    data = f"cifar10:{real_data('cifar-10-python.tar.xz')}"
    results = tmp_path / "results"
    run("batch_engines", "--images", 3000, "--rounds", 1, "--photos", 4, "--data", data, RESULTS=results)
    found = json.loads((results / "batch_engines.json").read_text())
    assert not any(found["equal"]["unlike_predict"].values()) and found["rates"]["ray"]["while_writing"] > 0
    assert all(one.get("left_behind", 0) == 0 and one["rows"] == 3000 for one in found["killed"].values())


@pytest.mark.slow
def test_by_heart(run):
    small = {"trainer.max_epochs": 1, "preprocessing.size": [64, 64]}
    found = run("by_heart", real_data("coco-mini"), "maskrcnn", HEADS={"maskrcnn": small})
    assert found["objects"] > 8 and 0 <= found["maskrcnn"]["box_ap50"] <= 1


@pytest.mark.slow
def test_peer_cifar10(run, tmp_path):
    pytest.importorskip("airbench", reason="airbench is not installed")
    torch.manual_seed(0)
    pictures, numbers = torch.randint(0, 256, (1030, 3, 32, 32), dtype=torch.uint8), torch.arange(1030) % 10
    splits = {name: ArraySplit(pictures, ClassIndices(numbers)) for name in ("train", "test")}
    dataset = SimpleNamespace(splits=splits, class_names=tuple("abcdefghij"))
    run("peer_cifar10", "--epochs", 1, "--quiet", open_data=lambda spec: dataset, RESULTS=tmp_path)
    found = json.loads((tmp_path / "peer-airbench94-1-epochs-seed0.json").read_text())
    assert found["parameters"] == 1_972_792 and found["seconds"] > 0
    assert 0 <= found["top1"] <= 1 and 0 <= found["top1_with_views"] <= 1


def test_cifar10_settings(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MOGANET_REPORT", "off")
    small = {**MINI_RUN, "data.fraction": 0.1}
    settings = {"one": (None, small), "other": ("one", {**small, "optimizer.lr": 1e-3})}
    how = {"SETTINGS": settings, "RECIPE": "digits", "HELD_BACK": 100, "RESULTS": tmp_path}
    for only in ("other", "one"):  # what an earlier call trained stays in the table
        run("cifar10_settings", tmp_path / "runs", "--epochs", 1, "--data", "digits", "--only", only, **how)
    rows = json.loads((tmp_path / "cifar10_settings.json").read_text())["runs"]
    assert [(row["name"], row["seed"], row["epochs"]) for row in rows] == [("one", 0, 1), ("other", 0, 1)]
    assert all(0 < row["top1"] <= 1 and row["seconds"] > 0 for row in rows)


def test_every_script_has_a_test():
    tested = {name.removeprefix("test_") for name in globals()}
    assert {path.stem for path in FOLDER.glob("*.py")} - tested == {
        "sides",
        "gpu_forms",
        "gpu_checks",
    }  # which the others use
