"""The Open Inference Protocol, version 2, over HTTP, so that clients of KServe and Triton work."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from moganet.errors import DataError
from moganet.inference.runs import Array, Outputs
from moganet.serve.bodies import BYTES, JSON, check_number, media_type
from moganet.serve.hosted import Hosted
from moganet.serve.lane import in_thread
from moganet.serve.pictures import Sent, named
from moganet.serve.predicting import BINARY, PIXEL
from moganet.serve.problems import ProblemError, as_json, validated
from moganet.serve.service import VERSION, Question, Service, row_of
from moganet.serve.tensors import ALL_BINARY, CLASSIFICATION, HEADER, InferRequest, Tensor, read_request, write_response
from moganet.serve.tensors import BINARY as WANTS_BINARY
from moganet.serve.tensors import Asked as Inferring

IMAGE, INPUT, PROBABILITIES, ANSWERS = "image", "input", "probabilities", "answers"
EXTENSIONS = ("binary_tensor_data", CLASSIFICATION)
PASSED_OVER = {"priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "content_type", "headers"}
QUESTIONS = {"top_k", "calibrated", "masks"}
SHORT = 12  # characters of a hash that are a version
_Item = Sent | Array  # what is asked about: an image, or a tensor (C, H, W) as the network takes it
EXAMPLE = {"inputs": [{"name": IMAGE, "shape": [1], "datatype": "BYTES", "data": [PIXEL]}]}


def routes(service: Service) -> APIRouter:
    """Give the routes."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("", summary="What the server is")
    async def server() -> Response:
        return _json({"name": "moganet", "version": VERSION, "extensions": EXTENSIONS})

    @router.get("/health/ready", summary="Can it answer?")
    async def ready() -> Response:
        service.check_ready()
        return _json({"ready": True})

    @router.get("/models/{name}", summary="A model's inputs and outputs")
    @router.get("/models/{name}/versions/{version}", include_in_schema=False)
    async def model(name: str, version: str | None = None) -> Response:
        return _json(_metadata(_get(service, name, version)))

    @router.get("/models/{name}/ready", summary="Can a model answer?")
    @router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str | None = None) -> Response:
        return _json({"name": _get(service, name, version).name, "ready": service.ready})

    described = {
        "schema": InferRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
        "example": EXAMPLE,
    }
    body = {"requestBody": {"required": True, "content": {JSON: described, BYTES: BINARY}}}

    @router.post("/models/{name}/infer", summary="Answer for images, or tensors", openapi_extra=body)
    @router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        if (kind := media_type(request)) not in (JSON, BYTES, ""):
            raise ProblemError(415, f"the body must be {JSON}, or {BYTES} with {HEADER}")
        content, header = await request.body(), request.headers.get(HEADER)
        if header is None and kind == BYTES:
            raise ProblemError(400, f"{BYTES} needs the header {HEADER}: the bytes of its JSON, 0 for one image alone")
        asked = await in_thread(service.readers, read_request, content, header)
        return await _infer(service, _get(service, name, version), asked)

    router.include_router(routes_of_process())
    return router


def routes_of_process() -> APIRouter:
    """Give the route that the process which listens answers by itself, whatever lies behind it."""
    router = APIRouter()

    @router.get("/health/live", summary="Is the server alive?")
    async def live() -> Response:
        return _json({"live": True})

    return router


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type=JSON)


def _get(service: Service, name: str, version: str | None) -> Hosted:
    hosted = service.shelf.get(name)
    if version is not None and version != _version(hosted):
        raise ProblemError(404, f"{hosted.name} is here in version {_version(hosted)}, not {version[:50]!r}")
    return hosted


def _version(hosted: Hosted) -> str:
    return hosted.sha256[:SHORT] or "1"


def _metadata(hosted: Hosted) -> dict[str, Any]:
    """Say what a model takes, one of the inputs, and gives."""
    own = hosted.predictor.config
    inputs = [{"name": IMAGE, "datatype": "BYTES", "shape": [-1]}]
    outputs = [{"name": ANSWERS, "datatype": "BYTES", "shape": [-1]}]
    if not hosted.predictor.task.by_image:
        inputs.append(
            {"name": INPUT, "datatype": "FP32", "shape": [-1, own.preprocessing.channels, *own.preprocessing.size]}
        )
        rows = [{"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(own.class_names)]}]
        rows += [{"name": name, "datatype": "FP32", "shape": [-1, *shape]} for name, shape in hosted.shapes.items()]
        outputs = [*rows, *outputs]
    return {
        "name": hosted.name,
        "versions": [_version(hosted)],
        "platform": f"moganet_{hosted.predictor.runtime}",
        "inputs": inputs,
        "outputs": outputs,
    }


async def _infer(service: Service, hosted: Hosted, asked: Inferring) -> Response:
    request, question = asked.request, _question(asked.request.parameters)
    if question.calibrated:
        hosted.predictor.check_calibrated()
    known = [one["name"] for one in _metadata(hosted)["outputs"]]
    wanted = [one.name for one in request.outputs] or [name for name in (PROBABILITIES, ANSWERS) if name in known]
    if unknown := [name for name in wanted if name not in known]:
        raise ProblemError(400, f"{hosted.name} has no output {unknown[0][:100]!r}; it has {', '.join(known)}")
    items = _items(hosted, asked.tensors)
    check_number(len(items), service.limits)
    found = await asyncio.gather(*(_one(service, hosted, item) for item in items))
    unlike = [hosted.predictor.task.unlike(outputs, hosted.predictor.config.task) for outputs in found]
    service.figures.rejected.labels(hosted.name).inc(sum(bool(one.any()) for one in unlike if one is not None))
    tensors = await in_thread(service.readers, _answered, hosted, found, question, wanted)
    return _response(hosted, request, tensors)


def _question(parameters: Mapping[str, Any]) -> Question:
    known = QUESTIONS | PASSED_OVER | {ALL_BINARY}
    if unknown := parameters.keys() - known:
        raise ProblemError(
            400, f"there is no parameter {min(unknown)[:100]!r}; there are {', '.join(sorted(QUESTIONS))}"
        )
    return validated(Question, {key: value for key, value in parameters.items() if key in QUESTIONS})


def _items(hosted: Hosted, tensors: Sequence[Tensor]) -> Sequence[_Item]:
    """Give what is asked about, an item a row. Raises ProblemError for inputs that the model does not take."""
    (tensor, *others) = tensors
    takes = [IMAGE] if hosted.predictor.task.by_image else [IMAGE, INPUT]
    if others or tensor.name not in takes:
        raise ProblemError(400, f"{hosted.name} takes one input, {' or '.join(takes)}; got {tensor.name[:50]!r}"[:300])
    if tensor.name == INPUT:
        return _inputs(hosted, tensor)
    if tensor.datatype == "BYTES":
        return [Sent(named(None, n), content) for n, content in enumerate(tensor.data, 1)]
    if tensor.datatype != "UINT8" or len(tensor.shape) not in (3, 4):
        raise ProblemError(
            400, f"{IMAGE} must be BYTES, or UINT8 of the shape [N, H, W, C], not {tensor.datatype} {tensor.shape}"
        )
    arrays = np.asarray(tensor.data).reshape(-1, *tensor.shape[-3:])
    return [Sent(named(None, n), array) for n, array in enumerate(arrays, 1)]


def _inputs(hosted: Hosted, tensor: Tensor) -> list[Array]:
    own = hosted.predictor.config.preprocessing
    expected = (own.channels, *own.size)
    if tensor.datatype != "FP32" or tensor.shape[1:] != expected:
        raise ProblemError(
            400, f"{INPUT} must be FP32 of the shape [N, {', '.join(map(str, expected))}], as preprocessed"
        )
    if not np.isfinite(tensor.data).all():
        raise ProblemError(422, f"{INPUT} holds NaN or infinity")
    return [*np.asarray(tensor.data)]


async def _one(service: Service, hosted: Hosted, item: _Item) -> Outputs:
    if not isinstance(item, Sent):
        return await hosted.lane.ask(item)
    try:
        return await service.outputs(hosted, item)
    except DataError as error:
        service.figures.unreadable.labels(hosted.name).inc()
        raise ProblemError(422, f"{item.name} can't be read: {error}") from None


def _answered(hosted: Hosted, found: Sequence[Outputs], question: Question, wanted: Sequence[str]) -> list[Tensor]:
    predictor, number = hosted.predictor, len(found)
    tensors = []
    for name in wanted:
        if name == ANSWERS:
            rows = [as_json(row_of(hosted, outputs, named(None, n), question)) for n, outputs in enumerate(found, 1)]
            tensors.append(Tensor(name, "BYTES", (number,), rows))
            continue
        if name == PROBABILITIES:
            how = {"calibrated": question.calibrated}
            parts = [predictor.task.probabilities(outputs, predictor.config.task, **how) for outputs in found]
        else:
            parts = [outputs[name] for outputs in found]
        values = np.concatenate(parts).astype(np.float32)
        tensors.append(Tensor(name, "FP32", values.shape, values))
    return tensors


def _response(hosted: Hosted, request: InferRequest, tensors: Sequence[Tensor]) -> Response:
    everything = request.parameters.get(ALL_BINARY) is True
    asked = {one.name: one.parameters for one in request.outputs}
    given = [_as_classes(hosted, one, asked.get(one.name, {}).get(CLASSIFICATION)) for one in tensors]
    binary = [asked.get(one.name, {}).get(WANTS_BINARY, everything) is True for one in given]
    head = {"model_name": hosted.name, "model_version": _version(hosted)}
    head |= {} if request.id is None else {"id": request.id}
    body, length = write_response(head, given, binary)
    if length is None:
        return Response(body, media_type=JSON)
    return Response(body, media_type=BYTES, headers={HEADER: str(length)})


def _as_classes(hosted: Hosted, tensor: Tensor, number: Any) -> Tensor:
    """Give the largest numbers of each row as texts "NUMBER:INDEX:NAME", as Triton's classification extension does."""
    if not number:
        return tensor
    names = hosted.predictor.class_names
    if isinstance(number, bool) or not isinstance(number, int) or number < 0 or tensor.shape[1:] != (len(names),):
        raise ProblemError(400, f"classification of {tensor.name} must be a number of classes, of an output a class")
    rows = np.asarray(tensor.data)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :number]
    texts = [
        f"{rows[i, j]:f}:{j}:{names[j]}".encode(errors="replace") for i, line in enumerate(order) for j in line.tolist()
    ]
    return Tensor(tensor.name, "BYTES", order.shape, texts)
