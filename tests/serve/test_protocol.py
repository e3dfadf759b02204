"""The Open Inference Protocol, in JSON and with binary data, as clients of KServe and Triton speak it."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import as_base64, ask, png, service
from small_model import model, pictures

import moganet
from moganet.data.resample import preprocess
from moganet.serve.bodies import of_json
from moganet.serve.problems import ProblemError, parsed
from moganet.serve.tensors import read_request

PLACE = "/v2/models/small"
HEADER = "inference-header-content-length"


def probabilities(*places, **how):
    predictor = moganet.load(model())
    found = [predictor.outputs(predictor._inputs([png(place)], range(1))) for place in places]
    return np.concatenate([predictor.task.probabilities(one, predictor.config.task, **how) for one in found])


def infer(inputs, to=PLACE, **more):
    return ask("POST", f"{to}/infer", json={"inputs": inputs, **more})


def of_bytes(*places):
    return {"name": "image", "shape": [len(places)], "datatype": "BYTES", "data": [as_base64(png(p)) for p in places]}


def output(answer, name="probabilities"):
    assert answer.status_code == 200, answer.text
    return next(one for one in answer.json()["outputs"] if one["name"] == name)


def close(found, *places, **how):
    return np.allclose(np.reshape(found, (len(places), -1)), probabilities(*places, **how), atol=1e-6)


def test_the_server_and_its_models_say_what_they_are():
    assert {"name", "version", "extensions"} <= ask("GET", "/v2").json().keys()
    assert ask("GET", "/v2/health/live").status_code == ask("GET", "/v2/health/ready").status_code == 200
    found = ask("GET", PLACE).json()
    assert found["name"] == "small" and found["platform"] == "moganet_eager"
    assert found["inputs"][1] == {"name": "input", "datatype": "FP32", "shape": [-1, 3, 32, 48]}
    assert found["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 6]}
    (version,) = found["versions"]
    assert service().shelf.get("small").predictor.config.sha256.startswith(version)
    assert ask("GET", f"{PLACE}/ready").json() == {"name": "small", "ready": True}
    assert ask("GET", f"{PLACE}/versions/{version}/ready").status_code == 200
    assert "error" in ask("GET", f"{PLACE}/versions/2").json() and ask("GET", "/v2/models/x/ready").status_code == 404


def test_images_are_answered_in_json():
    answer = infer([of_bytes(0, 1)], id="seven", parameters={"top_k": 1})
    found = answer.json()
    assert (found["model_name"], found["id"]) == ("small", "seven")
    assert output(answer)["shape"] == [2, 6] and close(output(answer)["data"], 0, 1)
    row = json.loads(output(answer, "answers")["data"][1])
    assert row["file"] == "image 2" and len(row["classes"]) == 1


def test_tensors_are_answered():
    own = moganet.load(model()).config.preprocessing
    x = np.stack([preprocess(pictures()[place].transpose(2, 0, 1), own) for place in (0, 1)]).astype(np.float32)
    entry = {"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.tolist()}
    assert close(output(infer([entry]))["data"], 0, 1)
    entry["data"] = x.ravel().tolist()
    wanted = infer([entry], outputs=[{"name": "probabilities"}], parameters={"calibrated": True})
    assert close(output(wanted)["data"], 0, 1, calibrated=True) and len(wanted.json()["outputs"]) == 1
    assert output(infer([entry], outputs=[{"name": "logits"}]), "logits")["shape"] == [2, 6]


def test_pixels_are_answered():
    pixels = np.stack(pictures()[:2])
    entry = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.ravel().tolist()}
    assert close(output(infer([entry]))["data"], 0, 1)


def test_binary_data_are_read_and_written():
    element = struct.pack("<I", len(png())) + png()
    sized = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    head = json.dumps({"inputs": [sized], "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]})
    answer = ask("POST", f"{PLACE}/infer", content=head.encode() + element, headers={HEADER: str(len(head))})
    length = int(answer.headers[HEADER])
    (described,) = json.loads(answer.content[:length])["outputs"]
    values = np.frombuffer(answer.content[length:], "<f4")
    assert described["parameters"]["binary_data_size"] == 24 and close(values, 0)
    assert close(output(ask("POST", f"{PLACE}/infer", content=png(), headers={HEADER: "0"}))["data"], 0)


def test_classes_are_named_as_tritons_extension_does():
    answer = infer([of_bytes(0)], outputs=[{"name": "probabilities", "parameters": {"classification": 2}}])
    found, expected = output(answer), probabilities(0)[0]
    assert found["datatype"] == "BYTES" and found["shape"] == [1, 2]
    number, index, name = found["data"][0].split(":")
    assert int(index) == expected.argmax() and name == f"class {index}"
    assert float(number) == pytest.approx(expected.max(), abs=1e-5)


WRONG = {
    "no inputs": {"inputs": []},
    "two inputs": {"inputs": [of_bytes(0), of_bytes(0)]},
    "another name": {"inputs": [{**of_bytes(0), "name": "x"}]},
    "another type": {"inputs": [{**of_bytes(0), "datatype": "FP64"}]},
    "another shape": {"inputs": [{**of_bytes(0), "shape": [2]}]},
    "an empty shape": {"inputs": [{**of_bytes(0), "shape": [0], "data": []}]},
    "a huge shape": {"inputs": [{**of_bytes(0), "shape": [2**40, 2**40]}]},
    "no data": {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]},
    "no base64": {"inputs": [{**of_bytes(0), "data": ["/etc/passwd"]}]},
    "numbers": {"inputs": [{**of_bytes(0), "data": [3]}]},
    "no image": {"inputs": [{**of_bytes(0), "data": [as_base64(b"none")]}]},
    "too many": {"inputs": [of_bytes(0, 1, 2, 3)]},
    "another size": {"inputs": [{"name": "input", "shape": [1, 3, 1, 1], "datatype": "FP32", "data": [0, 0, 0]}]},
    "no numbers": {"inputs": [{"name": "input", "shape": [1], "datatype": "FP32", "data": [None]}]},
    "infinity": {"inputs": [{"name": "input", "shape": [1, 3, 32, 48], "datatype": "FP32", "data": [1e99] * 4608}]},
    "beyond": {"inputs": [{"name": "input", "shape": [1], "datatype": "FP32", "data": [10**400]}]},
    "no byte": {"inputs": [{"name": "image", "shape": [1, 1, 1], "datatype": "UINT8", "data": [256]}]},
    "five channels": {"inputs": [{"name": "image", "shape": [1, 1, 5], "datatype": "UINT8", "data": [0] * 5}]},
    "another output": {"inputs": [of_bytes(0)], "outputs": [{"name": "x"}]},
    "another parameter": {"inputs": [of_bytes(0)], "parameters": {"topk": 1}},
    "a setting of an input": {"inputs": [{**of_bytes(0), "parameters": {"calibrated": True}}]},
    "shared memory": {
        "inputs": [of_bytes(0)],
        "outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "x"}}],
    },
    "a wrong parameter": {"inputs": [of_bytes(0)], "parameters": {"top_k": 0}},
    "too many bytes": {"inputs": [{**of_bytes(0), "parameters": {"binary_data_size": 5}}]},
    "another key": {"inputs": [of_bytes(0)], "url": "http://x"},
    "no classes": {"inputs": [of_bytes(0)], "outputs": [{"name": "answers", "parameters": {"classification": 1}}]},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_an_error_that_clients_read(name):
    answer = ask("POST", f"{PLACE}/infer", json=WRONG[name])
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"] and "Traceback" not in answer.text


def test_what_clients_say_beside_images_is_taken():
    null = {"id": None, "parameters": None, "outputs": None}  # as MLServer's client writes what is not said
    entry = {**of_bytes(0), "parameters": {"content_type": "base64", "headers": None}}
    assert close(output(ask("POST", f"{PLACE}/infer", json={"inputs": [entry], **null}))["data"], 0)
    assert close(output(infer([{**entry, "parameters": None}]))["data"], 0)
    alone = ask("POST", f"{PLACE}/infer", content=png(), headers={"content-type": "application/octet-stream"})
    assert alone.status_code == 400 and HEADER in alone.json()["error"] and "0 for one image" in alone.json()["error"]


@pytest.mark.parametrize("header", ["-1", "x", "²", "99999999999999999999999999", "1.5", ""])
def test_a_wrong_length_of_the_header_is_an_error(header):
    answer = ask("POST", f"{PLACE}/infer", content=b"{}", headers={HEADER: header.encode("latin-1")})
    assert answer.status_code == 400 and answer.json()["error"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
INPUTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["image", "input"]), "shape": st.lists(st.integers(-1, 3), max_size=3) | ANY},
    optional={
        "datatype": st.sampled_from(["BYTES", "FP32", "UINT8", "INT64"]) | ANY,
        "data": st.lists(st.integers(-1, 300) | st.text(max_size=5), max_size=9) | ANY,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 30) | ANY}) | ANY,
    },
)
REQUESTS = st.fixed_dictionaries({"inputs": st.lists(INPUTS, max_size=2) | ANY}, optional={"outputs": ANY, "id": ANY})


@settings(max_examples=80, deadline=None)
@given(REQUESTS | ANY, st.binary(max_size=40), st.integers(0, 3) | st.none())
def test_any_request_is_read_or_refused(value, behind, cut):
    head = json.dumps(value).encode()
    for content, header in ((head + behind, str(len(head))), (head[: len(head) - (cut or 0)], None)):
        try:
            asked = read_request(content, header)
        except ProblemError as problem:
            assert 400 <= problem.status < 500
        else:
            assert len(asked.tensors) == len(asked.request.inputs)


@settings(max_examples=60, deadline=None)
@given(ANY | st.fixed_dictionaries({"images": st.lists(ANY, max_size=3)}), st.binary(max_size=30))
def test_any_json_body_is_read_or_refused(value, content):
    for attempt in (lambda: of_json(value), lambda: of_json(parsed(content, "it"))):
        try:
            body = attempt()
        except ProblemError as problem:
            assert 400 <= problem.status < 500
        else:
            assert all(isinstance(one.content, bytes) for one in body.images)
