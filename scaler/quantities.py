# SPDX-License-Identifier: Apache-2.0
"""Pure: numbers for people: Kubernetes quantities, ages, metric values."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, assert_never

from scaler.model import Metric

if TYPE_CHECKING:
    from decimal import Decimal

MAX_TEXT_LENGTH = 64

# Not the parser of the kubernetes package: importing it loads the whole client (45 MB), and it
# accepts "NaN", "1_0" and "1K", which the API server rejects.
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i))?"
)
_SUFFIXES: dict[str, Fraction] = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", start=1)},
}

_MAX_ROUNDING = Fraction(1, 10**9)


def parse_quantity(text: str) -> Fraction:
    """Return the exact value of a Kubernetes quantity ("20Gi", "500M", "1e9", "1500m").

    Raises ValueError for anything that the API server would reject and for more than 64
    characters. Source: the grammar in apimachinery's `resource.Quantity`.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= MAX_TEXT_LENGTH else None
    if match is None:
        raise ValueError("not a quantity")
    number, exponent, suffix = match.groups()
    return Fraction(number + (exponent or "")) * _SUFFIXES[suffix or ""]


def milli(value: Fraction | Decimal) -> int:
    """Return the value in milli units, rounded up as `Quantity.MilliValue` does.

    The result exceeds a whole number of milli units exactly if the value does.
    """
    return math.ceil(value * 1000)


def is_milli(value: Fraction) -> bool:
    """Whether milli units represent the value to within a billionth of it."""
    return milli(value) - value * 1000 <= abs(value * 1000) * _MAX_ROUNDING


def measured_milli(value: float) -> int:
    """Return a measured value in milli units: 64.1 is 64100; values above 0 stay above 0."""
    # 64.1 * 1000 is 64099.99999999999, and 1.1 * 1000 is 1100.0000000000002.
    thousandfold = value * 1000
    nearest = round(thousandfold)
    return (
        nearest if math.isclose(thousandfold, nearest, rel_tol=1e-12) else math.ceil(thousandfold)
    )


def format_replicas(count: int) -> str:
    """Return a replica count with its noun: 1 replica, 2 replicas."""
    return f"{count} replica" if count == 1 else f"{count} replicas"


def format_duration(seconds: float) -> str:
    """Return whole seconds in the format of kubectl's ages: 45s, 1m30s, 2h5m, 3d."""
    total = max(0, int(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s" if total < 90 else f"{minutes}m{total % 60}s"
    if minutes < 60:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if hours < 48:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d"


def format_age(seconds: float) -> str:
    """Return an age as kubectl shows it: 42s, 3m5s, 45m, 7h30m, 30h, 3d4h, 40d, 2y10d.

    As of HumanDuration in k8s.io/apimachinery/pkg/util/duration.
    """
    total = max(0, int(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    years = days // 365
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if years < 2:
        return f"{days}d"
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"


def format_share(share: float) -> str:
    """Return a share of 1 in percent: 0 %, <0.01 %, 0.25 %, 12.5 %, >99.9 %, 100 %."""
    percent = share * 100
    if 0 < percent < 0.01:
        return "<0.01 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    # Limits such as 1 % are compared with small shares.
    digits = 2 if percent < 1 else 1
    return f"{percent:.{digits}f}".rstrip("0").removesuffix(".") + " %"


def format_value(metric: Metric, value_milli: int) -> str:
    """Return a metric's value with its unit: 63, 12.5Gi, 250W."""
    match metric:
        case Metric.MEMORY_USED_BYTES:
            return _with_prefix(value_milli / 1000, 1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
        case Metric.POWER_USAGE_MILLIWATTS:
            return _with_prefix(value_milli / 1_000_000, 1000, ("W", "kW", "MW"))
        case (
            Metric.DUTY_CYCLE
            | Metric.MEMORY_USED_PERCENT
            | Metric.TEMPERATURE_CELSIUS
            | Metric.QUERY
            | Metric.REQUESTS
            | Metric.REQUESTS_WAITING
            | Metric.KV_CACHE_PERCENT
            | Metric.POD_METRIC
            | Metric.QUEUE
        ):
            return _short(value_milli / 1000)
        case _:
            assert_never(metric)


def value_and_target(metric: Metric, value_milli: int, target_milli: int | None) -> str:
    """Return `63/40`, or `63` if there is no target."""
    value = format_value(metric, value_milli)
    return value if target_milli is None else f"{value}/{format_value(metric, target_milli)}"


def _with_prefix(value: float, base: int, units: tuple[str, ...]) -> str:
    index = 0
    while abs(value) >= base and index < len(units) - 1:
        value /= base
        index += 1
    return f"{_short(value)}{units[index]}"


def _short(value: float) -> str:
    if 0 < abs(value) < 1:
        # One decimal would round it to 0, or to another value than the configured one.
        return f"{value:.3f}".rstrip("0").removesuffix(".")
    text = f"{value:.1f}"
    return text.removesuffix(".0")
