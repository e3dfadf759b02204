"""Exit codes and streams: what ends a command is one line, whatever the locale, the disk or the reader of stdout."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import moganet_cli
from moganet.errors import DataError

# Commands of the test's own, so that importing torch is not waited for.
SCRIPT = """
import sys, time
from moganet_cli import main
from moganet_cli.app import app
from moganet_cli.output import line
@app.command()
def say(text: str, times: int = 1) -> None:
    for _ in range(times):
        line(text)
@app.command()
def wait() -> None:
    line("waiting")
    try:
        time.sleep(60)
    finally:
        time.sleep(SLOW)
main(sys.argv[1:])
"""


def command(*arguments, slow=0, **options):
    script = SCRIPT.replace("SLOW", str(slow))
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def test_a_closed_or_full_stdout_is_no_bug():
    with open("/dev/full", "w") as full:
        process = command("say", "hello", stdout=full)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 2 and error.count(b"\n") == 1 and b"No space left" in error
    with command("say", "x" * 1000, "--times", "10000") as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(timeout=60) == 141
    process = command("say", "hello", preexec_fn=lambda: os.close(1))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0 and error == b"moganet: stdout is closed, so that results are not printed\n"
    process = command("say", "hello", preexec_fn=lambda: os.close(2))
    assert process.communicate(timeout=60)[0] == b"hello\n" and process.returncode == 0


def test_a_locale_takes_any_text():
    process = command("say", "Müller漢", env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0 and out == b"M\xfcller\\u6f22\n" and not error


def test_a_second_interrupt_ends_at_once():
    with command("wait", slow=30) as process:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        # At once, not after the 30 s that its end takes: by the signal, or by 130 where both came before Python looked.
        assert process.wait(timeout=5) in (-signal.SIGINT, 130)
    process = command("wait")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 130 and error == b"moganet: stopped\n"


@pytest.fixture
def ended(monkeypatch, capsys):
    """Let a verb raise, and give exit code, stdout and stderr."""

    def run(error, *arguments):
        def verb(*_, **__):
            raise error

        monkeypatch.setattr("moganet.engine.info.info", verb)
        with pytest.raises(SystemExit) as end:
            moganet_cli.main(["info", *arguments])
        return end.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS, errno.EIO],
)
def test_a_refused_place_is_one_line_that_names_it(ended, number):
    code, out, error = ended(OSError(number, os.strerror(number), "a/pl\nace"))
    assert code == 2 and not out and len(error.splitlines()) == 1 and "a/pl\\nace" in error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("the first\n  the second\nthe last"), 2, "moganet: the first the second the last"),
        (DataError("\x1b[2Jname"), 2, "moganet: \\x1b[2Jname"),
        (
            DataError(
                "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  x\n"
                "moganet.errors.DataError: the first\nthe last\n"
            ),
            2,
            "moganet: the first the last",
        ),
        (DataError(""), 2, "moganet: DataError"),
        (KeyboardInterrupt(), 130, "moganet: stopped"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "moganet: No space left on device; make room"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (EOFError(), 1, "bug of moganet"),
        (OSError("of nobody knows what"), 1, "bug of moganet"),
        (RuntimeError("\x1b[2J"), 1, "RuntimeError: \\x1b[2J"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_every_end_has_its_code_and_line(ended, error, code, said, flags):
    found, out, text = ended(error, *flags)
    assert found == code and not out and said in text and "\x1b" not in text
    assert code == 1 or len(text.splitlines()) <= 1


def test_a_usage_error_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(["info", "--\x1b[2J"])
    text = capsys.readouterr().err
    assert end.value.code == 2 and len(text.splitlines()) == 1 and "info --help" in text and "\x1b" not in text


def test_json_is_valid_where_stdout_is_not_utf8(monkeypatch, tmp_path):
    from moganet_cli.output import print_json

    with open(tmp_path / "out", "w", encoding="cp1252") as file:
        monkeypatch.setattr("sys.stdout", file)
        print_json({"name": "漢 é \udce9"})
    assert json.loads((tmp_path / "out").read_bytes()) == {"name": "漢 é \udce9"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "MODEL", ""],
        ["evaluate", "MODEL", "--data", ""],
        ["predict", "MODEL", "a.png", "--csv="],
        ["convert", "MODEL", ""],
        ["info", ""],
        [""],
    ],
)
def test_an_empty_argument_is_not_the_folder_one_is_in(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and "is empty, as of a variable that is not set" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        *[("info", "--size"), ("info", "--num-classes"), ("info", "--in-chans"), ("predict", "--batch-size")],
        *[("explain", "--batch-size"), ("explain", "--seed"), ("explain", "--samples"), ("export", "--size")],
        *[("interactions", "--seed"), ("interactions", "--size"), ("interactions", "--batch-size")],
        *[("benchmark infer", "--size"), ("benchmark infer", "--batch")],
        *[("benchmark train", "--size"), ("benchmark train", "--batch")],
    ],
)
@pytest.mark.parametrize("number", ["99999999999999999999", "-1", "²"])
def test_a_number_beyond_all_bounds_is_one_line(verb, option, number, capsys):
    given = [] if verb.startswith(("info", "benchmark")) else ["a.png"] if verb in ("predict", "explain") else []
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*verb.split(), "moganet_nano", *given, option, number])
    said = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(said) == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 10 bytes")])
def test_more_memory_than_there_is_is_no_bug_of_ours(error, monkeypatch, capsys):
    def starve(*_, **__):
        raise error

    monkeypatch.setattr("moganet.engine.info.info", starve)
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(["info"])
    assert end.value.code == 2 and "more memory than there is" in capsys.readouterr().err
