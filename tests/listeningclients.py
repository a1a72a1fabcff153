# SPDX-License-Identifier: Apache-2.0
"""What clients do to a listener that are no good ones, as bytes on a connection of their own."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

BROKEN_GZIP = (
    b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip!!"
)
NO_HTTP = b"\x00\x01\x02 / HTTP/1.1\r\n\r\n"


async def send_and_reset(
    address: tuple[str, int], sent: bytes, tls: ssl.SSLContext | None = None, name: str = ""
) -> None:
    """Send this and reset the connection at once, before anything can be answered."""
    _, writer = await asyncio.open_connection(
        *address, ssl=tls, server_hostname=name if tls else None
    )
    made = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.write(sent)
    await writer.drain()
    writer.transport.abort()


async def answer_to(
    address: tuple[str, int], sent: bytes, tls: ssl.SSLContext | None = None, name: str = ""
) -> bytes:
    """Send this and return what comes until the end."""
    reader, writer = await asyncio.open_connection(
        *address, ssl=tls, server_hostname=name if tls else None
    )
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()
