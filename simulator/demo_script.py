# SPDX-License-Identifier: Apache-2.0
"""Pure: the demo's story as a list of chapters, each with the sight that ends it, and its table."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from simulator.scenario import (
    MAX_REPLICAS,
    NAME_PRESS,
    NAME_SERVING,
    TARGET_PERCENT,
    press_deployment,
    serving_deployment,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PODS_FOR_MORE_LOAD: Final = 6
CHAPTER_DEADLINE_SECONDS: Final = 180.0
STORY_DEADLINE_SECONDS: Final = 600.0
"""It takes under a minute on a quiet machine."""

_COUNTS: Final = f"{'READY/WANTED':<24}  SCALER SAYS"
_BAR_CELLS: Final = 16
_TOLD: Final = attrgetter("load", "value", "ready_replicas", "wanted_replicas", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at the cluster showed.

    `load` is what the press offers, `value` the mean that the scaler used, and `busy_percent` the
    mean duty cycle of the serving pods as it was set.
    """

    at_seconds: float
    load: float
    value: float | None
    busy_percent: float = 0.0
    ready_replicas: int
    wanted_replicas: int
    desired_replicas: int | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One part of the story: how many press pods there are, and the sight that must come of it.

    It ends when that sight has lasted for `lasting_seconds`.
    """

    title: str
    press_replicas: int
    expectation: str
    reached: Callable[[Sight], bool]
    lasting_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is told: of which Deployments, in which chapters, and in which columns.

    `columns` is the head of what `values` returns of a sight. The scaler keeps the value at
    `target`.
    """

    serving: dict[str, Any]
    press: dict[str, Any]
    target: float
    introduction: str
    chapters: tuple[Chapter, ...]
    columns: str
    values: Callable[[Sight], str]

    @property
    def name_serving(self) -> str:
        """The name of the Deployment that is scaled."""
        return str(self.serving["metadata"]["name"])

    @property
    def name_press(self) -> str:
        """The name of the Deployment that makes the load."""
        return str(self.press["metadata"]["name"])

    def header(self) -> str:
        """Return the table's head."""
        return f"{'TIME':>5}  {self.columns}  {_COUNTS}"


def is_settled(sight: Sight) -> bool:
    """Whether all wanted replicas are ready and the scaler wants no others."""
    return sight.ready_replicas == sight.wanted_replicas == sight.desired_replicas


def _idle(sight: Sight) -> bool:
    return sight.value == 0 and sight.wanted_replicas == 1 and is_settled(sight)


CHAPTERS: Final = (
    Chapter(
        title="One serving pod, no load",
        press_replicas=0,
        expectation=f"idle at 0/{TARGET_PERCENT} with 1 replica",
        reached=_idle,
    ),
    Chapter(
        title=f"{NAME_PRESS} starts with one pod",
        press_replicas=1,
        expectation=f"duty cycle passes {TARGET_PERCENT}",
        reached=lambda sight: (sight.value or 0) > 1.5 * TARGET_PERCENT,
    ),
    Chapter(
        title=f"The scaler adds pods until duty cycle is below {TARGET_PERCENT} again",
        press_replicas=1,
        expectation=f"more than 1 replica, all ready, duty cycle at {TARGET_PERCENT} or less",
        reached=lambda sight: (
            sight.wanted_replicas > 1
            and is_settled(sight)
            and 0 < (sight.value or 0) <= TARGET_PERCENT
        ),
    ),
    Chapter(
        title=f"{NAME_PRESS} grows to five pods: the serving pods saturate",
        press_replicas=5,
        expectation=f"at least {PODS_FOR_MORE_LOAD} replicas, duty cycle within 10 % of the target",
        reached=lambda sight: (
            sight.wanted_replicas >= PODS_FOR_MORE_LOAD
            and is_settled(sight)
            and 0 < (sight.value or 0) <= 1.1 * TARGET_PERCENT
        ),
    ),
    Chapter(
        title=f"{NAME_PRESS} is scaled to 0",
        press_replicas=0,
        expectation=f"back to 0/{TARGET_PERCENT} and 1 replica",
        reached=_idle,
    ),
)


def _values(sight: Sight) -> str:
    value = "?" if sight.value is None else f"{sight.value:.0f}"
    return f"{sight.load:>6.0f}  {f'{value}/{TARGET_PERCENT}':>11}"


GPU_STORY: Final = Story(
    serving=serving_deployment(),
    press=press_deployment(),
    target=TARGET_PERCENT,
    introduction=(
        f"{NAME_SERVING}: 1 GPU per pod, 1 replica,\n"
        f"target duty cycle {TARGET_PERCENT}, at most {MAX_REPLICAS} replicas"
    ),
    chapters=CHAPTERS,
    columns=f"{'REQ/S':>6}  {'DUTY/TARGET':>11}",
    values=_values,
)


def row(sight: Sight, *, width: int | None, blocks: bool, story: Story = GPU_STORY) -> str:
    """Return one line of the table, cut to `width` columns where a terminal has so many."""
    full, empty = ("■", "□") if blocks else ("#", "-")
    ready = min(sight.ready_replicas, sight.wanted_replicas)
    bar = (full * ready + empty * (sight.wanted_replicas - ready))[:_BAR_CELLS]
    counts = f"{sight.ready_replicas}/{sight.wanted_replicas}"
    line = (
        f"{sight.at_seconds:>4.0f}s  {story.values(sight)}  {f'{counts:<7}{bar}':<24}"
        f"  {sight.reason}: {sight.message}"
    )
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def same_line(one: Sight | None, other: Sight) -> bool:
    """Whether a second line would say nothing new."""
    return one is not None and _TOLD(one) == _TOLD(other)
