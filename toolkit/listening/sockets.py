# SPDX-License-Identifier: Apache-2.0
"""Listening sockets, and the addresses of the clients that connect to them."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Final

from toolkit.listening.local_sockets import is_local, local_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    host = _meant(host)
    if not host:
        return [_everywhere(port)]
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, (name, found_port, *rest) in dict.fromkeys(found):
        # With port 0, all sockets must get the same free port.
        one_port = sockets[0].getsockname()[1] if sockets else found_port
        try:
            sockets.append(_listening(family, (name, one_port, *rest)))
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


def _meant(host: str) -> str:
    """Return an IPv4-mapped IPv6 address as IPv4, nothing for `::`, any other host unchanged."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return "" if address == ipaddress.IPv6Address("::") else str(address.ipv4_mapped or host)


def _everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return _listening(socket.AF_INET6, ("::", port), both_families=True)
        except OSError as error:
            if error.errno not in _NO_SUCH_FAMILY:
                raise
    return _listening(socket.AF_INET, ("0.0.0.0", port))


def _listening(
    family: int, address: tuple[object, ...], *, both_families: bool = False
) -> socket.socket:
    made = socket.create_server(
        address, family=family, backlog=_BACKLOG, dualstack_ipv6=both_families
    )
    made.setblocking(False)
    return made
