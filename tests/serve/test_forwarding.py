"""What stands for replicas says what the service itself says, and asks again where one dies; here in one process."""

import asyncio
import itertools
import re
from functools import cache, partial

import pytest
from served import LIMITS, as_base64, ask, jpeg, png
from small_model import exported, model

import moganet.serve.forwarding as forwarding
from moganet.errors import ConfigError, WeightsError
from moganet.serve.door import Access, Door
from moganet.serve.forwarding import Front, ReplicaDiedError
from moganet.serve.limits import Limits
from moganet.serve.page import mount
from moganet.serve.plan import Plan, Spread
from moganet.serve.replica import Replica, Replied, rehearse

PNG = {"content-type": "image/png"}
ORIGIN = "https://example.org"
ACCESS = Access(token="long-enough", origins=(ORIGIN,))
SHOWN = {"authorization": "Bearer long-enough"}


@cache
def plan():
    return Plan({"fast": str(exported("openvino"))}, LIMITS, ACCESS.origins, mount)


@cache
def replica():
    return Replica(plan())


class Replicas:
    """Replicas in this process. die: what happens to each that is asked, one after the other; None: nothing."""

    number = 2

    def __init__(self, *die):
        self.die = itertools.chain(die, itertools.repeat(None))

    async def ask(self, asked):
        await self.lives()
        return await replica().answer(asked)

    async def stream(self, asked):
        await self.lives()
        async for part in replica().stream(asked):
            yield part

    async def lives(self):
        if (how := next(self.die)) is not None:
            raise how


def fronted(*die, limits=LIMITS, access=ACCESS):
    front = Front(limits, access.origins, Replicas(*die))
    return Door(front, front, access)


@cache
def alone():
    with plan().hosted() as (service, app):
        return Door(app, service, ACCESS)


ALONE = {"inference-header-content-length": "0"}
FORM = {"files": [("a", ("good.png", png())), ("a", ("bad.png", b"no image"))]}
REQUESTS = {
    "an image": ("POST", "/v1/predict?top_k=2", {"content": png(), "headers": PNG}),
    "a form": ("POST", "/v1/predict", FORM),
    "json": ("POST", "/v1/predict", {"json": {"image": as_base64(png(1))}}),
    "tensors": (
        "POST",
        "/v2/models/fast/infer",
        {"content": png(), "headers": {"inference-header-content-length": "0"}},
    ),
    "an explanation": ("POST", "/v1/explain?method=occlusion&format=json", {"content": png(), "headers": PNG}),
    "the page's steps": ("POST", "/v1/page/explanation?method=occlusion", {"content": png(), "headers": PNG}),
    "no image": ("POST", "/v1/predict", {"content": b"no image", "headers": PNG}),
    "no such type": ("POST", "/v1/predict", {"content": b"x", "headers": {"content-type": "text/plain"}}),
    "too many bytes": ("POST", "/v1/predict", {"content": bytes(300_000), "headers": PNG}),
    "too many pixels": ("POST", "/v1/predict", {"content": jpeg(200, 200), "headers": PNG}),
    "no such model": ("POST", "/v1/predict?model=none", {"content": png(), "headers": PNG}),
    "no such place": ("GET", "/nowhere", {}),
    "another method": ("DELETE", "/v1/models", {}),
    "another method of its own": ("POST", "/healthz", {}),
    "models": ("GET", "/v1/models", {}),
    "the description": ("GET", "/openapi.json", {}),
    "the page": ("GET", "/", {}),
    "a sample": ("GET", "/page/samples/0?small=true", {}),
    "is it alive": ("GET", "/healthz", {}),
    "is it ready": ("GET", "/readyz", {}),
    "is it live": ("GET", "/v2/health/live", {}),
    "a head alone": ("HEAD", "/v1/models", {}),
    "another site asks first": ("OPTIONS", "/v1/predict", {"headers": {"access-control-request-method": "POST"}}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_front_says_what_the_service_says(name):
    method, path, how = REQUESTS[name]
    how = {**how, "headers": {**SHOWN, "origin": ORIGIN, **how.get("headers", {})}}
    there, here = ask(method, path, fronted(), **how), ask(method, path, alone(), **how)
    assert there.status_code == here.status_code and there.content == here.content
    assert dict(there.headers) == dict(here.headers)


def test_a_front_lets_in_whom_the_service_lets_in():
    assert ask("GET", "/v1/models", fronted()).status_code == 401
    assert (
        ask("POST", "/v1/predict", fronted(access=Access()), content=png(), headers={"origin": ORIGIN}).status_code
        == 403
    )


def counted(to):
    text = ask("GET", "/metrics", to, headers=SHOWN).text
    lines = re.findall(r"^(moganet_\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    left_out = ("_created", "_seconds_sum", "seconds_bucket")
    return {name: value for name, value in lines if not any(one in name for one in left_out)}


def test_the_figures_of_the_replicas_are_those_of_the_service():
    replica().figures.taken()
    with plan().hosted() as (service, app):
        doors = fronted(), Door(app, service, ACCESS)
    for to in doors:
        for name in ("a form", "no image", "tensors", "no such place"):
            method, path, how = REQUESTS[name]
            ask(method, path, to, **{**how, "headers": {**SHOWN, **how.get("headers", {})}})
    found, expected = map(counted, doors)
    assert found == expected
    assert found['moganet_unreadable_images_total{model="fast"}'] == "2.0"
    assert found['moganet_requests_total{code="200",method="POST",route="/v1/predict"}'] == "1.0"


@pytest.mark.parametrize("name", ["an image", "the page's steps", "models"])
def test_a_request_whose_replica_dies_is_asked_once_more(name, caplog):
    method, path, how = REQUESTS[name]
    asking = partial(ask, method, path, **{**how, "headers": {**SHOWN, **how.get("headers", {})}})
    to, died = fronted(ReplicaDiedError("killed")), ReplicaDiedError("killed again")
    assert asking(to).content == asking(fronted()).content
    assert counted(to)["moganet_repeated_requests_total"] == "1.0" and "killed" in caplog.text
    answer = asking(fronted(died, died))
    assert answer.status_code == 503 and "died" in answer.json()["detail"] and answer.headers["retry-after"] == "5"


def test_an_answer_that_has_begun_is_broken_off():
    class Dying(Replicas):
        async def stream(self, asked):
            yield Replied(({"type": "http.response.start", "status": 200, "headers": []},))
            raise ReplicaDiedError

    front = Front(LIMITS, replicas=Dying())
    to = Door(front, front, ACCESS)
    with pytest.raises(AssertionError):  # of httpx's transport: the answer was never complete
        ask("POST", "/v1/page/explanation", to, content=png(), headers={**PNG, **SHOWN})
    assert counted(to)["moganet_repeated_requests_total"] == "0.0"


def test_where_no_replica_answers_that_is_said(monkeypatch):
    class Silent(Replicas):
        async def lives(self):
            await asyncio.Future()

    monkeypatch.setattr(forwarding, "SOON", 0.05)
    front = Front(Limits(seconds=0.05), replicas=Silent())
    to = Door(front, front, Access())
    for method, path in (("GET", "/readyz"), ("GET", "/v1/models"), ("POST", "/v1/predict")):
        answer = ask(method, path, to, content=b"x")
        assert answer.status_code == 503 and "answer" in answer.json()["detail"]
    assert ask("GET", "/healthz", to).json() == {"status": "alive"}
    front.ready = False
    assert "stopping" in ask("GET", "/readyz", to).json()["detail"]


def test_a_bug_in_a_replica_is_one_of_the_service(monkeypatch, caplog):
    monkeypatch.setattr(type(replica().service), "predict", lambda *_: 1 / 0)
    answer = ask("POST", "/v1/predict", fronted(), content=png(), headers={**PNG, **SHOWN})
    assert answer.status_code == 500 and "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text and "a bug of moganet" in caplog.text


def test_a_replica_has_the_files_that_are_meant(tmp_path):
    other = Plan({"one": str(model())}, LIMITS)
    found = rehearse(other)
    assert Replica(other, {name: one.stamp for name, one in found.looked.items()}).looked() == found.looked
    with pytest.raises(WeightsError, match="not the file"):
        Replica(other, {"one": "another hash"})
    with pytest.raises(WeightsError, match="there is no model"):
        rehearse(Plan({"one": str(tmp_path / "none")}, LIMITS))
    with pytest.raises(ConfigError, match="empty"):
        rehearse(Plan({"one": str(model())}, LIMITS, extend=partial(mount, samples=tmp_path / "empty")))


def test_a_plan_elsewhere_names_files_by_whole_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").touch()
    models = {
        "a": "a.safetensors",
        "b": "moganet_nano.digits",
        "c": "timm:x@a.safetensors",
        "d": "timm:x",
    }
    found = Plan(models, LIMITS).elsewhere(threads=1)
    whole = str(tmp_path / "a.safetensors")
    assert list(found.models.values()) == [whole, "moganet_nano.digits", f"timm:x@{whole}", "timm:x"]
    assert found.threads == 1


def test_numbers_of_replicas():
    assert (Spread.of("3"), Spread.of(" 1-4 ")) == (Spread(3, 3), Spread(1, 4))
    for text in ("0", "", "4-1", "-2", "1-", "two", "1.5", "0-3"):
        with pytest.raises(ConfigError, match="--replicas"):
            Spread.of(text)
