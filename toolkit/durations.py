"""Pure: durations as people write them, in Go's form."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

MAX_TEXT_LENGTH: Final = 64
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS_PER_UNIT: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in Go's form ("30s", "1m30s", "0"), never negative.

    Raises ValueError, with a sentence for the user, for any other form and for texts over 64
    characters.
    """
    if text == "0":
        return 0.0
    total, position = Fraction(0), 0
    while position < len(text) <= MAX_TEXT_LENGTH and (part := _PART.match(text, position)):
        total += Fraction(part[1]) * _SECONDS_PER_UNIT[part[2]]
        position = part.end()
    if not text or position < len(text):
        raise ValueError(f"{text!r} is not a duration such as 10s, 500ms or 1m30s")
    return float(total)


def parse_duration_within(text: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
    """Return the seconds of a duration from `lowest` to `highest` seconds, but never 0.

    Raises ValueError, with a sentence for the user.
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
