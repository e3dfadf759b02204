"""What goes wrong for a client, as problem documents (RFC 9457): what, why and the remedy, and nothing from inside."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from moganet.files import to_json

Model = TypeVar("Model", bound=BaseModel)

MEDIA_TYPE = "application/problem+json"
UNKNOWN = "it is not known here; /openapi.json lists what is"
TITLES = {499: "Client Closed Request"}  # which nobody reads but the figures


class ProblemError(Exception):
    """A request that is not answered as asked. headers: beside the document's own. members: further ones of it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.members = status, detail, dict(headers or {}), members


def document(problem: ProblemError) -> bytes:
    """Give the document. `error` is where clients of the Open Inference Protocol look for the same text."""
    plain = {
        "type": "about:blank",
        "title": TITLES.get(problem.status) or HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "error": problem.detail,
        **problem.members,
    }
    return as_json(plain)


def as_json(value: Any) -> bytes:
    """Give a value as JSON in UTF-8, whatever names hold."""
    return to_json(value).encode()


def parsed(content: bytes, what: str) -> Any:
    """Read JSON that a client sent. Raises ProblemError for what is none, or is nested too deeply."""
    try:
        return json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).partition(";")[0].split())[:200]
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else said
        raise ProblemError(400, f"{what} is no JSON: {reason}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Give an object. Of a name that comes twice, JSON's readers would keep the last alone."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise once_alone((name for name, _ in pairs), "JSON")
    return found


def once_alone(names: Iterable[str], where: str) -> ProblemError:
    """Say which of some names comes twice."""
    (twice, _), *_ = Counter(names).most_common(1)
    return ProblemError(422, f"{twice[:100]} is given twice in the {where}; give it once")


def validated(kind: type[Model], plain: Any) -> Model:
    """Check what a client sent. Raises ProblemError that says what of it is wrong."""
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False, include_context=False)) from None


def invalid(errors: Any) -> ProblemError:
    """Say which of the settings of a request are wrong, by pydantic's account of them."""
    found = [
        {
            "where": ".".join(map(str, one["loc"])).removeprefix("query."),
            "what": UNKNOWN if one["type"] == "extra_forbidden" else one["msg"].removeprefix("Value error, "),
        }
        for one in errors
    ]
    return ProblemError(422, "; ".join(f"{one['where'][:100]}: {one['what']}" for one in found[:5]), errors=found)
