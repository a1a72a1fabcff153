"""Who is next: requests of one address begin one after the other, those of others beside them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Queue:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Turns:
    """Lets one request of each address begin in a turn of the event loop.

    A crowd at one address then costs another address one request's time, not the whole crowd's.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    async def wait(self, address: str) -> None:
        """Return when it is this request's turn."""
        queue = self._queues.setdefault(address, _Queue())
        queue.waiting += 1
        try:
            async with queue.turn:
                await asyncio.sleep(0)
        finally:
            queue.waiting -= 1
            if not queue.waiting:
                del self._queues[address]
