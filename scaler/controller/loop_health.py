# SPDX-License-Identifier: Apache-2.0
"""Pure: whether loops start, and whether those of a leader finish."""

from __future__ import annotations

UNENDED_SECONDS = 30.0
"""A leader without a finished loop for so long is not ready: loops are stuck, or all fail."""
UNENDED_LOOPS = 3

SILENT_SECONDS = 60.0
"""Without a new loop for so long, /healthz fails and the kubelet restarts the container."""


def no_loop_ended_because(
    now_seconds: float,
    *,
    leading_since_seconds: float | None,
    last_loop_seconds: float | None,
    interval_seconds: float,
    read_seconds: float,
) -> str | None:
    """Return the problem if no loop has finished for too long, else None.

    The limit is longer with a long interval or a slow source (`read_seconds`).
    `leading_since_seconds` is None while another replica leads.
    """
    if leading_since_seconds is None:
        return None
    since = max(leading_since_seconds, last_loop_seconds or leading_since_seconds)
    silent = now_seconds - since
    if silent <= max(UNENDED_SECONDS, UNENDED_LOOPS * max(interval_seconds, read_seconds)):
        return None
    return f"no loop has finished for {silent:.0f} s; see the log"


def no_loop_begun_because(
    now_seconds: float,
    *,
    last_tick_seconds: float | None,
    interval_seconds: float,
    read_seconds: float,
) -> str | None:
    """Return the problem if no loop has started for too long and the process must end, else None.

    A loop that waits for answers is not stuck, nor is one that is not due yet.
    """
    silent = 0.0 if last_tick_seconds is None else now_seconds - last_tick_seconds
    if silent <= max(SILENT_SECONDS, UNENDED_LOOPS * max(interval_seconds, read_seconds)):
        return None
    return f"no loop has started for {silent:.0f} s"
