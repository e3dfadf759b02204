"""The OpenAPI of the service is true: whatever it allows is answered, and nothing ends in a 5xx."""

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from served import ask, door, opened, png
from small_model import model
from starlette.testclient import TestClient

from moganet.serve.app import build_app
from moganet.serve.predicting import PIXEL


def operations():
    schema = schemathesis.openapi.from_dict(door().app.openapi())
    return [found.ok() for found in schema.get_all_operations()]


def sent(case):
    """Send what was made of the schema to the application in this process."""
    made = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
    body = b"".join(made.body) if hasattr(made.body, "__next__") else made.body
    headers = {name: value for name, value in made.headers.items() if name.lower() != "transfer-encoding"}
    return ask(made.method, made.url, content=body, headers=headers)


def check(operation, examples):
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def no_request_ends_in_a_5xx(case):
        answer = sent(case)
        assert answer.status_code < 500 and "Traceback" not in answer.text

    no_request_ends_in_a_5xx()


def test_no_request_ends_in_a_5xx():
    found = operations()
    assert len(found) >= 12
    for operation in found:
        check(operation, 5 if operation.method == "post" else 1)


@pytest.mark.slow
def test_none_of_many_requests_ends_in_a_5xx():
    for operation in operations():
        check(operation, 300 if operation.method == "post" else 20)


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


def test_it_lives_as_long_as_its_server():
    with TestClient(
        build_app(opened(small=model())), base_url="http://localhost"
    ) as client:  # which starts it and ends it, as a server does
        assert client.get("/healthz").json() == {"status": "alive"} and client.head("/readyz").status_code == 200
        assert client.post("/v1/predict", content=png(), headers={"content-type": "image/png"}).status_code == 200
