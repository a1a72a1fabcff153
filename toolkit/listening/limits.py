"""What the clients of one listener may take, all of them together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds; of too many connections the longest silent go, of too many handshakes the oldest.

    Those of the address that has most go first, so that who takes much pays for it.
    """

    connections: int
    idle_seconds: float
    """How long a connection lives on which no request begins."""
    request_bytes: int
    """With all its headers, which cost twice as much memory; bodies have nothing to say."""
    requests: int = 0
    """Answered at once, 0 for any number; the next one is answered 503."""
    unsent_bytes: int = 32 * 1024 * 1024
    """Of all answers that clients have not read yet."""
    read_seconds: float = 20.0
    """How long a client may take to read an answer."""
    handshakes: int = 64
    handshake_seconds: float = 10.0
    line_bytes: int = 8190
    """Of a request's first line, and of each of its headers."""
    headers: int = 128
