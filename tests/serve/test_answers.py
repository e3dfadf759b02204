"""The service answers as `moganet predict` does, whatever a request looks like."""

import base64
import hashlib
import json
import shutil

import pytest
import torch
from dense_files import picture
from PIL import Image
from served import LIMITS, as_base64, ask, door, opened, png, service
from small_model import exported, model, network_of
from test_segment_forms import FIT, made

import moganet
from moganet.explanations import METHODS
from moganet.models.formats.ours import save_model_file
from moganet.serve.app import build_app
from moganet.serve.explaining import NEEDS_MODULE
from moganet.tasks import TASKS

PNG = {"content-type": "image/png"}
FILES = {"small": model, "fast": lambda: exported("openvino")}


def expected(place=0, name="small", **how):
    (row,) = moganet.predict(FILES[name](), [png(place)], **how).predictions
    return {**json.loads(json.dumps(row.plain()))}


def raw(query):
    return ask("POST", "/v1/predict", content=png(), headers=PNG, params=query)


def octets(query):
    return ask("POST", "/v1/predict", content=png(), headers={"content-type": "application/octet-stream"}, params=query)


def form(query):
    return ask("POST", "/v1/predict", files={"anything": ("image 1", png())}, data=query)


def in_json(query):
    return ask("POST", "/v1/predict", json={"image": as_base64(png()), **query})


def as_uri(query):
    entry = {"data": f"data:image/png;base64,{as_base64(png())}", "name": "image 1"}
    return ask("POST", "/v1/predict", json={"images": [entry], **query})


@pytest.mark.parametrize("query", [{}, {"top_k": 2, "calibrated": True}, {"model": "fast"}])
@pytest.mark.parametrize("send", [raw, octets, form, in_json, as_uri])
def test_answers_are_bit_equal_to_predict(send, query):
    answer = send(query)
    assert answer.status_code == 200, answer.text
    name, how = query.get("model", "small"), {key: value for key, value in query.items() if key != "model"}
    found = answer.json()
    assert found["predictions"] == [expected(0, name, **how)]
    known = service().shelf.get(name).predictor.config.sha256
    assert (found["model"], found["sha256"], found["version"]) == (name, known, moganet.__version__)
    assert "unreadable" not in found and answer.headers["content-type"] == "application/json"


def test_many_are_answered_together_and_each_as_if_alone():
    several = [("images", (f"{place}.png", png(place))) for place in range(3)]
    found = ask("POST", "/v1/predict?model=fast", files=several).json()["predictions"]
    assert found == [{**expected(place, "fast"), "file": f"{place}.png"} for place in range(3)]


def test_what_cannot_be_read_is_named_and_the_others_are_answered():
    several = [("a", ("good.png", png())), ("a", ("bad.png", b"no image")), ("b", ("image 3", png(1)))]
    answer = ask("POST", "/v1/predict", files=several)
    assert answer.status_code == 200
    assert [row["file"] for row in answer.json()["predictions"]] == ["good.png", "image 3"]
    (left,) = answer.json()["unreadable"]
    assert left["file"] == "bad.png" and left["number"] == 2 and "not an image" in left["reason"]
    assert "image" in ask("POST", "/v1/predict", content=b"no image", headers=PNG).json()["detail"]


def test_a_foreign_file_is_known_by_its_hash_and_clients_read_of_models_by_their_names(tmp_path):
    path, network = tmp_path / "secret.pth", network_of()[0]
    torch.save({"state_dict": network.state_dict()}, path)
    to = build_app(opened(foreign=path))
    (card,) = ask("GET", "/v1/models", to).json()["models"]
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ask("POST", "/v1/predict", to, content=png(), headers=PNG).json()["sha256"] == card["sha256"]
    assert ask("GET", "/v2/models/foreign", to).json()["versions"] == [card["sha256"][:12]]
    for place in ("predict?calibrated=true", "explain?target=nothing", "page/answer?calibrated=true"):
        said = ask("POST", f"/v1/{place}", to, content=png(), headers=PNG).text
        assert str(tmp_path) not in said and "secret" not in said


def test_only_methods_that_explain_a_model_are_offered(segmenter):
    to = build_app(opened(LIMITS, dense=segmenter))
    (card,) = ask("GET", "/v1/models", to).json()["models"]
    assert card["methods"] == [name for name in METHODS if name != "orders"]
    refused = ask("POST", "/v1/explain?method=orders", to, content=png(), headers=PNG)
    assert refused.status_code == 422 and "use lime, occlusion" in refused.text.replace(" or ", ", ")
    (small, fast) = ask("GET", "/v1/models").json()["models"]
    assert "orders" in small["methods"] and fast["methods"] == ["lime", "occlusion"]
    assert not TASKS["detect"].explains


def test_another_export_of_the_same_tensors_is_another_model(tmp_path):
    for number, name in enumerate(("raw", "raw calibrated", "raw calibrated")):
        for suffix in (".xml", ".bin"):
            shutil.copy(exported("openvino", name).with_suffix(suffix), tmp_path / f"one{suffix}")
        if not number:
            reloaded = opened(one=tmp_path / "one.xml")
            before = reloaded.shelf.get().opened.stamp
        else:
            assert reloaded.reload() == {"one": ["changed", "same"][number - 1]}
    assert reloaded.shelf.get().opened.stamp != before


def test_models_say_what_they_are():
    small, fast = ask("GET", "/v1/models").json()["models"]
    assert (small["name"], small["default"], fast["default"]) == ("small", True, False)
    assert small["classes"] == [f"class {i}" for i in range(6)] and small["task"] == "classify"
    assert small["preprocessing"]["size"] == [32, 48] and small["preprocessing"]["mean"] == [0.4] * 3
    assert small["calibrated"] and small["rejects"] and small["methods"] == list(METHODS)
    assert fast["methods"] == ["lime", "occlusion"] and fast["runtime"] == "openvino"


def test_the_methods_that_are_named_without_torch_are_those_that_there_are():
    assert {name: method.needs_module for name, method in METHODS.items()} == NEEDS_MODULE


def test_an_explanation_is_a_picture_or_numbers():
    drawn = ask("POST", "/v1/explain?target=class 2", content=png(), headers=PNG)
    assert drawn.status_code == 200 and drawn.content.startswith(b"\x89PNG")
    assert drawn.headers["moganet-target"] == "class%202" and drawn.headers["moganet-method"] == "gradcam"
    found = ask("POST", "/v1/explain", json={"image": as_base64(png()), "method": "occlusion", "format": "json"}).json()
    assert (len(found["map"]), len(found["map"][0])) == (32, 48) and found["target"] == expected()["classes"][0]["name"]
    explained = moganet.explain(model(), [png()], "occlusion").images[0]
    assert found["map"][3][5] == round(float(explained.map[3, 5]), 6)
    assert found["probability"] == explained.probability


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"model": "fast", "method": "gradcam"}, 422, "torch module"),
        ({"target": "nothing"}, 422, "knows no class"),
        ({"method": "magic"}, 422, "method"),
        ({"samples": 10**9}, 422, "samples"),
    ],
)
def test_an_explanation_that_cannot_be_is_said_to_be_none(query, status, said):
    answer = ask("POST", "/v1/explain", content=png(), headers=PNG, params=query)
    assert answer.status_code == status and said in answer.json()["detail"]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    path = tmp_path_factory.mktemp("segmenter") / "dense.safetensors"
    network, description = made("fpn", FIT)
    save_model_file(path, network.state_dict(), description)
    return path


def test_a_segmenter_sends_its_pixels(segmenter, tmp_path):
    image = tmp_path / "scene.png"
    Image.fromarray(picture(40, 70, 0).transpose(1, 2, 0)).save(image)
    to = build_app(opened(LIMITS, dense=segmenter))
    answers = {
        masks: ask("POST", f"/v1/predict?masks={masks}", to, content=image.read_bytes(), headers=PNG).json()[
            "predictions"
        ][0]
        for masks in ("png", "rle", "none")
    }
    moganet.predict(segmenter, image, out=tmp_path / "out")
    content = base64.b64decode(answers["png"]["mask"].removeprefix("data:image/png;base64,"))
    assert content == (tmp_path / "out" / "scene.png").read_bytes()
    noted = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    assert [one["counts"] for one in answers["rle"]["runs"]] == [one["segmentation"]["counts"] for one in noted]
    (row,) = moganet.predict(segmenter, [image.read_bytes()]).predictions
    assert answers["none"] == json.loads(json.dumps(row.plain()))
    inferred = ask(
        "POST",
        "/v2/models/dense/infer",
        to,
        json={
            "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [as_base64(image.read_bytes())]}]
        },
    ).json()
    assert json.loads(inferred["outputs"][0]["data"][0]) == answers["png"]


def test_figures_count_requests_images_and_batches():
    before = ask("GET", "/metrics").text
    ask("POST", "/v1/predict", content=png(), headers=PNG)
    ask("GET", "/no/such/place")
    after = ask("GET", "/metrics").text

    def number(text, line):
        return sum(float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line))

    for line in (
        'moganet_requests_total{code="200",method="POST",route="/v1/predict"}',
        'moganet_batch_images_count{model="small"}',
    ):
        assert number(after, line) == number(before, line) + 1, line
    assert number(after, 'moganet_requests_total{code="404",method="GET",route="other"}') > 0
    assert "moganet_queue_seconds_bucket" in after and "moganet_requests_in_progress 0.0" in after
    assert door().accepted == 0 and door().held == 0
