# SPDX-License-Identifier: Apache-2.0
"""Pure: how much of a recording's demand is known, and how much of it only from below."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaler.replay.model import Recording


def known_share(recording: Recording) -> float:
    """Return the share of the steps with a demand, from 0 to 1."""
    steps = len(recording.demand_milli)
    return (steps - recording.demand_milli.count(None)) / steps if steps else 0.0


def floor_share(recording: Recording) -> float | None:
    """Return the share of the known demand that is only a lower bound, None without any."""
    known = [
        is_floor
        for is_floor, demand in zip(recording.floor, recording.demand_milli, strict=True)
        if demand is not None
    ]
    return sum(known) / len(known) if known else None
