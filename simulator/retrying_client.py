# SPDX-License-Identifier: Apache-2.0
"""Requests of the simulated nodes to an API server that comes and goes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from scaler.kube.errors import (
    Conflict,
    Forbidden,
    NotFound,
    ServerError,
    TooManyRequests,
    Unreachable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
FIRST_RETRY_SECONDS: Final = 0.1
LAST_RETRY_SECONDS: Final = 5.0


async def persist(
    request: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs
) -> T | None:
    """Repeat a request with these arguments until the server answers it.

    Returns None where the object is gone, goes with its namespace or is another one. Raises other
    ApiErrors, which no waiting mends.
    """
    delay = FIRST_RETRY_SECONDS
    while True:
        try:
            return await request(*args, **options)
        except (NotFound, Conflict):
            return None
        except Forbidden as error:
            if _namespace_is_terminating(error):
                return None
            raise
        except (Unreachable, ServerError, TooManyRequests) as error:
            if delay == FIRST_RETRY_SECONDS:
                log.warning("A request failed; repeating it", extra={"error": str(error)})
            await asyncio.sleep(max(delay, error.retry_after_seconds or 0))
            delay = min(2 * delay, LAST_RETRY_SECONDS)


def _namespace_is_terminating(error: Forbidden) -> bool:
    """Return whether nothing is made there any more: a pod may be bound as its namespace ends."""
    causes = error.body.get("details", {}).get("causes", ())
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
