"""Ray, for as long as it is needed: a cluster that is joined, or one of this machine that ends with this process.

It is quiet (nothing on stdout, no usage statistics, no dashboard), and what it writes meanwhile is taken away.
"""

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from moganet.errors import ConfigError, MogaNetError, OutputError, UnreachableError, first_line, import_extra, reason_of

VARIABLE, ANYWHERE = "RAY_ADDRESS", "auto"  # Ray's own, and its word for a cluster that this machine has joined
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}  # read when it is imported
SOON = 5.0  # seconds, within which who listens at an address takes a connection
SEARCHED = "PYTHONPATH"
INSTALLED = ("site-packages", "dist-packages")


def imported_ray() -> ModuleType:
    """Import Ray, told to be quiet. Raises MissingExtraError where it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    return import_extra("ray", "--engine ray", "scale")


def address_of_cluster(address: str | None) -> str | None:
    """Give the cluster to join, RAY_ADDRESS where none is named; None: one of this machine is started.

    Raises ConfigError for what is no address, UnreachableError where nobody answers.
    """
    address = address if address is not None else os.environ.get(VARIABLE) or None
    if address in (None, "local"):
        return None
    if address != ANYWHERE:
        _reach(address)
    return address


def _reach(address: str) -> None:
    """Ask whether somebody listens there: Ray itself would try for a minute, and say much."""
    if "://" in address:
        how = "start this on a machine of the cluster, with its head's HOST:PORT, or auto"
        raise ConfigError(f"--address {address!r} is of Ray's client, which runs outside the cluster; {how}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"--address {address!r} must be HOST:PORT of a Ray cluster's head, say 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SOON).close()
    except OSError as error:
        how = "`ray start --head` starts one; without --address one is started here"
        raise UnreachableError(f"no Ray cluster answers at {address}: {reason_of(error)}; {how}") from None


@contextmanager
def ray_cluster(address: str | None, *, cpus: int, store: int) -> Iterator[Any]:
    """Give Ray within the block. address: as `address_of_cluster` gave it.

    cpus, store: of one that is started here, its processors and the bytes of its object store.
    """
    ray = imported_ray()
    with tempfile.TemporaryDirectory(prefix="moganet-ray-", ignore_cleanup_errors=True) as place:
        start = {"address": "local", "num_cpus": cpus, "object_store_memory": store, "include_dashboard": False}
        own = {**start, "_temp_dir": place} if address is None else {"address": address, "runtime_env": _found_there()}
        _quieten()
        try:
            with _with_package(address is None), _keeping_signals():
                ray.init(**own, log_to_driver=False, logging_level=logging.CRITICAL)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise _unstarted(address, error) from None
        _quieten()
        try:
            yield ray
        finally:
            ray.shutdown()


def _quieten() -> None:
    for name in ("ray", "ray.serve", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _unstarted(address: str | None, error: Exception) -> MogaNetError:
    if address is None:
        return OutputError(f"can't start Ray on this machine: {first_line(error)}")
    return UnreachableError(f"can't join the Ray cluster at {address}: {first_line(error)}; see --address")


def package_root() -> str | None:
    """Give the folder by which other processes find this package, None where it is installed as any other."""
    root = Path(__file__).parents[1]
    return None if root.name in INSTALLED else str(root)


def _searched() -> str:
    return os.pathsep.join(part for part in (package_root(), os.environ.get(SEARCHED)) if part)


def _found_there() -> Mapping[str, Any]:
    """Let processes of a cluster find the package where it lies here, on a disk that they share or on this machine."""
    return {} if package_root() is None else {"env_vars": {SEARCHED: _searched()}}


@contextmanager
def _with_package(here: bool) -> Iterator[None]:
    """Let processes that are started within the block find the package, as they take over the environment."""
    before = os.environ.get(SEARCHED)
    if not here or package_root() is None:
        yield
        return
    os.environ[SEARCHED] = _searched()
    try:
        yield
    finally:
        if before is None:
            del os.environ[SEARCHED]
        else:
            os.environ[SEARCHED] = before


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Put back after the block who hears of signals: Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
