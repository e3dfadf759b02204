"""Ray itself: started here for as long as it is needed, or met at an address; quiet, and without a dashboard."""

import io
import logging
import os
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from moganet.errors import ConfigError, first_line, import_extra, reason_of
from moganet.notices import say

STORE = 200_000_000  # bytes of a local object store
REACHED = 5.0  # seconds within which an address answers
VARIABLE = "RAY_ADDRESS"  # where Ray itself looks for one
LONGEST = 40  # characters of a folder, in which sockets lie whose paths have 107 at the most
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it says what a later version will do
    "RAY_enable_metrics_collection": "false",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
# On every system a Ray of one machine then hears on the loopback alone, as it does on those of the variable's name.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# How long a driver looks for Ray at an address where something else hears: once, for some seconds, and not for minutes.
JOINING = {"RAY_gcs_server_port_wait_time_s": "1", "RAY_py_gcs_connect_timeout_s": "10"}
LOGGERS = ("ray", "ray.data", "ray.serve")


@contextmanager
def connected(address: str | None, cores: int, *, part: str = "ray.data", store: int = STORE) -> Iterator[Any]:
    """Give the package ray, connected: to a cluster that is there, or to one that lives as long as the block.

    address: HOST:PORT, "auto" for the one on this machine, or ray://HOST:PORT; None is $RAY_ADDRESS, or one of this
    process's own with so many cores and an object store of so many bytes. One that this process is connected to already
    is taken, and left. part: of Ray, that is wanted of it.
    Raises MissingExtraError without Ray, and ConfigError where no cluster answers.
    """
    with _environment(QUIET | (ALONE if starts_here(address) else {})):  # Ray reads them while it is imported
        import_extra(part, "--engine ray", "scale")
        ray = import_extra("ray", "--engine ray", "scale")
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if _is_verbose() else logging.CRITICAL)
    kept, sys.stdout = sys.stdout, _WithoutRay(sys.stdout)
    try:
        if ray.is_initialized():
            if address is not None:
                say(f"this process is connected to Ray already, so that {address} is not asked")
            yield ray
        elif (place := address or os.environ.get(VARIABLE) or "local") == "local":
            with _started(ray, cores, store):
                yield ray
        else:
            with _joined(ray, place, is_said=address is not None):
                yield ray
    finally:
        sys.stdout = kept
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _WithoutRay(io.TextIOBase):
    """A stream without what Ray's own threads print there, of workers that died say, among the results."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        written: int = self.stream.write(text)
        return written

    def flush(self) -> None:
        self.stream.flush()


def starts_here(address: str | None) -> bool:
    """Tell whether `connected` would start Ray, with whatever it is given here."""
    return (address or os.environ.get(VARIABLE) or "local") == "local"


def _is_verbose() -> bool:
    return logging.getLogger("moganet").isEnabledFor(logging.DEBUG)


@contextmanager
def _started(ray: Any, cores: int, store: int) -> Iterator[None]:
    """Start Ray for this process alone: it hears on the loopback, and leaves neither a process nor a file behind."""
    folder = _short_folder()
    how: dict[str, Any] = {"num_cpus": cores, "object_store_memory": store, "include_dashboard": False}
    how |= {"_temp_dir": str(folder)}
    try:
        with _shut_down(ray):
            with _environment({**QUIET, **ALONE, "PYTHONPATH": _path_of_package()}):  # which workers get from here
                _initialise(ray, "Ray does not start here", "--engine local does without", address="local", **how)
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _joined(ray: Any, place: str, *, is_said: bool) -> Iterator[None]:
    """Connect to a cluster. is_said: it is named by who asks, and not by the environment."""
    if not is_said:
        say(f"the cluster is the one of {VARIABLE}, {place}; --address names another")
    name = "--address" if is_said else VARIABLE
    how = f"{name} is HOST:PORT, ray://HOST:PORT or auto, of one that `ray start --head` began"
    _check_reached(place, how)
    found = {"env_vars": {"PYTHONPATH": path}} if (path := _path_of_package()) else {}
    with _shut_down(ray), _environment(JOINING):
        _initialise(ray, f"no cluster of Ray answers at {place}", how, address=place, runtime_env=found)
        yield


def _initialise(ray: Any, what: str, remedy: str, **how: Any) -> None:
    try:
        with _environment(QUIET), nullcontext() if _is_verbose() else _hushed():
            ray.init(log_to_driver=False, configure_logging=False, **how)
    except Exception as error:  # of many kinds: of sockets, of versions, of what it starts
        raise ConfigError(f"{what} ({first_line(error)}); {remedy}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)  # as a signal ends a process, once Ray was shut down; Ray would give another code


@contextmanager
def _shut_down(ray: Any) -> Iterator[None]:
    """Shut Ray down at the end, and let SIGTERM do again what it did."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with redirect_stdout(io.StringIO()):  # what its threads had not printed yet
            ray.shutdown()
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _check_reached(place: str, how: str) -> None:
    """Raise ConfigError for an address at which nothing hears, sooner than Ray does."""
    if place in ("auto", "local"):
        return
    host, _, port = place.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{place!r} is no address of a cluster of Ray; {how}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"no cluster of Ray answers at {place} ({reason_of(error)}); {how}") from None


@contextmanager
def _hushed() -> Iterator[None]:
    """Let nothing be seen that is written to stderr: Ray's core tells there what it raises an exception for as well."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _path_of_package() -> str:
    """Give PYTHONPATH for workers: with the folder of this package, where Python does not look in it by itself."""
    own, there = Path(__file__).resolve().parents[1], os.environ.get("PYTHONPATH", "")
    installed = str(own) in {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return there if installed else os.pathsep.join(filter(None, (str(own), there)))


def _short_folder() -> Path:
    """Make a folder for what Ray writes: sockets among it, whose paths must be short."""
    folder = Path(tempfile.mkdtemp(prefix="moganet-"))
    if len(str(folder)) <= LONGEST or not Path("/tmp").is_dir():
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="moganet-", dir="/tmp"))
