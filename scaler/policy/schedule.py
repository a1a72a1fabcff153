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
from datetime import date, datetime, time, timedelta
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
_DAY_SECONDS = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_WEEKDAY_OF_ORDINAL_0 = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A policy with the range of an instant, and until when that range is valid (Unix seconds)."""

    policy: ScalingPolicy
    until_unix_seconds: float


def in_force(policy: ScalingPolicy, now_unix_seconds: float) -> InForce:
    """Return the policy with the minimum and maximum that its schedule sets at an instant."""
    if not policy.schedule:
        return InForce(policy=policy, until_unix_seconds=float("inf"))
    now, timeline = math.floor(now_unix_seconds), _Timeline(policy.schedule)
    current, following, until = timeline.change(now)
    change = None
    if following is not current:
        # Said in the time zone that its author thinks in.
        zone = (following or current or policy.schedule[0]).timezone
        least, most = _range(policy, following)
        change = ScheduledChange(
            at_unix_seconds=float(until),
            at=f"{datetime.fromtimestamp(until, _zone(zone)):%a %Y-%m-%d %H:%M} {zone}",
            entry=None if following is None else entry_text(following),
            min_replicas=least,
            max_replicas=most,
        )
    least, most = _range(policy, current)
    resolved = replace(
        policy,
        min_replicas=least,
        max_replicas=most,
        scheduled=ScheduledRange(
            entry=None if current is None else entry_text(current), change=change
        ),
    )
    return InForce(policy=resolved, until_unix_seconds=float(until))


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


class _Timeline:
    """When the entries of a schedule begin and end, worked out no further than it is looked for."""

    def __init__(self, entries: Sequence[ScheduleEntry]) -> None:
        # Of a stable sort the first of two equally wide ones.
        self._entries = sorted(entries, key=week_minutes)
        self._spans: list[tuple[int, int, int]] = []
        """Begin and end in Unix seconds, and the entry's place: the lowest one wins."""

    def change(self, now: int) -> tuple[ScheduleEntry | None, ScheduleEntry | None, int]:
        """Return the entry in force, the one that follows, and when, in Unix seconds.

        Without a change within `AHEAD_DAYS - 1` days both are the same, and the time is their end.
        """
        today, last = _EPOCH + now // _DAY_SECONDS, now + (AHEAD_DAYS - 1) * _DAY_SECONDS
        for day in range(today - BEHIND_DAYS, today + 1):
            self._add(day)
        current, at, place = None, now, None
        for day in range(today, today + AHEAD_DAYS):
            # What begins on a later day does so after today's end by UTC, in every time zone.
            self._add(day + 1)
            if day == today:
                place = self._place(now)
                current = None if place is None else self._entries[place]
            known_until = min(last, (day + 1 - _EPOCH) * _DAY_SECONDS)
            while (later := self._next(at, place)) is not None and later <= known_until:
                at = later
                following = self._place(at)
                if following != place:
                    return current, None if following is None else self._entries[following], at
        return current, current, last

    def _add(self, day: int) -> None:
        weekday = (day + _WEEKDAY_OF_ORDINAL_0) % len(DAYS)
        for place, entry in enumerate(self._entries):
            if weekday in entry.days:
                ends = day if entry.until_minute > entry.from_minute else day + 1
                begin = _instant(day, entry.from_minute, entry.timezone)
                end = _instant(ends, entry.until_minute, entry.timezone)
                if begin < end:
                    self._spans.append((begin, end, place))

    def _place(self, instant: int) -> int | None:
        return min(
            (place for begin, end, place in self._spans if begin <= instant < end), default=None
        )

    def _next(self, after: int, place: int | None) -> int | None:
        """Return when the entry in force ends, or a narrower one begins before that."""
        return min(
            (
                end if own == place else begin
                for begin, end, own in self._spans
                if (begin > after and (place is None or own < place))
                or (own == place and begin <= after < end)
            ),
            default=None,
        )


def _range(policy: ScalingPolicy, entry: ScheduleEntry | None) -> tuple[int, int]:
    if entry is None:
        return policy.min_replicas, policy.max_replicas
    return (
        policy.min_replicas if entry.min_replicas is None else entry.min_replicas,
        policy.max_replicas if entry.max_replicas is None else entry.max_replicas,
    )


def _instant(day: int, minute: int, zone: str) -> int:
    """Return the first instant at which the wall clock shows this time or a later one.

    `day` is the ordinal of a date.
    """
    if minute == DAY_MINUTES:
        day, minute = day + 1, 0
    offset = _offset(day, zone)
    if offset is not None:
        return (day - _EPOCH) * _DAY_SECONDS + minute * 60 - offset
    wall = datetime.combine(date.fromordinal(day), time(minute // 60, minute % 60))
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


# All schedules ask about the same days: there are 600 zones and 12 days.
@lru_cache(maxsize=8192)
def _offset(day: int, zone: str) -> int | None:
    """Return the seconds from UTC on a day, None if they change on it or at its midnights."""
    tz, begin = _zone(zone), datetime.combine(date.fromordinal(day), time())
    found = {
        (begin + timedelta(hours=hours)).replace(tzinfo=tz, fold=fold).utcoffset()
        for hours in (0, 12, 24)
        for fold in (0, 1)
    }
    offset = found.pop()
    if found or offset is None or offset.microseconds:
        return None
    return offset.days * _DAY_SECONDS + offset.seconds


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
