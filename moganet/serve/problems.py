"""What goes wrong for a client, as problem documents (RFC 9457): what, why and the remedy, and nothing from inside."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from moganet.files import to_json

MEDIA_TYPE = "application/problem+json"
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
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise ProblemError(400, f"{what} is no JSON: {reason}") from None


def invalid(errors: Any) -> ProblemError:
    """Say which of the settings of a request are wrong, by pydantic's account of them."""
    found = [
        {
            "where": ".".join(map(str, one["loc"])).removeprefix("query."),
            "what": one["msg"].removeprefix("Value error, "),
        }
        for one in errors
    ]
    return ProblemError(422, "; ".join(f"{one['where'][:100]}: {one['what']}" for one in found[:5]), errors=found)
