# SPDX-License-Identifier: Apache-2.0
"""Pure: parses `gpu-scaler/schedule` to its entries."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from scaler.budgets import SCHEDULE_ENTRIES
from scaler.model import ScheduleEntry
from scaler.policy.schedule import (
    DAY_MINUTES,
    DAYS,
    entry_text,
    is_timezone,
    overlap,
    week_minutes,
)
from scaler.policy.yaml_text import YamlError, read_yaml, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS = ("days", "from", "to", "timezone", "min", "max")
_MAX_INT32 = 2**31 - 1
_TIME = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
_TIMEZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}")


class _EntryError(ValueError):
    """A field of an entry is wrong; the message says which and what is allowed."""


# Deployments share a few texts.
@lru_cache(maxsize=1024)
def parse_schedule(text: str) -> tuple[ScheduleEntry, ...] | str:
    """Return the entries of a schedule, or what is wrong with it; never raises."""
    try:
        written = read_yaml(text)
    except YamlError as error:
        return str(error)
    if not isinstance(written, list) or not written:
        return f"is not a list of entries; an entry has the fields {', '.join(FIELDS)}"
    if len(written) > SCHEDULE_ENTRIES:
        return f"has {len(written)} entries; allowed are {SCHEDULE_ENTRIES}"
    entries = []
    for number, one in enumerate(written, 1):
        try:
            entries.append(_entry(one))
        except _EntryError as error:
            return f"entry {number}: {error}"
    for (first, one), (second, other) in combinations(enumerate(entries, 1), 2):
        if week_minutes(one) == week_minutes(other) and overlap(one, other):
            return (
                f"entries {first} ({entry_text(one)}) and {second} ({entry_text(other)}) may be in"
                " force at once and are equally long, so that neither is the narrower one; shorten"
                " one of them"
            )
    return tuple(entries)


def _entry(written: object) -> ScheduleEntry:
    if not isinstance(written, dict):
        raise _EntryError(f"{shown(written)} is not a mapping with the fields {', '.join(FIELDS)}")
    for name in written:
        if name not in FIELDS:
            raise _EntryError(f"{shown(name)} is not a field; allowed are {', '.join(FIELDS)}")
    begins, ends = _minute(written, "from", 0), _minute(written, "to", DAY_MINUTES)
    if begins == DAY_MINUTES:
        raise _EntryError('from: "24:00" begins nothing; allowed is 00:00 to 23:59')
    if begins == ends:
        raise _EntryError("from and to are the same; leave both out for whole days")
    least, most = _count(written, "min", 0), _count(written, "max", 1)
    if least is None and most is None:
        raise _EntryError("min or max is required")
    if least is not None and most is not None and least > most:
        raise _EntryError(f"min {least} is above max {most}")
    return ScheduleEntry(
        days=_days(written),
        from_minute=begins,
        until_minute=ends,
        timezone=_timezone(written),
        min_replicas=least,
        max_replicas=most,
    )


def _days(written: Mapping[str, Any]) -> tuple[int, ...]:
    given = written.get("days")
    if given is None:
        return tuple(range(len(DAYS)))
    found: set[int] = set()
    for text in given if isinstance(given, list) else [given]:
        first, dash, last = text.partition("-") if isinstance(text, str) else ("", "", "")
        if first not in DAYS or (dash and last not in DAYS):
            raise _EntryError(
                f"days: {shown(text)} is not a day; allowed are {', '.join(DAYS)}, ranges such as"
                " Mon-Fri, and lists of both"
            )
        begin = DAYS.index(first)
        length = (DAYS.index(last) - begin) % len(DAYS) if dash else 0
        found |= {(begin + day) % len(DAYS) for day in range(length + 1)}
    if not found:
        raise _EntryError("days: the list is empty; leave it out for all days")
    return tuple(sorted(found))


def _minute(written: Mapping[str, Any], name: str, default: int) -> int:
    given = written.get(name)
    if given is None:
        return default
    match = _TIME.fullmatch(given) if isinstance(given, str) else None
    minute = DAY_MINUTES + 1 if match is None else int(match[1]) * 60 + int(match[2])
    if minute > DAY_MINUTES:
        raise _EntryError(f"{name}: {shown(given)} is not a time; allowed is HH:MM up to 24:00")
    return minute


def _timezone(written: Mapping[str, Any]) -> str:
    given = written.get("timezone")
    if given is None:
        raise _EntryError("timezone is required, such as Europe/Berlin or UTC")
    if not isinstance(given, str) or not _TIMEZONE.fullmatch(given) or not is_timezone(given):
        raise _EntryError(
            f"timezone: {shown(given)} is not a name of the IANA time zones, such as Europe/Berlin"
            " or UTC"
        )
    return given


def _count(written: Mapping[str, Any], name: str, lowest: int) -> int | None:
    given = written.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not lowest <= given <= _MAX_INT32:
        raise _EntryError(
            f"{name}: {shown(given)} is not a whole number from {lowest} to {_MAX_INT32}"
        )
    return given
