# SPDX-License-Identifier: Apache-2.0
"""Pure: durations in Go's format."""

from __future__ import annotations

import math
import re
from typing import Final

MAX_TEXT_LENGTH: Final = 64
_PART: Final = re.compile(r"(?=\.?[0-9])([0-9]*)\.?([0-9]*)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_SCALE: Final = 10**9 * 10**MAX_TEXT_LENGTH


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in Go's format ("30s", "1m30s", "0"), never negative.

    Raises ValueError, with a message for the user, for any other format and for more than 64
    characters.
    """
    if text == "0":
        return 0.0
    # Integers are exact, and the exporter need not import fractions.
    total: int = 0
    position = 0
    while position < len(text) <= MAX_TEXT_LENGTH and (part := _PART.match(text, position)):
        whole, decimals, unit = part.groups()
        total += (
            int(whole + decimals) * _NANOSECONDS[unit] * 10 ** (MAX_TEXT_LENGTH - len(decimals))
        )
        position = part.end()
    if not text or position < len(text):
        raise ValueError(f"{text!r} is not a duration such as 10s, 500ms or 1m30s")
    return total / _SCALE


def parse_duration_within(text: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
    """Return the seconds of a duration from `lowest` to `highest` seconds, but never 0.

    Raises ValueError, with a message for the user.
    """
    seconds = parse_duration(text)
    if seconds == 0 or not lowest <= seconds <= highest:
        beginning = f"from {_written(lowest)} to" if lowest else "above 0s and up to"
        allowed = f"{beginning} {_written(highest)}" if highest < math.inf else "above 0s"
        raise ValueError(f"{text!r} is not a duration {allowed}")
    return seconds


def _written(seconds: float) -> str:
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"
