"""What the service refuses, and how it says so: by a problem document, before it costs anything."""

import asyncio
import json
import struct
import threading
import zlib

import httpx
import pytest
from served import LIMITS, as_base64, ask, door, jpeg, opened, png, service
from small_model import model

from moganet.data.read import pixels_in_header
from moganet.serve.app import build_app
from moganet.serve.door import Access, shows
from moganet.serve.service import Service

PNG = {"content-type": "image/png"}
TOKEN = "correct-horse"


def bomb(width=60_000, height=60_000):
    """Give a PNG of a few bytes that says it has very many pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def is_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status and found["title"] and found["detail"] == found["error"]
    assert "Traceback" not in answer.text and "/site-packages/" not in answer.text and "\n" not in found["detail"]
    return found["detail"]


def to_predict(**what):
    return lambda: ask("POST", "/v1/predict", **what)


async def pieces():
    for _ in range(4):
        yield b"x" * 90_000


def in_json(value):
    return to_predict(json=value)


REFUSED = {
    "no place": (lambda: ask("GET", "/v1/nothing"), 404, "openapi.json"),
    "no method": (lambda: ask("GET", "/v1/predict"), 405, "methods"),
    "no model": (to_predict(content=png(), headers=PNG, params={"model": "<b>x</b>"}), 404, "there are small, fast"),
    "too many bytes": (to_predict(content=b"x" * 300_000, headers=PNG), 413, "200,000"),
    "too many in pieces": (to_predict(content=pieces(), headers=PNG), 413, "200,000"),
    "too many images": (to_predict(files=[("a", (f"{i}.png", png())) for i in range(4)]), 413, "accepted at a time"),
    "far too many images": (to_predict(files=[("a", (f"{i}.png", b"x")) for i in range(9)]), 413, "Too many files"),
    "no image": (to_predict(files={}, data={"top_k": "1"}, headers={"content-type": "application/json"}), 400, "JSON"),
    "another type": (to_predict(content=b"x", headers={"content-type": "text/plain"}), 415, "text/plain"),
    "no type": (to_predict(content=b"x"), 415, "no type"),
    "compressed": (to_predict(content=b"x", headers={**PNG, "content-encoding": "gzip"}), 415, "gzip"),
    "no whole form": (to_predict(content=b"x", headers={"content-type": "multipart/form-data"}), 400, "form"),
    "an empty body": (to_predict(content=b"", headers=PNG), 422, "empty"),
    "no number": (to_predict(content=png(), headers=PNG, params={"top_k": "many"}), 422, "top_k"),
    "too small a number": (to_predict(content=png(), headers=PNG, params={"top_k": 0}), 422, "top_k"),
    "no such setting": (to_predict(content=png(), headers=PNG, params={"topk": 1}), 422, "topk"),
    "a setting twice": (to_predict(files={"a": ("x", png())}, data={"top_k": "1"}, params={"top_k": 2}), 422, "once"),
    "a setting twice in the address": (
        to_predict(content=png(), headers=PNG, params=[("top_k", 1), ("top_k", 2)]),
        422,
        "top_k is given twice in the address",
    ),
    "an image twice": (
        to_predict(content=b'{"image": "a", "image": "b"}', headers={"content-type": "application/json"}),
        422,
        "image is given twice in the JSON",
    ),
    "another alphabet": (in_json({"image": "_-8="}), 422, "no base64 (the alphabet with + and /"),
    "a field for a file": (to_predict(files={"image": (None, b"x" * 20_000)}), 400, "-F images=@photo.jpg"),
    "no JSON": (to_predict(content=b"{", headers={"content-type": "application/json"}), 400, "no JSON"),
    "deep JSON": (to_predict(content=b"[" * 90_000, headers={"content-type": "application/json"}), 400, "deeply"),
    "a list": (in_json([1]), 422, "object"),
    "both": (in_json({"image": "", "images": []}), 422, "either"),
    "none": (in_json({"images": []}), 400, "at least one"),
    "a number": (in_json({"image": 3}), 422, "base64 text"),
    "a path": (in_json({"image": "/etc/passwd"}), 422, "never a path"),
    "an address": (in_json({"image": "http://169.254.169.254/"}), 422, "never a path"),
    "another entry": (in_json({"image": {"data": "", "path": "/etc/passwd"}}), 422, "must be"),
    "a bomb": (to_predict(content=bomb(), headers=PNG), 422, "pixels"),
    "a large picture": (
        to_predict(content=jpeg(200, 100), headers={"content-type": "image/jpeg"}),
        422,
        "20,000",
    ),
    "a page": (to_predict(content=b"<!doctype html>", headers=PNG), 422, "web page"),
    "another's page": (to_predict(content=png(), headers={**PNG, "origin": "https://evil.example"}), 403, "--cors"),
    "another name": (lambda: ask("GET", "/v1/models", named(), base="http://evil.example"), 421, "localhost"),
}


def named():
    return door(Access(hosts=("localhost", "127.0.0.1", "::1")))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_a_problem_that_names_the_remedy(name):
    send, status, said = REFUSED[name]
    assert said in is_problem(send(), status)
    assert door().accepted == 0 and door().held == 0


def test_names_are_data():
    for name in ("<img src=x onerror=alert(1)>", "../../etc/passwd", "a\r\nx-evil: 1", "ü🙂\u202e"):
        row = in_json({"image": {"name": name, "data": as_base64(png())}})()
        assert row.json()["predictions"][0]["file"] == name and row.headers["content-type"] == "application/json"
        assert row.headers["x-content-type-options"] == "nosniff" and "x-evil" not in row.headers
    halved = json.dumps({"image": {"name": "\ud800", "data": as_base64(png())}}).encode()
    lone = ask("POST", "/v1/predict", content=halved, headers={"content-type": "application/json"})
    assert lone.status_code == 200 and b"\\ud800" in lone.content


def test_pixels_are_counted_by_the_header():
    import io

    assert pixels_in_header(io.BytesIO(bomb(3000, 2000))) == 6_000_000
    assert pixels_in_header(io.BytesIO(bomb())) > 10**8
    assert pixels_in_header(io.BytesIO(b"no image")) == 0


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": "Basic !!!"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN}"}, 200),
        ({"authorization": "Basic " + as_base64(f"anyone:{TOKEN}".encode())}, 200),
    ],
)
def test_a_token_is_asked_for(given, status):
    to = door(Access(token=TOKEN))
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v2/models/small"):
        answer = ask("GET", path, to, headers=given, base="http://anywhere.example")
        assert answer.status_code == status
        if status == 401:
            is_problem(answer, 401)
            assert "Bearer" in answer.headers["www-authenticate"]
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert ask("GET", path, to).status_code == 200
    assert ask("POST", "/v1/predict", to, content=png(), headers={**PNG, **given}).status_code == status


def test_tokens_of_any_characters_are_compared():
    assert shows("Bearer grün-grün", "grün-grün") and not shows("Bearer grün", "grün-grün")
    assert not shows("Bearer ????????", "漢字漢字漢字漢字")
    to = door(Access(token="grün-grün"))
    for encoding in ("utf-8", "latin-1"):  # as curl in a terminal sends it, and as httpx does
        header = "Bearer grün-grün".encode(encoding)
        assert ask("GET", "/v1/models", to, headers={"authorization": header}).status_code == 200


def test_whatever_can_be_got_has_a_head():
    for path in ("/v1/models", "/metrics", "/openapi.json", "/healthz", "/v2/health/ready", "/v2/models/small"):
        assert ask("HEAD", path).status_code == 200
    assert ask("HEAD", "/v1/predict").status_code == 405 and ask("HEAD", "/v1/models", named()).status_code == 200
    assert 'code="200",method="HEAD",route="/v1/models"' in ask("GET", "/metrics").text


def test_pages_of_named_origins_may_ask_and_others_get_no_leave():
    to = door(Access(origins=("https://good.example",)))
    preflight = {"origin": "https://good.example", "access-control-request-method": "POST"}
    allowed = ask("OPTIONS", "/v1/predict", to, headers=preflight)
    assert allowed.headers["access-control-allow-origin"] == "https://good.example"
    answer = ask("POST", "/v1/predict", to, content=png(), headers={**PNG, "origin": "https://good.example"})
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://good.example"
    for other in (door(), to):
        refused = ask("OPTIONS", "/v1/predict", other, headers={**preflight, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
    own = ask("POST", "/v1/predict", content=png(), headers={**PNG, "origin": "http://localhost"})
    assert own.status_code == 200 and "access-control-allow-origin" not in own.headers


class Held:
    """A service whose model waits for leave to answer."""

    def __init__(self, limits=LIMITS):
        self.service, self.leave = opened(limits, small=model()), threading.Event()
        hosted = self.service.shelf.get()
        answer = hosted.lane._answer

        def held(images):
            self.leave.wait(20)
            return answer(images)

        hosted.lane._answer = held
        self.door = build_app(self.service)

    def at_once(self, number, after=0.2):
        """Send so many requests, give leave after some seconds, and give the responses."""

        async def asking():
            transport = httpx.ASGITransport(self.door)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                sent = [
                    asyncio.create_task(client.post("/v1/predict", content=png(), headers=PNG)) for _ in range(number)
                ]
                await asyncio.sleep(after)
                self.leave.set()
                return await asyncio.gather(*sent)

        return asyncio.run(asking())


def test_more_than_the_queue_holds_are_told_to_come_later():
    held = Held()
    answers = held.at_once(5)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
    for answer in answers:
        if answer.status_code == 429:
            is_problem(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
    assert ask("POST", "/v1/predict", held.door, content=png(), headers=PNG).status_code == 200


def test_what_takes_too_long_is_broken_off():
    held = Held(type(LIMITS)(seconds=0.2))
    (answer,) = held.at_once(1, after=0.6)
    assert "within 0.2 s" in is_problem(answer, 503)
    assert held.door.accepted == 0


def test_a_body_that_does_not_come_is_not_waited_for():
    async def slowly():
        yield png()[:10]
        await asyncio.sleep(20)

    to = build_app(opened(type(LIMITS)(seconds=0.2), small=model()))
    assert "did not come" in is_problem(ask("POST", "/v1/predict", to, content=slowly(), headers=PNG), 408)
    assert to.accepted == 0 and to.held == 0


def test_a_client_that_goes_away_is_not_answered():
    held = Held()

    async def leaving():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(held.door), base_url="http://localhost") as client:
            asking = asyncio.create_task(client.post("/v1/predict", content=png(), headers=PNG))
            await asyncio.sleep(0.2)
            assert held.door.accepted == 1
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert held.door.accepted == 0 and held.door.held == 0

    asyncio.run(leaving())
    held.leave.set()


def test_a_bug_is_told_to_the_log_alone(monkeypatch, caplog):
    async def broken(*_):
        raise RuntimeError("secret inside")

    monkeypatch.setattr(Service, "predict", broken)
    answer = ask("POST", "/v1/predict", content=png(), headers=PNG)
    assert "secret" not in is_problem(answer, 500) + answer.text
    assert "secret inside" in caplog.text
    assert service().ready
