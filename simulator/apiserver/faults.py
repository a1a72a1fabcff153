# SPDX-License-Identifier: Apache-2.0
"""Ways for a test to make the embedded API misbehave as real ones do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from simulator.apiserver.status import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware


def _all(request: web.Request) -> bool:
    return True


@dataclass(slots=True, kw_only=True)
class Faults:
    """Faults in force now; tests set and clear the fields while the server runs.

    `applies_to` narrows the first three to some requests. Watches that are open already are hit
    by `freeze_watches()` and `drop_watches()`.
    """

    applies_to: Callable[[web.Request], bool] = _all
    cut_connections: bool = False
    error_status: int | None = None
    retry_after_seconds: int | None = None
    delay_seconds: float = 0.0
    watches_flow: asyncio.Event = field(default_factory=asyncio.Event)
    _watches: dict[int, web.Request] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watches_flow.set()

    def clear(self) -> None:
        """End all faults."""
        self.applies_to = _all
        self.cut_connections = False
        self.error_status = None
        self.retry_after_seconds = None
        self.delay_seconds = 0.0
        self.watches_flow.set()

    def freeze_watches(self) -> None:
        """Send nothing on any watch from now on, as on a half-open connection."""
        self.watches_flow.clear()

    def drop_watches(self) -> int:
        """Cut the connections of all open watches; returns how many there were."""
        watches = list(self._watches.values())
        for request in watches:
            if request.transport is not None:
                request.transport.abort()
        return len(watches)

    def watch_opened(self, request: web.Request) -> None:
        """Remember an open watch."""
        self._watches[id(request)] = request

    def watch_closed(self, request: web.Request) -> None:
        """Forget a watch that ended."""
        self._watches.pop(id(request), None)

    @property
    def open_watches(self) -> int:
        """How many watches are open now."""
        return len(self._watches)


def middleware(faults: Faults) -> Middleware:
    """Return the aiohttp middleware that applies `faults`."""

    @web.middleware
    async def apply(request: web.Request, handler: Handler) -> web.StreamResponse:
        if faults.applies_to(request):
            if faults.delay_seconds:
                await asyncio.sleep(faults.delay_seconds)
            if faults.cut_connections:
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError
            if faults.error_status is not None:
                body = StatusError(faults.error_status, "InternalError", "fault injected").body()
                seconds = faults.retry_after_seconds
                headers = {} if seconds is None else {"Retry-After": str(seconds)}
                return web.json_response(body, status=faults.error_status, headers=headers)
        return await handler(request)

    return apply
