"""`moganet serve`: models that answer over HTTP."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Unpack

from moganet_cli.app import USING, app
from moganet_cli.completion import models
from moganet_cli.options import AsJson, Asking, argument, option, with_options
from moganet_cli.output import Found, line, print_json

MODELS = "Files, runs' folders or names, each served under its own name, or as NAME=MODEL; the first is the default."
HOST = "Address to listen at; 0.0.0.0 lets other machines ask, which needs a token."
TOKEN = "Text that clients must show. Others on this machine see it in the list of processes: better a file."
TOKEN_FILE = "File with that text [default: the environment's MOGANET_TOKEN, else none]."
OPEN = "Let other machines ask without a token."
CORS = "Origin whose pages may ask, as https://example.org; may be repeated."
NO_PAGE = "Leave out the page for browsers at /."
SAMPLES = "Folder of images that the page offers to click [default: photographs that are installed anyway]."
ENGINE = "local: this process. ray: replicas on Ray, behind this process, here or in a cluster; docs/scale.md."
REPLICAS = "Processes that answer; two numbers are the fewest and the most, by what is asked [default: 2]."
ADDRESS = "Of the Ray cluster's head, or auto [default: RAY_ADDRESS, else Ray is started here and ends with this]."
SERVICE, LIMITS, MANY = "The service", "What a request may ask", "Many machines"


@app.command(
    help="Answer over HTTP: a page, our own API, the Open Inference Protocol, figures for Prometheus; docs/service.md.",
    epilog="moganet serve runs/digits-1\nmoganet serve a=runs/a b=runs/b.onnx --port 9000\n"
    "moganet serve runs/a --host 0.0.0.0 --token-file token.txt\n"
    "moganet serve runs/a --engine ray --replicas 2-8 --address 10.0.0.1:6379",
    rich_help_panel=USING,
)
@with_options
def serve(
    model: Annotated[list[str], argument("MODEL...", MODELS, models)],
    host: Annotated[str, option(HOST, panel=SERVICE)] = "127.0.0.1",
    port: Annotated[int, option("0: a free one.", panel=SERVICE, min=0, max=65535)] = 8000,
    token: Annotated[str | None, option(TOKEN, panel=SERVICE)] = None,
    token_file: Annotated[Path | None, option(TOKEN_FILE, panel=SERVICE)] = None,
    open_to_all: Annotated[bool, option("--open", OPEN, panel=SERVICE)] = False,
    cors: Annotated[list[str] | None, option(CORS, metavar="ORIGIN", panel=SERVICE)] = None,
    no_page: Annotated[bool, option("--no-page", NO_PAGE, panel=SERVICE)] = False,
    samples: Annotated[Path | None, option(SAMPLES, metavar="DIR", panel=SERVICE)] = None,
    max_mb: Annotated[float, option("Megabytes of its body.", panel=LIMITS, min=0.001, max=10_000)] = 20,
    max_pixels: Annotated[int, option("Of an image, by its header.", panel=LIMITS, min=1)] = 64_000_000,
    max_images: Annotated[int, option("Images at a time.", panel=LIMITS, min=1, max=10_000)] = 32,
    max_seconds: Annotated[float, option("Until its answer.", panel=LIMITS, min=0.1, max=86_400)] = 30,
    queue: Annotated[int, option("Requests that wait; others are told to come later.", panel=LIMITS, min=1)] = 64,
    engine: Annotated[Literal["local", "ray"], option(ENGINE, panel=MANY)] = "local",
    replicas: Annotated[str | None, option(REPLICAS, metavar="N or MIN-MAX", panel=MANY)] = None,
    address: Annotated[str | None, option(ADDRESS, metavar="HOST:PORT", panel=MANY)] = None,
    as_json: AsJson = False,
    **passed: Unpack[Asking],
) -> None:
    from moganet.errors import ConfigError, import_extra

    if engine == "local" and (replicas, address) != (None, None):
        raise ConfigError("--replicas and --address are for --engine ray")
    if no_page and samples is not None:
        raise ConfigError("--samples is for the page: leave --no-page out")
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        import_extra(package, "serving", "serve")
    from moganet.serve.limits import Limits
    from moganet.serve.page import mount
    from moganet.serve.plan import Spread
    from moganet.serve.run import Opening
    from moganet.serve.run import serve as run

    opening = Opening(host, port, token, token_file, open_to_all, tuple(cors or ()))
    limits = Limits(int(max_mb * 1e6), max_pixels, max_images, queue, max_seconds)
    extend = None if no_page else partial(mount, samples=None if samples is None else samples.absolute())
    spread = None if engine == "local" else Spread.of("2" if replicas is None else replicas, address)
    started = print_json if as_json else _say
    run(model, opening, limits, extend=extend, spread=spread, started=started, **passed)


def _say(started: Found) -> None:
    from moganet.numbers import count

    for one in started["models"]:
        line(f"{one['name']}: {one['task']}, {one['classes']} classes, {one['runtime']}, {one['sha256'][:12]}")
    if "replicas" in started:
        fewest, most = started["replicas"]
        line(f"{fewest} to {most} replicas on Ray" if fewest < most else f"{count(most, 'replica')} on Ray")
    asked = "; clients show the token" if started["token"] else ""
    line(f"serving at {started['address']}{asked}; Ctrl-C stops")
