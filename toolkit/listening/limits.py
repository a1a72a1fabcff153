# SPDX-License-Identifier: Apache-2.0
"""Pure: limits for all clients of one listener together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one listener.

    Beyond them, the longest silent connections and the oldest handshakes are ended, beginning with
    those of the address that has the most.
    """

    connections: int
    idle_seconds: float
    """How long a connection may stay open without a new request."""
    request_bytes: int
    """Size of one request with its headers, which take twice as much memory; no body is needed."""
    requests: int = 0
    """Requests in progress at once, 0 for no limit; the next one gets status 503."""
    unsent_bytes: int = 32 * 1024 * 1024
    """Bytes of all responses that clients have not read yet."""
    read_seconds: float = 20.0
    """How long a client may take to read a response."""
    handshakes: int = 64
    handshake_seconds: float = 10.0
    line_bytes: int = 8190
    """Size of a request's first line, and of each of its headers."""
    headers: int = 128
