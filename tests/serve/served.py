"""A service of small models in this process, and clients that ask it."""

import asyncio
import base64
import io
from functools import cache

import httpx
import numpy as np
from PIL import Image
from small_model import exported, model, pictures

from moganet.inference.load import load
from moganet.serve.app import build_app
from moganet.serve.door import Access
from moganet.serve.hosted import Source
from moganet.serve.limits import Limits
from moganet.serve.plan import open_service

LIMITS = Limits(bytes=200_000, pixels=10_000, images=3, queue=2, seconds=20)


def opened(limits=LIMITS, **models):
    """Give a service of models by their names."""
    sources = [Source(name, str(what), lambda what=what: load(what)) for name, what in models.items()]
    return open_service(sources, limits)


@cache
def service():
    """Give the service of a model file and of what was exported of it, made once."""
    return opened(small=model(), fast=exported("openvino"))


@cache
def door(access=None):
    return build_app(service(), access or Access())


def ask(method, path, to=None, base="http://localhost", **what):
    """Ask once, and give the response."""

    async def asking():
        transport = httpx.ASGITransport(to or door())
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, **what)

    return asyncio.run(asking())


@cache
def png(place=0):
    """Give a picture as a file's content."""
    content = io.BytesIO()
    Image.fromarray(pictures()[place]).save(content, "PNG")
    return content.getvalue()


def as_base64(content):
    return base64.b64encode(content).decode()


def jpeg(width, height):
    content = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(content, "JPEG")
    return content.getvalue()
