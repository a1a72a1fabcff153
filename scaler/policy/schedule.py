# SPDX-License-Identifier: Apache-2.0
"""Pure: which entry of a schedule is in force at an instant, and when that changes.

A time of day on a date is one instant: the first at which the zone's wall clock shows that time or
a later one. So a time that a change to summer time skips is that of the change, and of a time that
a change back repeats the first counts. What ends at a time and what begins at it neither overlap
nor leave a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from scaler.model import ScheduledChange, ScheduledRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaler.model import ScalingPolicy, ScheduleEntry

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
MAX_ZONE_DIFFERENCE_MINUTES = 27 * 60
"""More than two clocks on Earth differ."""
AHEAD_DAYS = 9
"""How far the next change is looked for: every entry begins once a week."""
BEHIND_DAYS = 2
_ONE_DAY = timedelta(days=1)
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A policy with the range of an instant, and until when that range is valid (Unix seconds)."""

    policy: ScalingPolicy
    until_unix_seconds: float


def in_force(policy: ScalingPolicy, now_unix_seconds: float) -> InForce:
    """Return the policy with the minimum and maximum that its schedule sets at an instant."""
    if not policy.schedule:
        return InForce(policy=policy, until_unix_seconds=float("inf"))
    now, entries = math.floor(now_unix_seconds), policy.schedule
    today = datetime.fromtimestamp(now, UTC).date()
    spans = [
        (begins, ends, number)
        for number, entry in enumerate(entries)
        for begins, ends in _spans(entry, today)
    ]
    current = _narrowest(entries, spans, now)
    until = float(now + (AHEAD_DAYS - 1) * _DAY_SECONDS)
    change = None
    for instant in sorted({at for begins, ends, _ in spans for at in (begins, ends) if at > now}):
        if instant > until:
            break
        following = _narrowest(entries, spans, instant)
        if following != current:
            until = float(instant)
            # Said in the time zone that its author thinks in.
            zone = (following or current or entries[0]).timezone
            least, most = _range(policy, following)
            change = ScheduledChange(
                at_unix_seconds=until,
                at=f"{datetime.fromtimestamp(instant, _zone(zone)):%a %Y-%m-%d %H:%M} {zone}",
                entry=None if following is None else entry_text(following),
                min_replicas=least,
                max_replicas=most,
            )
            break
    least, most = _range(policy, current)
    resolved = replace(
        policy,
        min_replicas=least,
        max_replicas=most,
        scheduled=ScheduledRange(
            entry=None if current is None else entry_text(current), change=change
        ),
    )
    return InForce(policy=resolved, until_unix_seconds=until)


def entry_text(entry: ScheduleEntry) -> str:
    """Return when an entry is in force: Mon-Fri 08:00-18:00 Europe/Berlin."""
    days = ", ".join(_runs(entry.days))
    if entry.until_minute - entry.from_minute == DAY_MINUTES:
        return f"{days} {entry.timezone}"
    return f"{days} {_clock(entry.from_minute)}-{_clock(entry.until_minute)} {entry.timezone}"


def week_minutes(entry: ScheduleEntry) -> int:
    """Return for how many minutes of a week an entry is in force: the narrowest one wins."""
    return len(entry.days) * _length(entry)


def overlap(one: ScheduleEntry, other: ScheduleEntry) -> bool:
    """Return whether two entries may be in force at once; true in doubt if time zones differ."""
    slack = 0 if one.timezone == other.timezone else MAX_ZONE_DIFFERENCE_MINUTES
    return any(
        (second - first) % WEEK_MINUTES < _length(one) + slack
        or (first - second) % WEEK_MINUTES < _length(other) + slack
        for first in _begins(one)
        for second in _begins(other)
    )


def is_timezone(name: str) -> bool:
    """Return whether there is an IANA time zone of this name."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _narrowest(
    entries: Sequence[ScheduleEntry], spans: Sequence[tuple[int, int, int]], instant: int
) -> ScheduleEntry | None:
    active = {number for begins, ends, number in spans if begins <= instant < ends}
    if not active:
        return None
    return entries[min(active, key=lambda number: (week_minutes(entries[number]), number))]


def _range(policy: ScalingPolicy, entry: ScheduleEntry | None) -> tuple[int, int]:
    if entry is None:
        return policy.min_replicas, policy.max_replicas
    return (
        policy.min_replicas if entry.min_replicas is None else entry.min_replicas,
        policy.max_replicas if entry.max_replicas is None else entry.max_replicas,
    )


# Deployments share entries, and all of them may change at once.
@lru_cache(maxsize=4096)
def _spans(entry: ScheduleEntry, today: date) -> tuple[tuple[int, int], ...]:
    """Return when the entry is in force around a day, in Unix seconds."""
    found = []
    for ahead in range(-BEHIND_DAYS, AHEAD_DAYS + 1):
        day = today + timedelta(days=ahead)
        if day.weekday() in entry.days:
            ends = day if entry.until_minute > entry.from_minute else day + _ONE_DAY
            begin = _instant(day, entry.from_minute, entry.timezone)
            end = _instant(ends, entry.until_minute, entry.timezone)
            if begin < end:
                found.append((begin, end))
    return tuple(found)


def _instant(day: date, minute: int, zone: str) -> int:
    """Return the first instant at which the wall clock shows this time or a later one."""
    if minute == DAY_MINUTES:
        day, minute = day + _ONE_DAY, 0
    wall = datetime.combine(day, time(minute // 60, minute % 60))
    tz = _zone(zone)
    first = round(wall.replace(tzinfo=tz).timestamp())
    if _wall(first, tz) == wall:
        return first
    # It is skipped. The change is between what the offsets before and after it make of the time.
    before, after = round(wall.replace(tzinfo=tz, fold=1).timestamp()), first
    while after - before > 1:
        middle = (before + after) // 2
        if _wall(middle, tz) < wall:
            before = middle
        else:
            after = middle
    return after


def _wall(instant: int, tz: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(instant, tz).replace(tzinfo=None, fold=0)


# There are 600 of them.
@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _length(entry: ScheduleEntry) -> int:
    return (entry.until_minute - entry.from_minute) % DAY_MINUTES or DAY_MINUTES


def _begins(entry: ScheduleEntry) -> list[int]:
    return [day * DAY_MINUTES + entry.from_minute for day in entry.days]


def _runs(days: Sequence[int]) -> Iterator[str]:
    """Yield days that follow each other as one range."""
    begin = previous = None
    for day in (*days, None):
        if previous is not None and day == previous + 1:
            previous = day
            continue
        if begin is not None and previous is not None:
            yield DAYS[begin] if begin == previous else f"{DAYS[begin]}-{DAYS[previous]}"
        begin = previous = day


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
