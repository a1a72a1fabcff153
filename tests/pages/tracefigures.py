# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench-traces` on docs/decision-quality.md, from the rows that it wrote."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Final

from benchmarks import modelserver
from benchmarks.publishedtraces import DAYS
from benchmarks.tracecase import CALM, CURVES_TARGET, PLACES
from benchmarks.traceplans import FOLLOWED_AVERAGES_SECONDS, FOLLOWED_HOLDS_SECONDS
from benchmarks.tracetable import (
    CHAIN_TARGETS,
    CURVE,
    HINDSIGHT,
    NO_LATE_PERCENT,
    PartyName,
    Row,
    bars,
    calm_bars,
    read_rows,
    within_hours,
)
from tests.pages.markdown import ROOT, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.tracetable import Bar


AT_SAME_TARGET: Final = (
    PartyName.CHAIN,
    PartyName.CHAIN_REQUESTS,
    PartyName.DUTY,
    PartyName.REQUESTS,
    PartyName.KNATIVE,
    PartyName.ORACLE,
)
CALM_PARTIES: Final = (PartyName.DUTY_CALM, PartyName.REQUESTS_CALM)


@cache
def _rows() -> tuple[Row, ...]:
    return tuple(read_rows(ROOT / CURVE))


def same_target() -> str:
    """Every party at the target whose curves are drawn: GPU hours, late work, changes."""
    at_target = [
        row
        for row in _rows()
        if row.party in AT_SAME_TARGET and row.target_percent in (0, CURVES_TARGET)
    ]
    cells: dict[str, dict[PartyName, str]] = {}
    for row in at_target:
        figures = f"{row.gpu_hours:.1f} h, {row.late_percent:.2f} %, {row.changes:.0f}"
        cells.setdefault(_case(row), {})[row.party] = figures
    rows = [(case, *(of_case[name] for name in AT_SAME_TARGET)) for case, of_case in cells.items()]
    return table(("trace, pod start", *AT_SAME_TARGET), rows)


def equal_hours() -> str:
    """The chain at each target beside ours at no more GPU hours."""
    rows = [
        (
            f"{_case(duty.chain)}, {duty.chain.target_percent} %",
            _hours_and_late(duty.chain),
            _ours(duty),
            _ours(requests),
        )
        for duty, requests in _pairs()
        if not _is_trivial(duty, requests)
    ]
    head = ("trace, pod start, chain's target", PartyName.CHAIN, PartyName.DUTY, PartyName.REQUESTS)
    return table(head, rows)


def none_late() -> str:
    """How many comparisons the table leaves out."""
    trivial = sum(_is_trivial(duty, requests) for duty, requests in _pairs())
    return f"{trivial} of {len(_pairs())}"


def bursts() -> str:
    """The chain where a bar is missed, beside what is possible and the settings for bursts."""
    found = calm_bars(_rows())
    rows = []
    for duty, requests in zip(found[::2], found[1::2], strict=True):
        chain = duty.chain
        fixed, followed = (within_hours(_rows(), chain, name) for name in HINDSIGHT)
        cells = [
            f"{_case(chain)}, {chain.target_percent} %",
            _hours_and_late(chain),
            "none" if fixed is None else f"{_hours_and_late(fixed)}, {fixed.highest} pods",
            "none" if followed is None else _hours_and_late(followed),
            _ours(duty),
            _ours(requests),
        ]
        rows.append(tuple(cells))
    head = ("trace, pod start, chain's target", PartyName.CHAIN, *HINDSIGHT, *CALM_PARTIES)
    return table(head, rows)


def calm_settings() -> str:
    """The annotations of the settings for bursts, of each metric."""
    by_duty, by_requests = CALM[PartyName.DUTY_CALM], CALM[PartyName.REQUESTS_CALM]
    return f"""\
```yaml
gpu-scaler/target-duty-cycle: "35"
gpu-scaler/window: "{by_duty.window_seconds}s"
```

```yaml
gpu-scaler/target-requests: "2"
gpu-scaler/window: "{by_requests.window_seconds}s"
gpu-scaler/behavior: |
  scaleUp:
    stabilizationWindowSeconds: {by_requests.up_seconds}
```
"""


def _hours_and_late(row: Row) -> str:
    return f"{row.gpu_hours:.1f} h, {row.late_percent:.2f} %"


def _pairs() -> list[tuple[Bar, Bar]]:
    found = bars(_rows())
    return list(zip(found[::2], found[1::2], strict=True))


def _is_trivial(*pair: Bar) -> bool:
    """Whether nobody is late, the chain included."""
    return all(bar.is_met and bar.chain.late_percent < NO_LATE_PERCENT for bar in pair)


def _ours(bar: Bar) -> str:
    if bar.ours is None:
        return f"**missed**: {bar.cheapest.gpu_hours:.1f} h at least"
    row = bar.ours
    mark = "" if bar.is_met else "**missed**: "
    return f"{mark}{row.gpu_hours:.1f} h, {row.late_percent:.2f} %, target {row.target_percent} %"


def _case(row: Row) -> str:
    return f"{row.trace}, {row.start_seconds} s"


def _met(party: PartyName) -> str:
    found = [bar for bar in (*bars(_rows()), *calm_bars(_rows())) if bar.party is party]
    return f"{sum(bar.is_met for bar in found)} of {len(found)}"


def _listed(words: Sequence[object]) -> str:
    *most, last = (str(word) for word in words)
    return f"{', '.join(most)} and {last}"


NUMBERS: Final[Mapping[str, str]] = {
    "trace-slots": f"{modelserver.SLOTS}",
    "trace-token-milliseconds": f"{1000 * modelserver.SECONDS_PER_TOKEN:g}",
    "trace-prefill-tokens": f"{modelserver.PREFILL_TOKENS_PER_SECOND:g}",
    "trace-request-seconds": f"{modelserver.FLUID_REQUEST_SECONDS:g}",
    "trace-highest-pods": f"{modelserver.FLUID_HIGHEST_PODS}",
    "trace-late-seconds": f"{modelserver.LATE_SECONDS:g}",
    "trace-targets": _listed(CHAIN_TARGETS),
    "trace-target": f"{CURVES_TARGET}",
    "trace-days": f"{DAYS}",
    "trace-places": f"{PLACES}",
    "trace-followed-averages": _listed(FOLLOWED_AVERAGES_SECONDS),
    "trace-followed-holds": _listed(FOLLOWED_HOLDS_SECONDS),
}


def _number(name: str) -> str:
    return NUMBERS[name]


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "trace-same-target": same_target,
    "trace-equal-hours": equal_hours,
    "trace-none-late": none_late,
    "trace-bursts": bursts,
    "trace-calm-settings": calm_settings,
    "trace-calm-duty-bars": lambda: _met(PartyName.DUTY_CALM),
    "trace-calm-requests-bars": lambda: _met(PartyName.REQUESTS_CALM),
    "trace-duty-bars": lambda: _met(PartyName.DUTY),
    "trace-requests-bars": lambda: _met(PartyName.REQUESTS),
    **{name: partial(_number, name) for name in NUMBERS},
}
