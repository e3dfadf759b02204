"""The page's own doors: the service's token and limits hold there, and it gives and asks for nothing else."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from served import LIMITS, ask, jpeg, png, service

from moganet.errors import ConfigError
from moganet.serve.app import build_app
from moganet.serve.door import Access
from moganet.serve.explaining import Until
from moganet.serve.page import PARTS, mount
from moganet.serve.samples import samples_of

TOKEN = "a token of the tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of samples, one of which is none."""
    place = tmp_path_factory.mktemp("samples")
    (place / "<b>one.png").write_bytes(png())
    (place / "broken.png").write_bytes(png()[:60])
    return place


@pytest.fixture
def guarded(folder):
    return build_app(service(), Access(token=TOKEN), lambda app: mount(app, service(), folder))


def shown(path, to, method="GET", **what):
    return ask(method, path, to, headers={"authorization": f"Bearer {TOKEN}"}, **what)


def test_token_and_limits_hold_for_the_page_too(guarded):
    parts = ("/", "/page/page.js", "/page/samples", "/page/samples/0")
    assert [ask("GET", path, guarded).status_code for path in parts] == [401] * 4
    assert [shown(path, guarded).status_code for path in parts] == [200] * 4
    for path in ("/v1/page/answer", "/v1/page/explanation"):
        assert ask("POST", path, guarded, files={"image": png()}).status_code == 401
        large = shown(path, guarded, "POST", files={"image": bytes(LIMITS.bytes + 1)})
        assert large.status_code == 413 and large.headers["content-type"] == "application/problem+json"
        found = shown(path, guarded, "POST", files={"image": jpeg(200, 100)}).text
        assert "20,000 pixels, and 10,000 are accepted" in found
        two = [("image", png()), ("image", png(1))]
        assert shown(path, guarded, "POST", files=two).status_code == 413
        assert shown(path, guarded, "POST", files={"image": png()}, params={"model": "x"}).status_code == 404
    other = shown("/v1/page/answer", guarded, "POST", json={"image": "http://example.org/x.png"})
    assert other.status_code == 422 and "never a path or an address" in other.json()["detail"]


def test_nothing_but_its_own_parts_is_given_and_none_asks_elsewhere(guarded):
    for name in ("", *(f"page/{part}" for part in PARTS)):
        reply = shown(f"/{name}", guarded)
        assert "default-src 'none'" in reply.headers["content-security-policy"] and "://" not in reply.text
    for path in ("/page/other.js", "/page/..%2Fpage.py", "/page/samples/1", "/page/samples/-1", "/page/samples/x"):
        assert shown(path, guarded).status_code in (404, 422)
    assert "/page" not in shown("/openapi.json", guarded).text


def test_without_the_page_there_is_nothing_at_its_place():
    assert ask("GET", "/", build_app(service())).status_code == 404


@pytest.mark.parametrize(("method", "layers"), [("lime", 1), ("orders", 17)])
def test_an_explanation_tells_how_far_it_has_come(guarded, method, layers):
    settings = {"method": method, "model": "small"} | ({"samples": 200} if method == "lime" else {})
    reply = shown("/v1/page/explanation", guarded, "POST", files={"image": png()}, params=settings)
    *steps, found = map(json.loads, reply.text.splitlines())
    assert steps and all(0 < step["done"] <= step["total"] for step in steps)
    assert len(found["layers"]) == layers and found["signed"] == (method == "lime")
    top, left, bottom, right = found["part"]  # of 40x36 pixels for a network that takes 48x32, cut by 0.9
    assert 0 <= top < bottom <= 1 and 0 <= left < right <= 1 and (top, left) != (0, 0)
    assert bool(found["lines"]) == (method == "lime")


def test_what_can_not_be_explained_is_said_in_the_stream(guarded):
    ask_for = {"method": "gradcam", "model": "small", "target": "no such class"}
    reply = shown("/v1/page/explanation", guarded, "POST", files={"image": png()}, params=ask_for)
    assert "knows no class 'no such class'" in json.loads(reply.text.splitlines()[-1])["problem"]


def test_lime_makes_do_with_what_it_has_when_its_time_is_nearly_over():
    slow = Until(60, free=True)
    slow.begin -= 45
    assert list(slow([32] * 5, 160, "lime")) == [32] and list(slow([1] * 5, 5, "occlusion")) == [1] * 5
    slow.begin -= 60
    with pytest.raises(TimeoutError):
        list(slow([32] * 5, 160, "lime"))


def test_samples_are_a_folders_or_such_as_are_installed(folder, tmp_path):
    own, credit = samples_of(folder, [])
    assert [one.name for one in own] == ["<b>one.png"] and own[0].content == png() and not credit
    digits, credit = samples_of(None, ["digits, recipe digits"])
    assert [one.name for one in digits][:2] == ["digit 0.png", "digit 1.png"] and "CC BY" in credit
    assert np.asarray(Image.open(io.BytesIO(digits[0].content))).shape == (8, 8)
    assert [one.name for one in samples_of(None, ["cifar10"])[0]] == ["flower.jpg", "china.jpg"]
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="another folder"):
            samples_of(place, [])
