# SPDX-License-Identifier: Apache-2.0
"""Times of day: which range is in force, in every zone and on the days of change."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import ScalingPolicy, ScheduledRange, ScheduleEntry
from scaler.policy.parse import parse_policy
from scaler.policy.schedule import (
    DAY_MINUTES,
    entry_text,
    in_force,
    overlap,
    week_minutes,
)

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
APIA = "Pacific/Apia"
SAO_PAULO = "America/Sao_Paulo"  # Its summer began at midnight until 2018.
ALL_DAYS = tuple(range(7))


def annotated(schedule: str, **more: str) -> dict[str, str]:
    return {
        "gpu-scaler/enabled": "true",
        "gpu-scaler/max-replicas": "10",
        "gpu-scaler/target-duty-cycle": "40",
        "gpu-scaler/schedule": schedule,
    } | {f"gpu-scaler/{name.replace('_', '-')}": value for name, value in more.items()}


def policy(*entries: ScheduleEntry) -> ScalingPolicy:
    found = parse_policy(annotated("[{timezone: UTC, min: 1}]"), query_supported=True)
    assert isinstance(found, ScalingPolicy)
    return replace(found, schedule=entries)


def entry(
    begins: str = "00:00",
    ends: str = "24:00",
    *,
    zone: str = BERLIN,
    days: tuple[int, ...] = ALL_DAYS,
    least: int = 5,
) -> ScheduleEntry:
    def minute(text: str) -> int:
        return int(text[:2]) * 60 + int(text[3:])

    return ScheduleEntry(
        days=days,
        from_minute=minute(begins),
        until_minute=minute(ends),
        timezone=zone,
        min_replicas=least,
    )


def least_at(given: ScalingPolicy, instant: datetime) -> int:
    return in_force(given, instant.timestamp()).policy.min_replicas


def scheduled(given: ScalingPolicy, now: float) -> ScheduledRange:
    found = in_force(given, now).policy.scheduled
    assert found is not None
    return found


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


OFFICE = entry("08:00", "18:00", days=(0, 1, 2, 3, 4))
NIGHT = entry("22:00", "06:00", days=(4,))


@pytest.mark.parametrize(
    ("of", "begins", "ends"),
    [
        pytest.param(OFFICE, "2026-07-06T06:00", "2026-07-06T16:00", id="in summer"),
        pytest.param(OFFICE, "2026-12-07T07:00", "2026-12-07T17:00", id="in winter"),
        pytest.param(NIGHT, "2026-12-04T21:00", "2026-12-05T05:00", id="over midnight"),
        pytest.param(
            entry("01:00", "02:30"),
            "2026-03-29T00:00",
            "2026-03-29T01:00",
            id="ends in the skipped hour, with the change",
        ),
        pytest.param(
            entry("02:30", "04:00"),
            "2026-03-29T01:00",
            "2026-03-29T02:00",
            id="begins in the skipped hour, with the change",
        ),
        pytest.param(
            entry("01:00", "02:30"),
            "2026-10-24T23:00",
            "2026-10-25T00:30",
            id="ends in the repeated hour, the first time",
        ),
        pytest.param(
            entry("02:30", "04:00"),
            "2026-10-25T00:30",
            "2026-10-25T03:00",
            id="begins in the repeated hour, and goes on through the second",
        ),
        pytest.param(
            entry("22:00", "06:00", zone=NEW_YORK),
            "2026-03-08T03:00",
            "2026-03-08T10:00",
            id="a night of 7 hours",
        ),
        pytest.param(
            entry("22:00", "06:00", zone=NEW_YORK),
            "2026-11-01T02:00",
            "2026-11-01T11:00",
            id="a night of 9 hours",
        ),
        pytest.param(
            entry("01:45", "03:00", zone=LORD_HOWE),
            "2026-04-04T14:45",
            "2026-04-04T16:30",
            id="half an hour is repeated",
        ),
        pytest.param(
            entry("02:15", "03:00", zone=LORD_HOWE),
            "2026-10-03T15:30",
            "2026-10-03T16:00",
            id="half an hour is skipped",
        ),
        pytest.param(
            entry("22:00", "06:00", zone=APIA, days=(4,)),
            "2011-12-30T10:00",
            "2011-12-30T16:00",
            id="begins on a day that is skipped",
        ),
        pytest.param(
            entry(zone=SAO_PAULO, days=(6,)),
            "2018-11-04T03:00",
            "2018-11-05T02:00",
            id="midnight is skipped",
        ),
    ],
)
def test_when_an_entry_is_in_force(of, begins, ends):
    given, second = policy(of), timedelta(seconds=1)
    assert [
        least_at(given, utc(begins) - second),
        least_at(given, utc(begins)),
        least_at(given, utc(ends) - second),
        least_at(given, utc(ends)),
    ] == [1, 5, 5, 1]


def test_an_entry_of_a_day_that_is_skipped_is_never_in_force():
    given = policy(entry("08:00", "18:00", zone=APIA, days=(4,)))
    for hours in range(48):
        assert least_at(given, utc("2011-12-29T12:00") + timedelta(hours=hours)) == 1


def test_the_narrowest_entry_wins():
    given = policy(
        entry("00:00", "24:00", least=2),
        entry("08:00", "18:00", least=3),
        entry("12:00", "13:00", least=4, days=(0,)),
    )
    assert [least_at(given, utc(f"2026-12-07T{hour}:30")) for hour in ("05", "09", "11", "12")] == [
        2,
        3,
        4,
        3,
    ]


@pytest.mark.parametrize(
    ("entries", "at", "change"),
    [
        pytest.param(
            (OFFICE,), "2026-12-04T12:00", ("Fri 2026-12-04 18:00 Europe/Berlin", None, 1), id="end"
        ),
        pytest.param(
            (OFFICE,),
            "2026-12-04T17:00",
            ("Mon 2026-12-07 08:00 Europe/Berlin", "Mon-Fri 08:00-18:00 Europe/Berlin", 5),
            id="after a weekend",
        ),
        pytest.param(
            (OFFICE, entry("12:00", "13:00", zone="UTC", least=9)),
            "2026-12-04T10:00",
            ("Fri 2026-12-04 12:00 UTC", "Mon-Sun 12:00-13:00 UTC", 9),
            id="a narrower one",
        ),
        pytest.param((entry(zone="UTC"),), "2026-12-04T12:00", None, id="always the same"),
    ],
)
def test_the_next_change_is_said(entries, at, change):
    found = in_force(policy(*entries), utc(at).timestamp())
    assert found.policy.scheduled is not None
    following = found.policy.scheduled.change
    if change is None:
        assert following is None
    else:
        assert following is not None
        assert (following.at, following.entry, following.min_replicas) == change
        assert following.at_unix_seconds == found.until_unix_seconds


def test_without_a_schedule_the_policy_is_itself():
    given = policy()
    assert in_force(given, 0.0).policy is given


YEARS = {BERLIN: 2026, NEW_YORK: 2026, LORD_HOWE: 2026, APIA: 2011, SAO_PAULO: 2018, "UTC": 2026}
minutes = st.integers(0, DAY_MINUTES // 15 - 1).map(lambda quarter: quarter * 15)
entries = st.builds(
    ScheduleEntry,
    days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
    from_minute=minutes,
    until_minute=minutes.map(lambda minute: minute + 15),
    timezone=st.sampled_from(sorted(YEARS)),
    min_replicas=st.none() | st.integers(0, 10),
    max_replicas=st.none() | st.integers(10, 20),
).filter(lambda one: one.from_minute != one.until_minute)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[ScheduleEntry, ...]:
    """Draw entries that the parser would accept."""
    accepted: list[ScheduleEntry] = []
    for one in draw(st.lists(entries, min_size=1, max_size=5)):
        if not any(
            week_minutes(one) == week_minutes(other) and overlap(one, other) for other in accepted
        ):
            accepted.append(one)
    return tuple(accepted)


def instants(zone: str) -> st.SearchStrategy[float]:
    begin = datetime(YEARS[zone], 1, 1, tzinfo=UTC).timestamp()
    return st.integers(0, 366 * 24 * 12).map(lambda step: begin + step * 300)


@given(st.data(), schedules())
def test_every_instant_has_one_range(data, entries):
    """One that is the only narrowest of those in force, and a minimum of at most the maximum."""
    now = data.draw(instants(entries[0].timezone))
    found = in_force(policy(*entries), now).policy
    assert found.min_replicas <= found.max_replicas
    active = [one for one in entries if scheduled(policy(one), now).entry]
    widths = sorted(week_minutes(one) for one in active)
    assert len(widths) < 2 or widths[0] < widths[1]
    expected = min(active, key=week_minutes, default=None)
    assert scheduled(policy(*entries), now).entry == (
        None if expected is None else entry_text(expected)
    )


@given(st.data(), schedules())
def test_a_range_is_valid_until_the_change_that_is_said(data, entries):
    now = data.draw(instants(entries[0].timezone))
    given = policy(*entries)
    found = in_force(given, now)
    assert found.until_unix_seconds > now
    last = data.draw(st.floats(now, found.until_unix_seconds, exclude_max=True))
    entry = scheduled(given, now).entry
    assert scheduled(given, last).entry == entry
    if (change := scheduled(given, now).change) is not None:
        then = in_force(given, change.at_unix_seconds).policy
        assert then.scheduled is not None
        assert then.scheduled.entry == change.entry != entry
        assert (then.min_replicas, then.max_replicas) == (
            change.min_replicas,
            change.max_replicas,
        )


@given(st.data(), st.sampled_from(sorted(YEARS)), minutes.filter(bool))
def test_what_ends_at_a_time_and_what_begins_at_it_leave_no_gap(data, zone, minute):
    before = ScheduleEntry(
        days=ALL_DAYS, from_minute=0, until_minute=minute, timezone=zone, min_replicas=2
    )
    after = replace(before, from_minute=minute, until_minute=DAY_MINUTES, min_replicas=3)
    now = data.draw(instants(zone))
    in_both = [in_force(policy(one), now).policy.min_replicas for one in (before, after)]
    assert sorted(in_both) in ([1, 2], [1, 3])


@given(st.data(), st.sampled_from(sorted(YEARS)), minutes, minutes)
def test_away_from_changes_it_is_what_the_clock_on_the_wall_shows(data, zone, begins, ends):
    now = data.draw(instants(zone))
    tz = ZoneInfo(zone)
    around = {
        datetime.fromtimestamp(now + hours * 3600, tz).utcoffset() for hours in range(-50, 51)
    }
    if begins == ends or len(around) > 1:
        return
    shown = datetime.fromtimestamp(now, tz)
    minute = shown.hour * 60 + shown.minute
    expected = begins <= minute < ends if begins < ends else minute >= begins or minute < ends
    one = ScheduleEntry(
        days=ALL_DAYS, from_minute=begins, until_minute=ends, timezone=zone, min_replicas=5
    )
    assert (in_force(policy(one), now).policy.min_replicas == 5) is expected


@pytest.mark.parametrize(
    ("more", "schedule", "annotation", "expected"),
    [
        ({}, "[{timezone: UTC, min: 11}]", "schedule", "minimum 11, which is above its maximum 10"),
        ({}, "[{timezone: UTC, max: 1}]", None, ""),
        (
            {"min_replicas": "2"},
            "[{timezone: UTC, max: 1}]",
            "schedule",
            "minimum 2, which is above its maximum 1",
        ),
        ({}, "[{timezone: UTC, min: 0}]", "schedule", "a minimum of 0 requires gpu-scaler/query"),
        ({"queue": "http://gateway:80/metrics waiting"}, "[{timezone: UTC, min: 0}]", None, ""),
        (
            {
                "queue": "http://gateway:80/metrics waiting",
                "behavior": "{scaleUp: {selectPolicy: Disabled}}",
            },
            "[{timezone: UTC, min: 0}]",
            "schedule",
            "a minimum of 0 requires a selectPolicy other than Disabled",
        ),
        ({}, "[{timezone: Mars/Base, min: 2}]", "schedule", "IANA"),
    ],
)
def test_a_schedule_among_the_other_annotations(more, schedule, annotation, expected):
    found = parse_policy(annotated(schedule, **more), query_supported=True)
    if annotation is None:
        assert isinstance(found, ScalingPolicy)
        return
    assert not isinstance(found, ScalingPolicy)
    (problem,) = found
    assert problem.annotation == f"gpu-scaler/{annotation}"
    assert expected in problem.message


def test_time_zones_come_with_the_packages():
    """An image without Debian's tzdata has them too."""
    zoneinfo.reset_tzpath(to=())
    try:
        assert ZoneInfo.no_cache(BERLIN).key == BERLIN
    finally:
        zoneinfo.reset_tzpath()
