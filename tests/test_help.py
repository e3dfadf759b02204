"""Help and completion, as a person at a terminal meets them."""

import os
import re
import subprocess
import sys

import pytest
import typer

import moganet_cli
from moganet_cli.app import app
from moganet_cli.help import parameters_of

GROUP = typer.main.get_command(app)
VERBS = {name: one for name, one in GROUP.commands.items() if not hasattr(one, "commands")}
VERBS |= {
    f"{group} {name}": one for group in ("benchmark", "shards") for name, one in GROUP.commands[group].commands.items()
}
# What is called alike means the same, but for what the help of each says more.
SAME = {"batch_size": "--batch-size", "batch": "--batch-size", "seed": "--seed", "workers": "--workers"}
SAME |= {"size": "--size", "out": "--out", "data": "--data", "as_json": "--json", "precision": "--precision"}


def shown(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(list(arguments))
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("verb", VERBS)
def test_help_cuts_no_name_and_fits(verb, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown(capsys, *verb.split(), "-h")
    assert text == shown(capsys, *verb.split(), "--help")
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    flowing = re.sub(r"[\s│]", "", text)
    for one in parameters_of(VERBS[verb]):
        assert re.sub(r"\s", "", one.names) in flowing, one.names
        assert one.info.help and "RANGE" not in one.names
    assert "Example" in text and "-q, --quiet" in text and "-v, --verbose" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_one_that_the_command_takes(verb):
    for example in VERBS[verb].epilog.splitlines():
        program, *words = example.split()
        assert program == "moganet" and words[: len(verb.split())] == verb.split()
        VERBS[verb].make_context(verb, words[len(verb.split()) :])  # parses, runs nothing


def test_the_overview_names_every_verb_whole_also_where_it_is_piped():
    script = "import moganet_cli; moganet_cli.main(['-h'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    environment.pop("COLUMNS", None)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert all(f"| {name} " in run.stdout for name in GROUP.commands) and run.stdout.isascii()


def test_what_is_called_alike_is_written_alike():
    for verb, command in VERBS.items():
        for one in parameters_of(command):
            if one.name in SAME and one.spellings:
                assert SAME[one.name] in one.spellings, (verb, one.name)
    words = {one.info.help for command in VERBS.values() for one in parameters_of(command) if one.name == "seed"}
    assert len(words) == 1


def words_for(line: str, monkeypatch, capsys) -> list[str]:
    """Give what bash would propose for the last word of a line."""
    monkeypatch.setenv("_MOGANET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    return shown(capsys).split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("moganet tra", ["train"]),
        ("moganet train dig", ["digits"]),
        ("moganet train digits --ep", ["--epochs"]),
        ("moganet train digits --network xl", ["xlarge"]),
        ("moganet train digits --data cifar1", ["cifar10", "cifar100"]),
        ("moganet train digits --data my-ph", ["my-photos/"]),
        ("moganet train multilabel --set task.m", ["task.mix="]),
        ("moganet train digits --set schedule.name=co", ["schedule.name=cosine", "schedule.name=constant"]),
        ("moganet predict moganet_nano.d", ["moganet_nano.digits"]),
        ("moganet predict m --runtime o", ["onnx", "openvino"]),
        ("moganet evaluate m --split te", ["test"]),
        ("moganet train digits --device cu", ["cuda"]),
        ("moganet explain moganet_nano.cifar10 x.png --target a", ["airplane", "automobile"]),
        ("moganet explain moganet_tiny.in1k x.png --target a", []),  # not here, and not downloaded for a word
        ("moganet explain m x.png --method g", ["gradcam"]),
        ("moganet settings digits warm", []),
        ("moganet settings digits schedule.warm", ["schedule.warmup"]),
    ],
)
def test_a_shell_completes_words(line, expected, monkeypatch, capsys, tmp_path):
    (tmp_path / "my-photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert words_for(line, monkeypatch, capsys) == expected


def test_completion_waits_for_no_torch_and_is_installed(tmp_path):
    script = """
import sys, moganet_cli
import os
for line in ("train digits --set data.", "explain moganet_nano.cifar10 x --target a", "predict m"):
    line = f"moganet {line}"
    os.environ |= {"_MOGANET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    try:
        moganet_cli.main([])
    except SystemExit as end:
        assert end.code == 0
del os.environ["_MOGANET_COMPLETE"]
os.environ["SHELL"] = "/bin/bash"
import shellingham
shellingham.detect_shell = lambda: ("bash", "/bin/bash")
for option in ("--install-completion", "--show-completion"):
    try:
        moganet_cli.main([option])
    except SystemExit as end:
        assert end.code == 0
assert not {"torch", "timm", "pytorch_lightning"} & sys.modules.keys()
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert "data.batch_size=" in run.stdout and "airplane" in run.stdout and "moganet_nano" in run.stdout
    assert "complete_bash" in (tmp_path / ".bash_completions" / "moganet.sh").read_text()


def test_quiet_says_nothing_but_the_result_and_verbose_says_more(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = ["settings", "digits", "lr"]
    assert shown(capsys, *arguments, "--quiet") == shown(capsys, *arguments)
    with pytest.raises(SystemExit):
        moganet_cli.main(["settings", "digts", "--verbose"])
    said = capsys.readouterr().err
    assert "Traceback" in said and said.splitlines()[-1].startswith("moganet: there is no recipe")
    with pytest.raises(SystemExit):  # it holds for one command only
        moganet_cli.main(["settings", "digts"])
    assert len(capsys.readouterr().err.splitlines()) == 1
