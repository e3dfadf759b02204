"""POST /v1/predict and GET /v1/models."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from moganet.serve.bodies import BYTES, FORM, JSON, Body, read_body
from moganet.serve.problems import ProblemError, as_json, once_alone, validated
from moganet.serve.service import Answers, Question, Service

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
ANSWER = {
    "model": "moganet_nano.cifar10",
    "sha256": "0f…",
    "version": "0.1.0",
    "predictions": [
        {"file": "photo.jpg", "classes": [{"name": "ship", "probability": 0.97}], "rejected": False},
    ],
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGE = {"oneOf": [{"$ref": "#/components/schemas/Base64"}, {"$ref": "#/components/schemas/NamedImage"}]}
BASE64: dict[str, Any] = {"type": "string", "contentEncoding": "base64", "minLength": 4}
SCHEMAS = {
    "Base64": {**BASE64, "description": "A file's content in base64, or a data URI of it; never a path or an address."},
    "NamedImage": {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "data": BASE64},
    },
}


def body_of_images(settings: dict[str, Any], several: bool) -> dict[str, Any]:
    """Describe a body that holds images in any of the forms that are read. settings: a schema of each, in JSON."""
    one: dict[str, Any] = {"image": IMAGE}
    many: dict[str, Any] = {"images": {"type": "array", "items": IMAGE, "minItems": 1}}
    kinds = [(one, "image"), (many, "images")] if several else [(one, "image")]
    objects = [
        {"type": "object", "required": [key], "additionalProperties": False, "properties": {**given, **settings}}
        for given, key in kinds
    ]
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    form = {"type": "object", "required": ["images"], "properties": {"images": files, **settings}}
    content = {
        "image/*": BINARY,
        BYTES: BINARY,
        FORM: {"schema": form},
        JSON: {"schema": {"oneOf": objects}, "example": {"image": PIXEL}},
    }
    return {"requestBody": {"required": True, "content": content}}


def settings_of(kind: Any) -> dict[str, Any]:
    """Give a schema of each of the settings that a query has."""
    properties: dict[str, Any] = kind.model_json_schema()["properties"]
    return properties


def merged(query: Any, fields: Any) -> Any:
    """Add to the settings of a query those of a body. Raises ProblemError for what is wrong or given twice."""
    twice = [name for name in fields if name in query.model_fields_set]
    if twice:
        raise ProblemError(422, f"{twice[0]} is given in the address and in the body; give it once")
    return validated(type(query), {**query.model_dump(exclude_unset=True), **fields})


async def asked_of(request: Request, query: Any, service: Service) -> tuple[Body, Any]:
    """Read a request's images and its settings."""
    if len(given := request.query_params.multi_items()) > len(request.query_params):
        raise once_alone((name for name, _ in given), "address")
    body = await read_body(request, service.limits)
    return body, merged(query, body.fields)


def routes(service: Service) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["moganet"])
    described = body_of_images(settings_of(Question), several=True)

    @router.post(
        "/v1/predict",
        summary="Answer for one image or several",
        response_model=Answers,
        responses={200: {"content": {JSON: {"example": ANSWER}}}},
        openapi_extra=described,
    )
    async def predict(request: Request, query: Annotated[Question, Query()]) -> Response:
        body, question = await asked_of(request, query, service)
        answers = await service.predict(service.shelf.get(question.model), body.images, question)
        return Response(as_json(answers), media_type=JSON)

    return router
