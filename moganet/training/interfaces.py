"""By which interface processes of several hosts reach each other on CPUs, where a host's own name does not tell."""

import ipaddress
import os
import socket
import struct
import sys
from contextlib import suppress

from moganet.errors import ConfigError
from moganet.notices import say

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

VARIABLE = "GLOO_SOCKET_IFNAME"  # which gloo reads
SIOCGIFADDR = 0x8915  # of Linux: an interface's address of IPv4


def choose_interface(address: str, port: int) -> None:
    """Let gloo listen where other hosts can reach it, and say so; what the user has set stays.

    torch takes the address that the host's own name stands for. On many systems that is 127.0.1.1, or none, and the
    other hosts would look for this one on themselves. address, port: of the first process.
    Raises ConfigError where the interface towards it can't be told.
    """
    own = _own_address()
    if VARIABLE in os.environ or (own is not None and not _is_loopback(own)):
        return
    ours = _address_towards(address, port)
    if ours is not None and _is_loopback(ours):  # all processes are on this machine
        return
    what = f"this host's name, {socket.gethostname()}, stands for {own or 'no address of its own'}"
    name = None if ours is None else _interface_of(ours)
    if name is None:
        how = f"set {VARIABLE} to the interface towards {address} (`ip addr` shows them)"
        raise ConfigError(f"{what}, where other hosts can't reach it; {how}")
    os.environ[VARIABLE] = name
    say(f"{what}: {name}, the interface towards {address}, is taken; choose another by {VARIABLE}")


def _own_address() -> str | None:
    """Give the address that torch would take: the first of the host's own name that is this host's."""
    with suppress(OSError):
        for family, kind, _, _, place in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind) as tried:
                tried.bind(place)
                return str(place[0])
    return None


def _address_towards(address: str, port: int) -> str | None:
    """Give this host's address on the way to another; nothing is sent for it."""
    with suppress(OSError):
        for family, kind, _, _, place in socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, kind) as tried:
                tried.connect(place)
                return str(tried.getsockname()[0])
    return None


def _interface_of(address: str) -> str | None:
    """Give the interface that has an address of IPv4; None where the system does not tell."""
    if fcntl is None or not sys.platform.startswith("linux"):
        return None
    for _, name in socket.if_nameindex():
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:  # it may have none
            answer = fcntl.ioctl(asked.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
