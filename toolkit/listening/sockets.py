# SPDX-License-Identifier: Apache-2.0
"""Listening sockets, and the addresses of the clients that connect to them."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from toolkit.listening.local_sockets import is_local, local_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BACKLOG: Final = 128
_MAPPED: Final = "::ffff:"
_NO_SUCH_FAMILY: Final = (
    *(errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT),
)


def why_not_bound(error: OSError) -> str:
    """Return the system's error message, without asyncio's prefix."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


async def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for a host, an IP address, or all addresses of the machine.

    unix:/PATH is a socket in the file system, and `systemd` stands for those that it passes.

    An empty host and `::` mean all addresses of both families, or of IPv4 alone if the machine has
    no IPv6. For a name, each of its addresses is bound, all at the same port.

    Raises:
        OSError: an address cannot be bound.
    """
    if is_local(host):
        return local_sockets(host)
    if not host or _is_unspecified_ipv6(host):
        return [_everywhere(port)]
    found = await asyncio.get_running_loop().getaddrinfo(
        _unmapped(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, (name, found_port, *rest) in dict.fromkeys(found):
        # With port 0, all sockets must get the same free port.
        one_port = sockets[0].getsockname()[1] if sockets else found_port
        try:
            sockets.append(_listening(_of_one_family(family), (name, one_port, *rest)))
        except OSError as error:
            missing = error
            if error.errno not in _NO_SUCH_FAMILY:
                break
    if missing is not None and (not sockets or missing.errno not in _NO_SUCH_FAMILY):
        for one in sockets:
            one.close()
        raise missing
    return sockets


def peer_address(transport: asyncio.BaseTransport | None) -> str:
    """Return the peer's IP address, without the prefix of IPv4-mapped IPv6 addresses."""
    name = None if transport is None else transport.get_extra_info("peername")
    return host_of(name) if name else ""


def host_of(name: Sequence[object]) -> str:
    """Return the IP address of a socket's name; clients of a local socket have none."""
    return "" if isinstance(name, str | bytes) else str(name[0]).removeprefix(_MAPPED)


def _is_unspecified_ipv6(host: str) -> bool:
    try:
        return ipaddress.IPv6Address(host) == ipaddress.IPv6Address("::")
    except ValueError:
        return False


def _unmapped(host: str) -> str:
    """Return an IPv4-mapped IPv6 address as IPv4, and any other host unchanged."""
    try:
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return host if mapped is None else str(mapped)


def _everywhere(port: int) -> socket.socket:
    try:
        both = socket.socket(socket.AF_INET6)
        with _closed_on_error(both):
            both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return _listening(both, ("::", port))
    except OSError as error:
        if error.errno not in _NO_SUCH_FAMILY:
            raise
    return _listening(socket.socket(socket.AF_INET), ("0.0.0.0", port))


def _of_one_family(family: int) -> socket.socket:
    made = socket.socket(family)
    if family == socket.AF_INET6:
        with _closed_on_error(made):
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _listening(made: socket.socket, address: tuple[object, ...]) -> socket.socket:
    with _closed_on_error(made):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
        except OSError as error:
            why = f"cannot bind {address[0]} port {address[1]}: {str(error.strerror).lower()}"
            raise OSError(error.errno, why) from None
        made.listen(_BACKLOG)
        made.setblocking(False)
    return made


@contextmanager
def _closed_on_error(made: socket.socket) -> Iterator[None]:
    try:
        yield
    except OSError:
        made.close()
        raise
