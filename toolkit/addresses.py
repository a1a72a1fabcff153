"""Addresses to listen on, and those that callers come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_MAPPED = "::ffff:"


def peer_address(transport: asyncio.BaseTransport | None) -> str:
    """Return the address of the other end, the same whichever family our socket has."""
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]).removeprefix(_MAPPED) if name else ""
