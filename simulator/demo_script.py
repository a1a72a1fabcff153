"""Pure: the demo's story as a list of chapters, each with the sight that ends it, and its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.scenario import NAME_PRESS, TARGET_PERCENT

if TYPE_CHECKING:
    from collections.abc import Callable

PODS_FOR_MORE_LOAD: Final = 6
STORY_DEADLINE_SECONDS: Final = 600.0
"""It takes under a minute on a quiet machine."""

_COLUMNS: Final = (
    f"{'TIME':>5}  {'REQ/S':>6}  {'DUTY/TARGET':>11}  {'READY/WANTED':<24}  SCALER SAYS"
)
_BAR_CELLS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at the cluster showed; `duty_cycle_percent` is the mean the scaler used."""

    at_seconds: float
    requests_per_second: float
    duty_cycle_percent: float | None
    ready_replicas: int
    wanted_replicas: int
    desired_replicas: int | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One part of the story: how many press pods there are, and the sight that must come of it."""

    title: str
    press_replicas: int
    expectation: str
    reached: Callable[[Sight], bool]
    deadline_seconds: float


def _settled(sight: Sight) -> bool:
    return sight.ready_replicas == sight.wanted_replicas == sight.desired_replicas


def _idle(sight: Sight) -> bool:
    return sight.duty_cycle_percent == 0 and sight.wanted_replicas == 1 and _settled(sight)


CHAPTERS: Final = (
    Chapter(
        title="One serving pod, no load",
        press_replicas=0,
        expectation=f"idle at 0/{TARGET_PERCENT} with 1 replica",
        reached=_idle,
        deadline_seconds=180,
    ),
    Chapter(
        title=f"{NAME_PRESS} starts with one pod",
        press_replicas=1,
        expectation=f"duty cycle passes {TARGET_PERCENT}",
        reached=lambda sight: (sight.duty_cycle_percent or 0) > 1.5 * TARGET_PERCENT,
        deadline_seconds=180,
    ),
    Chapter(
        title=f"The scaler adds pods until duty cycle is below {TARGET_PERCENT} again",
        press_replicas=1,
        expectation=f"more than 1 replica, all ready, duty cycle at {TARGET_PERCENT} or less",
        reached=lambda sight: (
            sight.wanted_replicas > 1
            and _settled(sight)
            and 0 < (sight.duty_cycle_percent or 0) <= TARGET_PERCENT
        ),
        deadline_seconds=180,
    ),
    Chapter(
        title=f"{NAME_PRESS} grows to five pods: the serving pods saturate",
        press_replicas=5,
        expectation=f"at least {PODS_FOR_MORE_LOAD} replicas, duty cycle within 10 % of the target",
        reached=lambda sight: (
            sight.wanted_replicas >= PODS_FOR_MORE_LOAD
            and _settled(sight)
            and 0 < (sight.duty_cycle_percent or 0) <= 1.1 * TARGET_PERCENT
        ),
        deadline_seconds=180,
    ),
    Chapter(
        title=f"{NAME_PRESS} is scaled to 0",
        press_replicas=0,
        expectation=f"back to 0/{TARGET_PERCENT} and 1 replica",
        reached=_idle,
        deadline_seconds=180,
    ),
)


def header() -> str:
    """Return the table's head."""
    return _COLUMNS


def row(sight: Sight, *, width: int | None, blocks: bool) -> str:
    """Return one line of the table, cut to `width` columns where a terminal has so many."""
    duty = sight.duty_cycle_percent
    value = "?" if duty is None else f"{duty:.0f}"
    full, empty = ("■", "□") if blocks else ("#", "-")
    ready = min(sight.ready_replicas, sight.wanted_replicas)
    bar = (full * ready + empty * (sight.wanted_replicas - ready))[:_BAR_CELLS]
    counts = f"{sight.ready_replicas}/{sight.wanted_replicas}"
    line = (
        f"{sight.at_seconds:>4.0f}s  {sight.requests_per_second:>6.0f}"
        f"  {f'{value}/{TARGET_PERCENT}':>11}  {f'{counts:<7}{bar}':<24}"
        f"  {sight.reason}: {sight.message}"
    )
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def same_line(one: Sight | None, other: Sight) -> bool:
    """Whether a second line would say nothing new."""
    return one is not None and (
        one.requests_per_second,
        one.duty_cycle_percent,
        one.ready_replicas,
        one.wanted_replicas,
        one.reason,
    ) == (
        other.requests_per_second,
        other.duty_cycle_percent,
        other.ready_replicas,
        other.wanted_replicas,
        other.reason,
    )
