# SPDX-License-Identifier: Apache-2.0
"""Pure: flags of the commands that read the past."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from toolkit.durations import parse_duration_within

if TYPE_CHECKING:
    from toolkit.cli.flags import Flags, Values

LONGEST_SECONDS = 366 * 86400.0
_DAYS = re.compile(r"([0-9]{1,4})d")


def add_since_argument(flags: Flags) -> None:
    """Add the flag for how far to look back."""
    flags.text("since", "DURATION", "7d", "how far to look back, such as 7d or 12h")


def parse_since(values: Values) -> float:
    """Return the seconds to look back, 1 day if the flag is wrong."""
    text = values.text("since")
    days = _DAYS.match(text)
    try:
        rest = text[days.end() :] if days else text
        seconds = 86400.0 * int(days[1]) if days else 0.0
        if rest:
            seconds += parse_duration_within(rest)
        if 0 < seconds <= LONGEST_SECONDS:
            return seconds
    except ValueError:
        pass
    values.problem("since", f"{text!r} is not a duration up to 366d, such as 7d or 12h")
    return 86400.0
