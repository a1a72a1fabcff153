# SPDX-License-Identifier: Apache-2.0
"""A queue with one turn at a time per client address."""

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
    """One turn at a time per address, first come, first served.

    However many requests one address sends, they delay another address by one turn only.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def length(self, address: str) -> int:
        """Return how many requests of an address are waiting or have the turn."""
        line = self._lines.get(address)
        return line.length if line else 0

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for the address's turn, and hold it within the context."""
        line = self._lines.setdefault(address, _Line())
        line.length += 1
        try:
            async with line.turn:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[address]
