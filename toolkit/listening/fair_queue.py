"""Who is next: of one address one after the other, and each address for itself."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(slots=True)
class _Line:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class FairQueue:
    """One turn at a time for each address, first come, first served.

    A crowd at one address then costs another address one turn, not the whole crowd's.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def length(self, address: str) -> int:
        """Return how many of an address wait or have their turn."""
        line = self._lines.get(address)
        return line.length if line else 0

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn of this address, which lasts as long as the context."""
        line = self._lines.setdefault(address, _Line())
        line.length += 1
        try:
            async with line.turn:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[address]
