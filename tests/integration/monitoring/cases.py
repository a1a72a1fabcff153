# SPDX-License-Identifier: Apache-2.0
"""What a case of an alert is.

Series are in promtool's notation, a value a minute: `0x4` is 0 and four more of it, `_` is nothing,
`stale` ends a series.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One set of series; the alert is quiet at the minutes of `quiet` and fires at that of `fires`.

    `labels` and `description` are what it then has, severity aside.
    """

    alert: str
    what: str
    series: Mapping[str, str]
    quiet: tuple[int, ...] = ()
    fires: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
