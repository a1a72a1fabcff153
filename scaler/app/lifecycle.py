# SPDX-License-Identifier: Apache-2.0
"""Runs the parts until a signal, or for one loop, and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from scaler.app.parts import ScalerParts, StartError
from scaler.decision.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from scaler.cli.config import ScalerConfig

log = logging.getLogger(__name__)

SYNC_TIMEOUT_SECONDS = 30.0
DRAIN_SECONDS = 3.0
"""How long the metrics API keeps serving after SIGTERM, until no client is routed here."""
LAST_LOOP_GRACE_SECONDS = 3.0
"""How long a running loop may still take after SIGTERM before it is cancelled."""


async def run_until(
    config: ScalerConfig,
    parts: ScalerParts,
    more: Iterable[Callable[[], Coroutine[object, object, None]]],
    stop: asyncio.Event,
) -> None:
    """Run the background tasks until `stop`; then end the loop, release the Lease, end the rest."""
    async with asyncio.TaskGroup() as group:
        work = (parts.state.run, parts.source.run, parts.events.run, parts.web.run, *more)
        background = [group.create_task(one()) for one in work]
        if parts.metrics_api is not None:
            background.append(group.create_task(parts.metrics_api.run()))
        if parts.election is not None:
            background.append(group.create_task(parts.election.run()))
        await _first_of(parts.state.wait_synced(), stop.wait())
        loop = group.create_task(
            parts.controller.run(interval_seconds=config.interval_seconds, stop=stop)
        )
        await stop.wait()
        log.info("Exiting on a signal", extra={"identity": parts.identity})
        await asyncio.wait([loop], timeout=LAST_LOOP_GRACE_SECONDS)
        loop.cancel()
        if parts.election is not None:
            background.pop().cancel()
            await parts.election.release()
        await parts.events.flush(timeout_seconds=0.5)
        if parts.metrics_api is not None:
            await parts.metrics_api.leave(after_seconds=DRAIN_SECONDS)
        for task in background:
            task.cancel()


async def run_once(parts: ScalerParts) -> int:
    """Run one loop as the leader and return the exit status."""
    async with asyncio.TaskGroup() as group:
        work = (parts.state.run, parts.source.run, parts.events.run)
        background = [group.create_task(one()) for one in work]
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_SECONDS):
                await parts.state.wait_synced()
            if parts.election is not None and not await parts.election.try_once():
                msg = (
                    f"{parts.election.leader() or 'another replica'} holds the Lease, and only one"
                    " scaler may act; nothing was changed"
                )
                raise StartError(msg)
            await parts.controller.cycle()
            await parts.events.flush(timeout_seconds=5)
        except TimeoutError:
            msg = f"the watches did not sync within {SYNC_TIMEOUT_SECONDS:g} s"
            raise StartError(msg) from None
        finally:
            if parts.election is not None:
                await parts.election.release()
            for task in background:
                task.cancel()
    failed = any(
        record.decision.outcome is Outcome.FAILED
        for record in parts.controller.status_store.records.values()
    )
    return 1 if failed or parts.state.lost(time.monotonic()) else 0


async def _first_of(*awaitables: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
