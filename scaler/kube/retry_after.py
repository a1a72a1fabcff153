# SPDX-License-Identifier: Apache-2.0
"""Obeys `Retry-After`: a refused request is not sent again before that time.

It covers all requests, so callers need not care: an early retry gets the same error without a
request. It works by path, so that a webhook that refuses one workload's scale affects only that
workload.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from scaler.kube.server_clock import http_date

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from scaler.kube.errors import ApiError

MOST_SECONDS = 120.0
MOST_FOR_LEASES_SECONDS = 3.0
"""A leader that waited longer could lose its Lease, and no replica would scale."""
LEASES = "/apis/coordination.k8s.io/"
MAX_PATHS = 10_000
BUSY = (429, 503)


def retry_after_seconds(
    header: str | None, status: Mapping[str, Any], *, now_unix_seconds: float
) -> float | None:
    """Return the delay of a `Retry-After` header or a `metav1.Status`, None without one.

    `now_unix_seconds` is by the server's clock, as is a date in the header.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    unix_seconds = http_date(text)
    if unix_seconds is not None:
        return max(0.0, unix_seconds - now_unix_seconds)
    details = status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    return None


class RetryAfter:
    """Remembers by path until when not to send requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, partial[ApiError]]] = {}

    def note(self, path: str, error: ApiError) -> None:
        """Remember the delay of an error, if it has one."""
        if error.status not in BUSY or not error.retry_after_seconds:
            return
        if len(self._until) >= MAX_PATHS:
            now = self._clock()
            self._until = {key: one for key, one in self._until.items() if one[0] > now}
        if len(self._until) < MAX_PATHS:
            most = MOST_FOR_LEASES_SECONDS if path.startswith(LEASES) else MOST_SECONDS
            seconds = min(error.retry_after_seconds, most)
            # Without its traceback and its body, of which there may be very many.
            again = partial(
                type(error),
                status=error.status,
                reason=error.reason,
                message=f"{error.message} (not sent, still waiting)",
                sent=False,
            )
            self._until[path] = (self._clock() + seconds, again)

    def check(self, request: str, path: str) -> None:
        """Raise the server's last error again until its delay is over."""
        known = self._until.get(path)
        if known is None:
            return
        until, again = known
        left = until - self._clock()
        if left <= 0:
            del self._until[path]
            return
        raise again(request=request, retry_after_seconds=left)
