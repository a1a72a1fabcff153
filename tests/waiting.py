"""Wait for a condition with a deadline, in place of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def until(
    condition: Callable[[], T | Awaitable[T]], *, deadline_seconds: float = 10.0, what: str = ""
) -> T:
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
