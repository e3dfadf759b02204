"""The command line, as a user meets it: output, exit codes, and mistakes in one line."""

import json
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import GOLDEN
from own_process import command
from PIL import Image

import moganet_cli
from moganet import evaluate, explain, export, load, predict
from moganet.errors import ConfigError
from moganet.inference.export import EXPORTERS
from moganet_cli.output import from_here

COMMANDS = ["train", "evaluate", "predict", "verify", "explain", "report", "interactions", "info", "convert", "push"]
COMMANDS += ["export", "doctor", "tune", "runs", "compare"]
SMALL = ["--set", "network.embed_dims=[8,8,16,16]", "--set", "network.depths=[1,1,1,1]"]


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def moganet(capsys, monkeypatch):
    """Run the command in this process, since importing torch takes seconds, and give what a shell would see."""

    def run(*arguments):
        monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
        capsys.readouterr()
        code = 0
        with warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)  # lines for a person, as in a shell
            try:
                moganet_cli.main([str(argument) for argument in arguments])
            except SystemExit as end:
                code = end.code
        captured = capsys.readouterr()
        return Result(code or 0, captured.out, captured.err)

    return run


def test_help_comes_without_torch():
    script = """
import sys, moganet_cli
try:
    moganet_cli.main(["--help"])
except SystemExit:
    pass
assert not {"torch", "timm"} & sys.modules.keys()
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_has_json(moganet, command):
    result = moganet(command, "--help")
    assert result.returncode == 0 and "--json" in result.stdout


def test_info_is_one_json_object_with_the_published_sizes(moganet):
    result = moganet("info", "--json")
    table = json.loads(result.stdout)
    assert {v["name"]: v["parameters"] for v in table["variants"]}["moganet_xtiny"] == 2_956_066
    assert [v["name"] for v in table["variants"] if v["ours"]] == ["moganet_nano"]
    layers = json.loads(moganet("info", "xt", "--size", 64, "--json").stdout)
    assert layers["parameters"] == 2_956_066 and layers["stages"][0] == [32, 16, 16]
    assert "patch_embed1.projection.0" in moganet("info", "xt", "--layers").stdout


def test_info_opens_with_what_a_person_asks(moganet, trained_run):
    shown = moganet("info", "moganet_nano.cifar10").stdout.splitlines()
    assert "10 (airplane, automobile, bird, cat, …, truck)" in shown[1]
    assert "94.16 %" in shown[2] and "10000 images of cifar10, split test" in shown[2]
    assert shown[3] == "trained on: cifar10, recipe cifar10, seed 0, steps 14040"
    assert "1,361,081 parameters" in shown[4] and " MB" in shown[4] and "32x32 pixels" in shown[5]
    assert not any("projection" in row for row in shown)
    assert "patch_embed1.projection.0" in moganet("info", "moganet_nano.cifar10", "--layers").stdout
    changed = moganet("info", "moganet_nano.cifar10", "--in-chans", 1).stdout
    assert "accuracy: not known of what was changed" in changed and "94.16" not in changed
    run = moganet("info", trained_run).stdout
    assert "trained on: digits" in run and "on the validation images, in training" in run
    foreign = moganet("info", GOLDEN / "mini_official.pth.tar").stdout
    assert "accuracy: not said in the file" in foreign and "trained on: not said in the file" in foreign
    assert "moganet_xtiny.in1k (top-1 76.5 %)" in moganet("info", "xt").stdout


def test_a_model_file_is_described(moganet, trained_run):
    described = json.loads(moganet("info", trained_run / "best.safetensors", "--size", 32, "--json").stdout)
    assert described["stages"][0] == [16, 8, 8]


def test_evaluate_and_predict_print_one_object_and_nothing_else(moganet, trained_run, tmp_path):
    evaluated = moganet("evaluate", trained_run, "--json", "--out", tmp_path)
    assert evaluated.returncode == 0 and 0 <= json.loads(evaluated.stdout)["top1"] <= 1
    predicted = moganet("predict", trained_run, "--data", "digits", "--limit", 3, "--json")
    assert len(json.loads(predicted.stdout)["predictions"]) == 3
    for result in (
        moganet("evaluate", trained_run, "--out", tmp_path),
        moganet("predict", trained_run, "--data", "digits", "--limit", 3),
    ):
        assert result.returncode == 0 and "%" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "digitz"], "did you mean 'digits'?"),
        (["train", "digits", "--set", "trainer.max_epoch=1"], "trainer.max_epochs"),
        (["train", "digits", "--set", "nonsense"], "KEY=VALUE"),
        (["train", "digits", "--epoch", "3"], "did you mean --epochs?"),
        (["train", "digits", "--epochs", "3", "--set", "trainer.max_epochs=4"], "give one of the two"),
        (["train", "digits", "--from", "a", "--set", "start.model=b"], "give one of the two"),
        (["train", "digits", "--epochs", "0"], "--epochs"),
        (["train", "digits", "--network", "tinny"], "did you mean 'tiny'?"),
        (["train", "digits", "--set", "schedule.name=cosin"], "did you mean 'cosine'?"),
        (["train", "digits", "--set", "task=clasify"], "did you mean 'classify'?"),
        (["train", "digits", "--set", "logger=tensorbord"], "did you mean 'tensorboard'?"),
        (["train", "digits", "--data", "cifar11"], "did you mean 'cifar10'?"),
        (["train", "digits", "--data", GOLDEN.parent / "goldn"], "did you mean '"),
        (["train", GOLDEN.parent / "nothing.yaml"], "there is no recipe file"),
        (["trian", "digits"], "Did you mean 'train'?"),
        (["settings", "digts"], "did you mean 'digits'?"),
        (["settings", "digits", "max_epoch_"], "did you mean 'max_epochs'?"),
        (["predict", "moganet_nano.cifr10", "x.png"], "did you mean 'moganet_nano.cifar10'?"),
        (["predict", "moganet_nano", "x.png", "--runtime", "opnvino"], "did you mean 'openvino'?"),
        (["predict", "moganet_nano", "x.png", "-q", "-v"], "give one of them"),
        (["evaluate", "moganet_nano.digits", "--data", "digits", "--split", "tset"], "did you mean 'test'?"),
        (["explain", "moganet_nano.cifar10", GOLDEN / "x.png", "--method", "gradcm"], "did you mean 'gradcam'?"),
        (["info", "moganet_tny"], "did you mean 'moganet_tiny'?"),
        (["train", "digits", "--data", "/no/such/path"], "data source"),
        (["evaluate", "/no/such/model"], "there is no model"),
        (["evaluate", "moganet_nano"], "--data"),
        (["predict", "moganet_nano"], "nothing to predict"),
        (["info", "resnet50"], "no variant or model file"),
        (["predict", "moganet_nano", "x.png", "--precision", "f8"], "f8"),
        (["info", "--nonsense"], "--nonsense"),
        (["export", "moganet_nano"], "--all"),
        (["export", "moganet_nano", "--all", "--raw"], "leave"),
        (["export", "moganet_nano", "--to", "onnx", "--precision", "bf16"], "openvino"),
        (["benchmark", "infer", "timm:no_such_model"], "no_such_model"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(moganet, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = moganet(*arguments)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr and "Traceback" not in result.stderr and not result.stdout
    if result.stderr.startswith("moganet: "):
        assert len(result.stderr.strip().splitlines()) == 1


def test_names_are_printed_as_they_are(moganet, trained_run, tmp_path):
    (tmp_path / "[3]").mkdir()
    for name in ("0 [draft].png", "[/x].png"):
        Image.new("L", (8, 8)).save(tmp_path / "[3]" / name.replace("/", "_"))
    result = moganet("predict", trained_run, tmp_path)
    assert result.returncode == 0 and "0 [draft].png" in result.stdout and "[_x].png" in result.stdout


def test_nothing_readable_is_the_users_mistake(moganet, trained_run):
    for flag in ([], ["--json"]):
        result = moganet("predict", trained_run, "/no/such.jpg", *flag)
        assert result.returncode == 2 and "no such file" in result.stderr
    assert json.loads(result.stdout)["unreadable"][0]["file"] == "/no/such.jpg"


def test_data_within_the_current_folder_are_printed_as_they_were_named(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for text in ("folder:photos", "table:sets/a.csv?labels=b"):
        source, path = text.split(":")
        assert from_here(f"{source}:{tmp_path / 'here' / path} (test)") == f"{text} (test)"
    for elsewhere in (f"folder:{tmp_path}/photos", f"folder:{tmp_path}/here2/photos", "digits"):
        assert from_here(elsewhere) == elsewhere


def test_doctor_and_benchmark_and_preview(moganet, tmp_path):
    assert json.loads(moganet("doctor", "--json").stdout)["environment"]["cores"] >= 1
    assert "test" in moganet("doctor", "--data", "digits").stdout
    assert json.loads(moganet("benchmark", "data", "digits", *SMALL, "--json").stdout)["ratio"] > 0
    assert json.loads(moganet("train", "digits", "--preview", tmp_path / "p.png", "--json").stdout)["images"] == 40
    assert (tmp_path / "p.png").exists()


def test_a_run_is_exported_used_and_compared(moganet, trained_run, tmp_path, monkeypatch):
    out = tmp_path / "digits.xml"
    written = json.loads(
        moganet("export", trained_run, "--to", "openvino", "--out", out, "--data", "digits", "--json").stdout
    )
    assert written["out"] == str(out) and written["agreement"] == 1 and written["top1"] == written["top1_before"]
    evaluated = json.loads(moganet("evaluate", out, "--data", "digits", "--out", tmp_path / "e", "--json").stdout)
    assert evaluated["runtime"] == "openvino" and evaluated["top1"] == pytest.approx(written["top1"])
    # Two forms: tests/contracts/test_exporters.py writes each of them.
    monkeypatch.setattr("moganet.engine.export.EXPORTERS", {to: EXPORTERS[to] for to in ("program", "openvino")})
    monkeypatch.setattr(EXPORTERS["program"], "PRECISIONS", ("f32",))
    monkeypatch.setattr(EXPORTERS["openvino"], "PRECISIONS", ("int8",))
    table = moganet("export", trained_run, "--all", "--out", tmp_path / "all")
    assert table.returncode == 0 and "program f32" in table.stdout and "images/s" in table.stdout
    assert "int8 needs --data" in table.stdout and (tmp_path / "all" / "best.pt2").exists()


def test_profile_and_benchmarks_print_a_table_or_one_object(moganet, tmp_path):
    assert "backward" in moganet("train", "digits", "--profile", *SMALL).stdout
    assert json.loads(moganet("train", "digits", "--profile", "--json", *SMALL).stdout)["images_per_second"] > 0
    trained = json.loads(moganet("benchmark", "train", "nano", "--size", 32, "--batch", 4, "--json").stdout)
    assert trained["images_per_second"] > 0


def test_a_runs_folder_and_a_checkpoint_are_described(moganet, trained_run):
    described = json.loads(moganet("info", trained_run, "--json").stdout)
    assert described["size"] == 32 and described["stages"][0] == [16, 8, 8]
    released = json.loads(moganet("info", GOLDEN / "mini_official.pth.tar", "--json").stdout)
    assert released["stages"][-1] == [32, 7, 7]


def test_a_files_weights_and_function_are_shown_and_can_be_chosen(moganet, caplog):
    caplog.set_level("INFO", "moganet")  # on stderr, which pytest has taken
    result = moganet("info", GOLDEN / "mini_official.pth.tar", "--weights", "ema", "--stem-stride", 2, "--json")
    described = json.loads(result.stdout)["file"]
    assert (described["weights"], described["gate"], described["stem_stride"]) == ("ema", "single", 2)
    assert described["num_classes"] == 10 and described["in_chans"] == 3 and described["tensors"] == 237
    chosen, guessed = (record.message for record in caplog.records)  # a line each
    assert "ema weights (as asked)" in chosen and "--gate" in guessed and "--weights" not in guessed
    shown = moganet("info", GOLDEN / "mini_openmixup.pth")
    assert "double gate (OpenMixup trains so" in shown.stdout and "classes: 10" in shown.stdout
    assert moganet("info", GOLDEN / "mini_openmixup.pth", "--weights", "ema").returncode == 2


def test_convert_verify_and_push(moganet, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    made = moganet("convert", GOLDEN / "mini_paddle.pdparams", tmp_path / "x.safetensors", "--json")
    result = json.loads(made.stdout)
    assert result["target"] == "model" and result["channel_aggregation"] == "paddle" and result["fixtures"] == 4
    assert "leaves `decompose` unused" in caplog.text
    checked = json.loads(moganet("verify", tmp_path / "x.safetensors", "--json").stdout)
    assert checked["ok"] and checked["max_deviation"] < 1e-4
    assert "largest deviation" in moganet("verify", tmp_path / "x.safetensors").stdout
    pushed = moganet("push", tmp_path / "x.safetensors", "somebody/x", "--out", tmp_path / "hub")
    assert pushed.returncode == 0 and "not uploaded" in pushed.stdout
    content = bytearray((tmp_path / "x.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "x.safetensors").write_bytes(content)
    broken = moganet("verify", tmp_path / "x.safetensors")
    assert broken.returncode == 2 and len(broken.stderr.strip().splitlines()) == 1 and "hash" in broken.stderr


def test_a_backbone_without_a_head_is_described_and_says_that_it_names_nothing(moganet, tmp_path):
    headless = tmp_path / "backbone.safetensors"
    assert moganet("convert", GOLDEN / "mini_official.pth.tar", headless, "--num-classes", 0).returncode == 0
    assert moganet("verify", headless).returncode == 0
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    result = moganet("predict", headless, tmp_path / "x.png")
    assert result.returncode == 2 and "no head" in result.stderr and "Traceback" not in result.stderr


def test_train_prints_one_object_and_a_line_an_epoch_on_stderr(moganet, tmp_path):
    result = moganet("train", "digits", *SMALL, "--set", "trainer.max_epochs=2", "--out", tmp_path / "run", "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["epochs"] == 2 and printed["best"]["top1"] >= 0 and printed["out"] == str(tmp_path / "run")
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2 and "images/s" in lines[0]
    assert all("warning" not in line.lower() for line in result.stderr.splitlines()), result.stderr


def test_ctrl_c_ends_in_one_line_that_names_what_is_kept(moganet, tmp_path):
    process = command("train", "digits", *SMALL, "--set", "trainer.max_epochs=200", "--out", tmp_path / "run")
    wait_for(tmp_path / "run" / "last.safetensors")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert "the run is saved after" in stderr.splitlines()[-1] and "--resume" in stderr.splitlines()[-1]
    assert moganet("predict", tmp_path / "run", "--data", "digits", "--limit", 1).returncode == 0


def wait_for(path: Path, seconds: int = 90):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.1)


def test_the_module_is_the_command():
    result = subprocess.run([sys.executable, "-m", "moganet", "--version"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.strip().count(".") >= 2


def test_our_own_bug_is_a_traceback_and_exit_code_1(moganet, monkeypatch):
    monkeypatch.setattr("moganet.engine.info.info", None)
    result = moganet("info")
    assert result.returncode == 1 and "Traceback" in result.stderr and "please report" in result.stderr


def test_what_is_asked_of_a_variant_is_answered_or_refused(moganet):
    parameters = [
        json.loads(moganet("info", "t", "--json", *given).stdout)["parameters"]
        for given in (("--num-classes", "10", "--in-chans", "1"), ())
    ]
    assert parameters[0] < parameters[1]
    refused = moganet("info", "--gate", "double")
    assert refused.returncode == 2 and "gate can be chosen for one network" in refused.stderr


FUNCTION = {"weights": "ema", "gate": "double", "channel_aggregation": "paddle", "stem_stride": 2}
SHAPE = {"num_classes": 3, "in_chans": 1}
# Each command with the verb that it calls and those choices that change a model's shape.
CHOOSING = {
    "evaluate m": ("evaluate.evaluate", ["in_chans"]),
    "predict m x.png": ("predict.predict", ["in_chans"]),
    "explain m x.png": ("explain.explain", ["in_chans"]),
    "report m": ("report.write_report", ["in_chans"]),
    "export m --to onnx": ("export.export", ["in_chans"]),
    "export m --all": ("export.export_all", ["in_chans"]),
    "verify m": ("verify.verify", []),
    "info m": ("info.info", ["num_classes", "in_chans"]),
    "convert m x.safetensors": ("convert.convert", ["num_classes", "in_chans"]),
    "push m a/b": ("push.push", []),
    "interactions m": ("interactions.interaction_curves", ["in_chans"]),
    "benchmark infer m": ("benchmark.benchmark_infer", ["in_chans"]),
    "benchmark train m": ("benchmark.benchmark_train", ["in_chans"]),
}


@pytest.mark.parametrize("command", CHOOSING)
def test_every_command_passes_on_the_choices_that_were_given_and_no_others(moganet, command, monkeypatch):
    verb, shape = CHOOSING[command]
    passed = []

    def called(*_, **given):
        passed.append({name: value for name, value in given.items() if name in FUNCTION | SHAPE})
        raise ConfigError("seen")

    monkeypatch.setattr(f"moganet.engine.{verb}", called)
    choices = FUNCTION | {name: SHAPE[name] for name in shape}
    for chosen in ({}, choices, *({name: value} for name, value in choices.items())):
        options = [str(part) for name, value in chosen.items() for part in (f"--{name.replace('_', '-')}", value)]
        assert "seen" in moganet(*command.split(), *options).stderr and passed.pop() == chosen
    for name in set(SHAPE) - set(shape):
        assert "No such option" in moganet(*command.split(), f"--{name.replace('_', '-')}", "1").stderr


@pytest.fixture
def photos(tmp_path):
    for label in ("class_0", "class_1"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.linear_gradient("L").rotate(90 * int(label[-1])).save(tmp_path / "photos" / label / "x.png")
    return tmp_path / "photos"


def test_a_chosen_function_is_what_is_measured_predicted_and_explained(moganet, photos, tmp_path):
    model, data = GOLDEN / "mini_official.pth.tar", f"folder:{photos}"
    losses, answers, explained = {}, {}, {}
    for gate in ("single", "double"):
        how = ("--gate", gate, "--json")
        losses[gate] = json.loads(moganet("evaluate", model, "--data", data, *how).stdout)["loss"]
        answers[gate] = json.loads(moganet("predict", model, photos, *how).stdout)["predictions"]
        out = moganet("explain", model, photos, "--method", "saliency", "--out", tmp_path / gate, *how).stdout
        explained[gate] = [image["probability"] for image in json.loads(out)["images"]]
    for found in (losses, answers, explained):
        assert found["single"] != found["double"]
    default = json.loads(moganet("predict", model, photos, "--json").stdout)["predictions"]
    assert default == answers["single"]


def test_what_a_run_keeps_is_of_its_own_function(moganet, trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in trained_run.rglob("*")}
    assert moganet("evaluate", trained_run, "--gate", "double").returncode == 0
    assert moganet("report", trained_run, "--gate", "double", "--no-explain").returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in trained_run.rglob("*")}
    assert (tmp_path / "digits-report.html").exists()


def test_a_predictor_has_its_choices_made(photos):
    predictor = load(GOLDEN / "mini_official.pth.tar", "eager")
    for verb, given in (
        (evaluate, {"data": f"folder:{photos}"}),
        (predict, {"files": photos}),
        (explain, {"images": photos}),
        (export, {"to": "onnx"}),
    ):
        with pytest.raises(ConfigError, match="give gate to load"):
            verb(predictor, **given, gate="double")
    with pytest.raises(ConfigError, match=r"load knows weights.*not gates"):
        evaluate(GOLDEN / "mini_official.pth.tar", gates="double")
