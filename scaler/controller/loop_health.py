"""Pure: whether loops begin, and a leader's end."""

from __future__ import annotations

UNENDED_SECONDS = 30.0
"""A leader whose loops have not ended for so long is not ready: they are stuck, or all fail."""
UNENDED_LOOPS = 3

SILENT_SECONDS = 60.0
"""A loop that has not begun for so long is stuck: /healthz fails and the kubelet restarts us."""


def no_loop_ended_because(
    now_seconds: float,
    *,
    leading_since_seconds: float | None,
    last_loop_seconds: float | None,
    interval_seconds: float,
    read_seconds: float,
) -> str | None:
    """Return what to say where no loop has ended for too long, None where all is well.

    Longer is allowed where loops are rare, or where their source may take its time
    (`read_seconds`). `leading_since_seconds` is None while another replica leads.
    """
    if leading_since_seconds is None:
        return None
    since = max(leading_since_seconds, last_loop_seconds or leading_since_seconds)
    silent = now_seconds - since
    if silent <= max(UNENDED_SECONDS, UNENDED_LOOPS * max(interval_seconds, read_seconds)):
        return None
    return f"no loop has ended for {silent:.0f} s: the log says why"


def no_loop_begun_because(
    now_seconds: float,
    *,
    last_tick_seconds: float | None,
    interval_seconds: float,
    read_seconds: float,
) -> str | None:
    """Return what to say where no loop has begun for too long, so that the process has to end.

    A loop that waits is not stuck, and neither is one that is not due yet.
    """
    silent = 0.0 if last_tick_seconds is None else now_seconds - last_tick_seconds
    if silent <= max(SILENT_SECONDS, UNENDED_LOOPS * max(interval_seconds, read_seconds)):
        return None
    return f"the loop has not begun for {silent:.0f} s"
