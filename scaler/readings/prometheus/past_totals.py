# SPDX-License-Identifier: Apache-2.0
"""Pure: the values of a Deployment's own query over a part of the time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scaler.budgets import shown
from scaler.readings.prometheus.response import PromqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.readings.prometheus.range_chunks import PastRow


def read_totals(rows: Sequence[PastRow]) -> list[tuple[float, float]]:
    """Return times and values; values that are not finite are left out.

    Series that follow each other are one, as after a restart that changed a label.

    Raises:
        PromqlError: there are several series at one time, or a value is no number.
    """
    found: dict[float, float] = {}
    for row in rows:
        for time, text in row.points:
            if time in found:
                raise PromqlError(
                    f"the result has {len(rows)} series but must have exactly one: aggregate them,"
                    " for example with sum(...)"
                )
            try:
                found[time] = float(text)
            except ValueError as error:
                raise PromqlError(f"the result is not a number: {shown(text)}") from error
    return sorted((time, value) for time, value in found.items() if math.isfinite(value))
