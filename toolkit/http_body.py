# SPDX-License-Identifier: Apache-2.0
"""Reads bodies of HTTP responses up to a maximum size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

CHUNK_BYTES = 64 * 1024


class AnswerTooLargeError(RuntimeError):
    """The answer exceeds the maximum size."""


async def read_body(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """Return the decompressed body; raises AnswerTooLargeError beyond `max_bytes`."""
    body = await read_start(response, max_bytes=max_bytes + 1)
    if len(body) > max_bytes:
        raise AnswerTooLargeError(f"the answer exceeds {max_bytes} bytes")
    return body


async def read_start(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """Return at most the first `max_bytes` of the decompressed body."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) >= max_bytes:
            break
    return bytes(body[:max_bytes])
