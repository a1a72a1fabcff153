# SPDX-License-Identifier: Apache-2.0
"""Wait for a condition with a deadline, in place of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
"""Far beyond what any condition takes on a busy machine: only a test that fails waits so long."""


@overload
async def until(
    condition: Callable[[], Awaitable[T]], *, deadline_seconds: float = ..., what: str = ...
) -> T: ...


@overload
async def until(
    condition: Callable[[], T], *, deadline_seconds: float = ..., what: str = ...
) -> T: ...


async def until(
    condition: Callable[[], Any], *, deadline_seconds: float = DEADLINE_SECONDS, what: str = ""
) -> Any:
    """Return the first truthy answer of `condition`; raise AssertionError after the deadline."""
    end = time.monotonic() + deadline_seconds
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > end:
            msg = f"not within {deadline_seconds:g} s: {what or condition}; last answer {value!r}"
            raise AssertionError(msg)
        await asyncio.sleep(0.02)
