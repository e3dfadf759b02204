"""The service as a process: it starts, takes changed models anew, finishes what it accepted, and ends."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
from own_process import command
from served import png
from small_model import model, write_model

import moganet_cli
from moganet.errors import ConfigError, OutputError
from moganet.serve.run import Opening, access_of, bound, serve
from moganet.serve.shelf import named_models

DOCS = Path(__file__).parents[2] / "docs"
PNG = {"content-type": "image/png"}
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked(port, method="GET", path="/readyz", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, PNG if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if condition():
                return
        time.sleep(0.05)
    raise AssertionError(f"no {what} in {seconds} s")


@posix
def test_a_service_reloads_and_finishes_what_it_accepted(tmp_path, monkeypatch, capsys):
    """In one process, since each takes seconds to start."""
    served, port = tmp_path / "one.safetensors", free_port()
    shutil.copy(model(), served)
    process = command("serve", served, "--port", port)
    try:
        wait_for(lambda: asked(port)[0] == 200, "start")
        first = json.loads(asked(port, "POST", "/v1/predict", png())[1])
        assert first["model"] == "one"

        # What the documentation says
        (tmp_path / "photo.jpg").write_bytes(png())
        monkeypatch.chdir(tmp_path)
        text = (DOCS / "service.md").read_text(encoding="utf-8")
        example = re.search(r"```python\n(import httpx.*?)```", text, re.DOTALL)[1]
        exec(compile(example.replace(":8000", f":{port}"), "service.md", "exec"), {})
        assert capsys.readouterr().out.startswith("photo.jpg {'name': 'class ")

        # A head without an end is not read without one; a long one that ends is
        with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 30_000 + b"\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            with pytest.raises(OSError):
                for _ in range(200):
                    client.sendall(b"x" * 100_000)
        assert json.loads(asked(port, "POST", "/v1/predict", png() + bytes(1_000_000))[1]) == first

        # Another process on the same port
        with pytest.raises(OutputError, match=f"{port}.*--port"):
            bound(Opening(port=port))

        # A broken file keeps the old model, and the service says so
        served.write_bytes(model().read_bytes()[:5000])
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: b'reloads_total{outcome="kept"} 1.0' in asked(port, path="/metrics")[1], "reload")
        assert json.loads(asked(port, "POST", "/v1/predict", png())[1]) == first

        # A changed one takes its place between two requests, never within one
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            write_model(served, seed="other")
            asking = [pool.submit(asked, port, "POST", "/v1/predict", png()) for _ in range(20)]
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: b'outcome="changed"} 1.0' in asked(port, path="/metrics")[1], "reload")
            answers = [json.loads(one.result()[1]) for one in asking]
        second = json.loads(asked(port, "POST", "/v1/predict", png())[1])
        assert second["sha256"] != first["sha256"] and second["predictions"] != first["predictions"]
        assert all(answer in (first, second) for answer in answers)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: b'outcome="same"} 1.0' in asked(port, path="/metrics")[1], "reload")

        # What is under way when it is stopped is answered; nothing new is taken
        with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as client:
            head = f"Host: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(png())}"
            client.sendall(f"POST /v1/predict HTTP/1.1\r\n{head}\r\n\r\n".encode() + png()[:-10])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: _refused(port), "end of listening")
            client.sendall(png()[-10:])
            client.settimeout(20)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    except BaseException:
        process.send_signal(signal.SIGKILL)
        raise
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in said
    assert "not reloaded and answers as before" in said and "reloaded: one changed" in said


def _refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(["serve", *map(str, words)])
    return end.value.code, capsys.readouterr().err.strip().splitlines()


def test_what_cannot_be_served_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("MOGANET_TOKEN", raising=False)
    short = tmp_path / "token.txt"
    short.write_text("abc")
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cases = {
            ("no/such/model",): "there is no model",
            (model(), "--port", taken.getsockname()[1]): "can't serve at 127.0.0.1:",
            (model(), "--host", "0.0.0.0"): "--token-file",
            (model(), "--host", "http://localhost"): "its port goes to --port",
            (model(), "--host", "localhost:80"): "its port goes to --port",
            (model(), "--host", "no.such.host.invalid", "--open"): "can't serve at",
            (model(), model()): "NAME=MODEL",
            (model(), f"a b={model()}"): "no name for a model",
            (model(), "--token", "abc"): "8 characters",
            (model(), "--token-file", short): "8 characters",
            (model(), "--token-file", tmp_path): "can't read the token",
            (model(), "--token", "long-enough", "--token-file", short): "not both",
            (model(), "--cors", "example.org"): "https://example.org",
            (model(), "--queue", "0"): "--queue",
        }
        for words, said in cases.items():
            code, lines = run(capsys, *words)
            errors = [line for line in lines if line.startswith("moganet:")]
            assert code == 2 and len(errors) == 1 and said in errors[0], (words, "\n".join(lines))


def test_a_service_that_nobody_hears_of_ends_with_one_line(caplog):
    def unheard(found):
        raise OutputError(f"can't write {found.address}")

    with pytest.raises(OutputError, match=r"can't write http://127\.0\.0\.1:"):
        serve([str(model())], Opening(port=0), started=unheard)
    assert "Traceback" not in caplog.text and "lifespan" not in caplog.text


def test_other_machines_need_a_token(monkeypatch, caplog):
    monkeypatch.setenv("MOGANET_TOKEN", "from-the-environment")
    assert access_of(Opening("0.0.0.0")).token == "from-the-environment" and not access_of(Opening("0.0.0.0")).hosts
    monkeypatch.delenv("MOGANET_TOKEN")
    with pytest.raises(ConfigError, match="--open"):
        access_of(Opening("::"))
    assert access_of(Opening("::", open=True)).token is None and "whoever reaches" in caplog.text
    assert "localhost" in access_of(Opening()).hosts and not access_of(Opening(token="long-enough")).hosts


def test_models_have_names_that_addresses_take(tmp_path):
    (tmp_path / "ä b=c.onnx").touch()
    words = ["moganet_nano.cifar10", "runs/a/best.safetensors", "x/y.pth.tar", str(tmp_path / "ä b=c.onnx"), "z=runs/a"]
    assert list(named_models(words)) == ["moganet_nano.cifar10", "a", "y", "b-c", "z"]
