"""`serve`: from the command line's words to a running service, and its end."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from moganet.errors import ConfigError, OutputError
from moganet.notices import say
from moganet.results import Result
from moganet.serve.door import LOOPBACK, Access, Behind, Door
from moganet.serve.heads import LimitedHeads
from moganet.serve.hosted import Serving
from moganet.serve.limits import Limits
from moganet.serve.plan import Extend, Plan, Spread
from moganet.serve.shelf import named_models

TOKEN = "MOGANET_TOKEN"  # the environment variable
MAX_TOKEN, MIN_TOKEN = 4096, 8  # characters
BACKLOG, IDLE = 2048, 75  # connections that wait; seconds for which one is kept that nothing is asked over
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """The service was stopped at once, by a second signal."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped at once: requests that were not finished were broken off")
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Opening:
    """Where the service is reached and by whom. port: 0 takes a free one. open: other machines need no token.

    token, token_file: None takes the environment's MOGANET_TOKEN. origins: of pages of other sites that may ask.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    token_file: Path | None = None
    open: bool = False
    origins: Sequence[str] = field(default_factory=tuple)


class Started(Result):
    """Where a service is reached, and what it serves. token: whether one must be shown.

    replicas: of one that is spread, the fewest and the most; else no key.
    """

    address: str
    models: tuple[Serving, ...]
    token: bool
    replicas: tuple[int, int] | None = None


class Running(Behind, Protocol):
    """What answers. ready: whether anything new is taken."""

    ready: bool

    def reload(self) -> Mapping[str, str]:
        """Take changed models anew; give what came of each."""

    def serving(self) -> tuple[Serving, ...]:
        """Say what is served, the default first."""


def serve(
    models: Sequence[str],
    opening: Opening = Opening(),
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    *,
    extend: Extend | None = None,
    started: Callable[[Started], object] = lambda found: None,
    spread: Spread | None = None,
    **choices: Any,
) -> None:
    """Serve models until the process is asked to stop; then finish what was accepted.

    models: MODELs, or NAME=MODEL. started: is told once clients can come. extend: adds to the application, as the page.
    spread: over what, with the engine Ray; None answers in this process. choices: as in `load`. SIGHUP takes changed
    models anew.
    Raises ConfigError for what can't be, OutputError for a port that is taken, what `load` raises, and Stopped; for Ray
    also MissingExtraError and UnreachableError.
    """
    if "/" in opening.host or opening.host.count(":") == 1:
        raise ConfigError(f"--host {opening.host!r} must be a name or an address alone; its port goes to --port")
    access = access_of(opening)
    plan = Plan(named_models(models), limits, access.origins, extend, choices)
    if not plan.models:
        raise ConfigError("no model is given; name one or several")
    # The port is taken before models are loaded, which takes longer.
    with contextlib.closing(bound(opening)) as listener, answering(plan, spread) as (service, app):
        told = _started(address_of(listener, opening.host), service, access, spread)
        server = _Server(Door(app, service, access), service, lambda: started(told))
        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each form that is none
        server.run(sockets=[listener])
    if server.unheard is not None:
        raise server.unheard
    if server.stopped_by is not None:
        raise Stopped(server.stopped_by)


@contextlib.contextmanager
def answering(plan: Plan, spread: Spread | None) -> Iterator[tuple[Running, ASGIApp]]:
    """Give what answers, and its application: in this process, or what stands for replicas."""
    if spread is None:
        with plan.hosted() as (service, app):
            yield service, app
    else:
        from moganet.serve.on_ray import deployed

        with deployed(plan, spread) as front:
            yield front, front


def access_of(opening: Opening) -> Access:
    """Say who may ask. Raises ConfigError where other machines could without a token, unless that is said."""
    token = _token(opening)
    local = opening.host in LOOPBACK or opening.host.startswith("127.")
    if not local and token is None and not opening.open:
        what = f"--host {opening.host} lets other machines ask, and no token is set"
        raise ConfigError(f"{what}; give --token-file FILE, or {TOKEN} in the environment, or say --open")
    if not local and token is None:
        say(f"whoever reaches {opening.host}:{opening.port} may ask: no token is set", doubtful=True)
    for origin in opening.origins:
        if origin != "*" and not origin.lower().startswith(("http://", "https://")):
            raise ConfigError(f"--cors {origin!r} is no origin; give one as https://example.org, or * for all")
    hosts = (*LOOPBACK, opening.host) if local and token is None else ()
    return Access(token, tuple(dict.fromkeys(hosts)), tuple(one.rstrip("/") for one in opening.origins))


def _token(opening: Opening) -> str | None:
    if opening.token is not None and opening.token_file is not None:
        raise ConfigError("give --token or --token-file, not both")
    if opening.token_file is not None:
        try:
            with open(opening.token_file, encoding="utf-8") as file:
                token = file.read(MAX_TOKEN + 1).strip()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"can't read the token from {opening.token_file}: {reason}") from None
        where = str(opening.token_file)
    elif opening.token is not None:
        token, where = opening.token, "--token"
    elif TOKEN in os.environ:
        token, where = os.environ[TOKEN].strip(), TOKEN
    else:
        return None
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN or not token.isprintable() or " " in token:
        what = f"the token of {where} must have {MIN_TOKEN} characters or more, without spaces"
        raise ConfigError(f"{what}; openssl rand -hex 32 makes one")
    return token


def bound(opening: Opening) -> socket.socket:
    """Take the port. Raises OutputError where it can't be had."""
    try:
        (family, *_, place), *_ = socket.getaddrinfo(opening.host, opening.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OutputError(f"can't serve at {opening.host}: {error.strerror or error}; see --host") from None
    listener = socket.socket(family)
    try:
        if os.name == "posix":  # where it lets a port be taken again that another service has just left
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        listener.close()
        how = "choose another --port, or 0 for a free one"
        raise OutputError(f"can't serve at {opening.host}:{opening.port}: {error.strerror}; {how}") from None
    return listener


def address_of(listener: socket.socket, host: str) -> str:
    """Give the address of a bound socket."""
    port = listener.getsockname()[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _started(address: str, service: Running, access: Access, spread: Spread | None) -> Started:
    over = {} if spread is None else {"replicas": (spread.fewest, spread.most)}
    return Started(address=address, models=service.serving(), token=access.token is not None, **over)


class _Server(uvicorn.Server):
    """uvicorn with our signals: the first stop finishes what was accepted, a second breaks off, SIGHUP reloads."""

    def __init__(self, door: Door, service: Running, started: Callable[[], object]) -> None:
        config = uvicorn.Config(
            door,
            log_config=None,
            access_log=False,
            log_level="error",  # of what others send that is no HTTP there is a line each
            backlog=BACKLOG,
            timeout_keep_alive=IDLE,
            server_header=False,
            timeout_graceful_shutdown=int(service.limits.seconds) + 1,
            ws="none",
            http=LimitedHeads,
        )
        super().__init__(config)
        self.service, self._tell = service, started
        self.stopped_by: int | None = None
        self.unheard: Exception | None = None
        self._terminals = [number for number in range(3) if os.isatty(number)]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so; where nobody hears it, stop as ever, and raise it then."""
        await super().startup(sockets)
        try:
            self._tell()
        except Exception as error:
            self.unheard = error
            asyncio.get_running_loop().call_soon(setattr, self, "should_exit", True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Have the signals while the service runs; who had them before has them again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        own: dict[int, Any] = dict.fromkeys(STOPS, self.handle_exit)
        if hasattr(signal, "SIGHUP"):
            own[signal.SIGHUP] = self._hang_up
        before = {number: signal.signal(number, handler) for number, handler in own.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop: at first when all that was accepted is answered."""
        self.service.ready = False
        if self.should_exit:
            self.force_exit, self.stopped_by = True, int(sig)
        self.should_exit = True

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        """Reload; or stop, where it is the terminal that was closed."""
        if any(map(_is_gone, self._terminals)):
            self.handle_exit(number, frame)
            return
        threading.Thread(target=self._reload_and_say, daemon=True, name="reload").start()

    def _reload_and_say(self) -> None:
        outcome = self.service.reload()
        logging.getLogger("moganet").info("reloaded: %s", ", ".join(f"{name} {what}" for name, what in outcome.items()))


def _is_gone(terminal: int) -> bool:
    try:
        os.tcgetpgrp(terminal)
    except OSError:
        return True
    return False
