"""The OpenAPI of the service is true: whatever it allows is answered, and nothing ends in a 5xx."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from served import ask, door, png
from starlette.testclient import TestClient

from moganet.serve.predicting import PIXEL

CHECKS = [schemathesis.checks.not_a_server_error]
EXAMPLES = {"deadline": None, "suppress_health_check": list(HealthCheck)}
schema = schemathesis.pytest.from_fixture("described")


@pytest.fixture
def described(monkeypatch):
    return schemathesis.openapi.from_asgi("/openapi.json", door())


@schema.parametrize()
@settings(max_examples=5, **EXAMPLES)
def test_no_request_ends_in_a_5xx(case):
    case.call_and_validate(checks=CHECKS)


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=200, **EXAMPLES)
def test_none_of_many_requests_ends_in_a_5xx(case):
    case.call_and_validate(checks=CHECKS)


def test_the_examples_that_it_gives_are_answered():
    found = ask("GET", "/openapi.json").json()
    assert {"/v1/predict", "/v1/explain", "/v1/models", "/v2/models/{name}/infer"} <= found["paths"].keys()
    for path, kinds in found["paths"].items():
        for method, operation in kinds.items():
            body = operation.get("requestBody", {"content": {}})["content"].get("application/json", {})
            if "example" in body:
                answer = ask(method, path.replace("{name}", "small"), json=body["example"])
                assert answer.status_code == 200, (path, answer.text)
    assert PIXEL in str(found["paths"]["/v1/predict"])
    with TestClient(door(), base_url="http://localhost") as client:  # which starts it and ends it, as a server does
        assert client.get("/healthz").json() == {"status": "alive"} and client.head("/readyz").status_code == 200
        assert client.post("/v1/predict", content=png(), headers={"content-type": "image/png"}).status_code == 200
