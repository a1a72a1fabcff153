"""Heeding `Retry-After`: what a busy server refused is not asked again before the time it gave.

One place for all requests, so that no caller has to know: a loop that asks again too early gets the
same error at once, and the server hears nothing of it. It goes by path: a webhook that refuses one
workload's scale costs that workload alone.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from scaler.kube.server_clock import http_date

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scaler.kube.errors import ApiError

MOST_SECONDS = 120.0
MOST_FOR_LEASES_SECONDS = 3.0
"""A leader that waited longer might lose its Lease: nothing would be scaled by anybody."""
MAX_PATHS = 10_000
BUSY = (429, 503)


def retry_after_seconds(
    header: str | None, status: Mapping[str, Any], *, now_unix_seconds: float
) -> float | None:
    """Return what a `Retry-After` or a `metav1.Status` asks for, None where neither does.

    `now_unix_seconds` is by the clock of who answered, as a date in the header is.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return float(text) if 0 <= float(text) < math.inf else None
    except ValueError:
        pass
    unix_seconds = http_date(text)
    if unix_seconds is not None:
        return max(0.0, unix_seconds - now_unix_seconds)
    details = status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    return None


class RetryAfter:
    """Remembers by path until when not to ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, ApiError]] = {}

    def note(self, path: str, error: ApiError) -> None:
        """Remember what an error asks for; one that asks for nothing is no matter."""
        if error.status not in BUSY or not error.retry_after_seconds:
            return
        if len(self._until) >= MAX_PATHS:
            now = self._clock()
            self._until = {key: one for key, one in self._until.items() if one[0] > now}
        if len(self._until) < MAX_PATHS:
            most = MOST_FOR_LEASES_SECONDS if "/leases/" in path else MOST_SECONDS
            seconds = min(error.retry_after_seconds, most)
            self._until[path] = (self._clock() + seconds, error)

    def check(self, request: str, path: str) -> None:
        """Raise what the server answered last while it is not to be asked again."""
        known = self._until.get(path)
        if known is None:
            return
        until, error = known
        left = until - self._clock()
        if left <= 0:
            del self._until[path]
            return
        raise type(error)(
            request=request,
            status=error.status,
            reason=error.reason,
            message=f"{error.message} (not sent again so soon)",
            body=error.body,
            retry_after_seconds=left,
            sent=False,
        )
