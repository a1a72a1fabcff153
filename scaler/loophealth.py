"""Pure: whether a leader's loops end."""

from __future__ import annotations

UNENDED_SECONDS = 30.0
"""A leader whose loops have not ended for so long is not ready: they are stuck, or all fail."""
UNENDED_LOOPS = 3


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
