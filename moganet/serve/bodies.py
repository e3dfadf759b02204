"""What a request's body holds: images as they are, in a form, or in JSON; read up to a limit and within its time."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from moganet.serve.limits import Limits
from moganet.serve.pictures import Sent, named
from moganet.serve.problems import ProblemError, once_alone, parsed

FORM, JSON, BYTES = "multipart/form-data", "application/json", "application/octet-stream"
TYPES = f"{FORM}, {JSON}, image/* or {BYTES}"
MAX_FIELDS, MAX_FIELD = 20, 10_000  # of a form, beside its files, and the bytes of each
LARGE_FIELD = f"a field that is no file has over {MAX_FIELD:,} bytes; send images as files: curl -F images=@photo.jpg"
LARGE = 1 << 16  # bytes of JSON, from which on others should not wait for it to be read
IMAGE_KEYS = {"image", "images"}


@dataclass(frozen=True)
class Body:
    """Images, and what else was said beside them."""

    images: Sequence[Sent]
    fields: Mapping[str, Any] = field(default_factory=dict)


async def read_body(request: Request, limits: Limits) -> Body:
    """Read a body by its type. Raises ProblemError for another, for what is none of it, and for too many images."""
    kind = media_type(request)
    if kind == FORM:
        body = await _of_form(request, limits)
    elif kind == JSON:
        content = await request.body()
        read = partial(_read_json, content)
        body = await asyncio.to_thread(read) if len(content) > LARGE else read()
    elif kind.startswith("image/") or kind == BYTES:
        body = Body([Sent(named(None, 1), await request.body())])
    else:
        raise ProblemError(415, f"the body is {kind[:100] or 'of no type'}; send {TYPES}", {"Accept-Post": TYPES})
    check_number(len(body.images), limits)
    return body


def _read_json(content: bytes) -> Body:
    return of_json(parsed(content, "the body"))


def media_type(request: Request) -> str:
    """Give a body's type without its parameters. Raises ProblemError for one that is compressed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise ProblemError(
            415, f"the body is compressed by {encoding[:50]}; send it as it is", {"Accept-Encoding": "identity"}
        )
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_number(number: int, limits: Limits) -> None:
    """Raise ProblemError for no image, or for more than are accepted."""
    if not number:
        raise ProblemError(
            400, "there is no image in the body; send at least one (of a form: as a file, curl -F images=@photo.jpg)"
        )
    if number > limits.images:
        raise ProblemError(413, f"there are {number} images, and {limits.images} are accepted at a time; send fewer")


async def _of_form(request: Request, limits: Limits) -> Body:
    """Read a form: each file is an image, whatever its field is called; the other fields are settings."""
    try:
        form = await request.form(max_files=limits.images + 1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD)
    except HTTPException as error:  # of the form's parser
        many, large = (error.detail.startswith(one) for one in ("Too many files", "Part exceeded"))
        reason = LARGE_FIELD if large else error.detail
        raise ProblemError(413 if many else 400, f"the form can't be read: {reason}") from None
    except (UnicodeError, LookupError, ValueError, KeyError) as error:  # of a boundary or an encoding that there is not
        raise ProblemError(400, f"the form can't be read: {type(error).__name__}") from None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(form.close)  # and its temporary files
        images, fields = list[Sent](), dict[str, Any]()
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.append(Sent(named(value.filename, len(images) + 1), await value.read()))
            elif key in fields:
                raise once_alone((key, key), "form")
            else:
                fields[key] = value
    return Body(images, fields)


def of_json(plain: Any) -> Body:
    """Take images from {"image": …} or {"images": […]}, the rest are settings.

    An image is base64, or {"name": …, "data": base64}.
    """
    if not isinstance(plain, dict):
        raise ProblemError(422, 'the body must be an object: {"images": ["base64"]}')
    if len(given := IMAGE_KEYS & plain.keys()) != 1:
        raise ProblemError(422, 'give either "image" or "images"')
    (key,) = given
    several = plain[key] if key == "images" else [plain[key]]
    if not isinstance(several, list):
        raise ProblemError(422, '"images" must be a list; one image goes to "image"')
    images = [_of_entry(entry, number) for number, entry in enumerate(several, 1)]
    return Body(images, {name: value for name, value in plain.items() if name not in IMAGE_KEYS})


def _of_entry(entry: Any, number: int) -> Sent:
    name = None
    if isinstance(entry, dict):
        name, data = entry.get("name"), entry.get("data")
        if entry.keys() - {"name", "data"} or not isinstance(name, str | None):
            raise ProblemError(422, f'image {number} must be {{"name": text, "data": base64}}')
        entry = data
    if not isinstance(entry, str):
        raise ProblemError(422, f"image {number} must be base64 text")
    return Sent(named(name, number), decoded(entry, f"image {number}"))


def decoded(text: str, what: str) -> bytes:
    """Decode base64, or a data URI of it. Raises ProblemError for another text, a path or an address among them."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ProblemError(422, f"{what} is a data URI without base64")
    try:
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        how = "the alphabet with + and /, = at the end"
        raise ProblemError(
            422, f"{what} is no base64 ({how}); send the file's content, never a path or an address"
        ) from None
