# SPDX-License-Identifier: Apache-2.0
"""Pure: flags of the commands that read the past."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scaler.replay.prices import NO_PRICES, Prices, parse_prices
from toolkit.durations import parse_duration_within

if TYPE_CHECKING:
    from toolkit.cli.flags import Flags, Values

OUTPUTS = ("table", "wide", "json", "csv")
PLOTS = (".svg", ".html")
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


def add_price_argument(flags: Flags) -> None:
    """Add the flag for what GPUs cost."""
    flags.repeated(
        "price",
        "[MODEL=]PRICE",
        "price of one GPU hour, such as H100=2.5; without MODEL for all other models",
    )


def parse_price(values: Values) -> Prices:
    """Return the prices, none if the flag is wrong."""
    try:
        return parse_prices(values.repeated("price"))
    except ValueError as error:
        values.problem("price", str(error))
        return NO_PRICES


def parse_step(values: Values, *, since_seconds: float, highest_seconds: float) -> float | None:
    """Return the length of a step, None if the flag is not set."""
    if values.optional("step") is None:
        return None
    step = values.seconds("step", lowest=1, highest=highest_seconds)
    if step > since_seconds:
        values.problem("step", "must not exceed --since")
    return step


def parse_plot(values: Values) -> str | None:
    """Return the name of the picture's file, None if the flag is not set."""
    plot = values.optional("plot")
    if plot is not None and not plot.endswith(PLOTS):
        values.problem("plot", f"{plot!r} ends in neither {' nor '.join(PLOTS)}")
    return plot
