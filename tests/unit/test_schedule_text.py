# SPDX-License-Identifier: Apache-2.0
"""The text of a schedule: what entries say, and what is no schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.schedule import (
    entry_text,
)
from scaler.policy.schedule_text import parse_schedule

ALL_DAYS = tuple(range(7))


@pytest.mark.parametrize(
    ("text", "days", "shown"),
    [
        ("[{timezone: UTC, min: 2}]", ALL_DAYS, "Mon-Sun UTC"),
        ("[{days: Mon-Fri, timezone: UTC, max: 2}]", (0, 1, 2, 3, 4), "Mon-Fri UTC"),
        ("[{days: [Sat, Mon-Tue], timezone: UTC, max: 2}]", (0, 1, 5), "Mon-Tue, Sat UTC"),
        ("[{days: Sat-Mon, timezone: UTC, max: 2}]", (0, 5, 6), "Mon, Sat-Sun UTC"),
        (
            '[{days: Sun, from: 22:00, to: "06:00", timezone: Europe/Berlin, min: 0, max: 3}]',
            (6,),
            "Sun 22:00-06:00 Europe/Berlin",
        ),
        (
            '[{"days": ["Sun"], "from": "22:00", "to": "24:00", "timezone": "UTC", "min": 1}]',
            (6,),
            "Sun 22:00-24:00 UTC",
        ),
    ],
)
def test_what_entries_say(text, days, shown):
    parsed = parse_schedule(text)
    assert isinstance(parsed, tuple)
    (found,) = parsed
    assert found.days == days
    assert entry_text(found) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not a list of entries"),
        ("[]", "is not a list of entries"),
        ("{timezone: UTC, min: 1}", "is not a list of entries"),
        ("[1]", "entry 1: 1 is not a mapping"),
        ("[&a {timezone: UTC, min: 1}, *a]", "anchors are not allowed"),
        ("[{timezone: UTC, min: 1, at: 3}]", 'entry 1: "at" is not a field'),
        ("[{min: 1}]", "timezone is required"),
        ("[{timezone: CET5, min: 1}]", '"CET5" is not a name of the IANA time zones'),
        ("[{timezone: ../../etc/passwd, min: 1}]", "is not a name of the IANA time zones"),
        ("[{timezone: Europe, min: 1}]", '"Europe" is not a name of the IANA time zones'),
        ("[{timezone: UTC}]", "min or max is required"),
        ("[{timezone: UTC, min: 5, max: 4}]", "min 5 is above max 4"),
        ("[{timezone: UTC, max: 0}]", "max: 0 is not a whole number from 1 to"),
        ("[{timezone: UTC, min: -1}]", "min: -1 is not a whole number from 0 to"),
        ("[{timezone: UTC, min: true}]", "min: true is not a whole number"),
        ("[{timezone: UTC, min: 1, days: Mo}]", 'days: "Mo" is not a day'),
        ("[{timezone: UTC, min: 1, days: Mon-Fry}]", 'days: "Mon-Fry" is not a day'),
        ("[{timezone: UTC, min: 1, days: []}]", "days: the list is empty"),
        ("[{timezone: UTC, min: 1, from: 8:00}]", 'from: "8:00" is not a time'),
        ("[{timezone: UTC, min: 1, from: 800}]", "from: 800 is not a time"),
        ('[{timezone: UTC, min: 1, to: "24:01"}]', 'to: "24:01" is not a time'),
        ('[{timezone: UTC, min: 1, from: "24:00"}]', '"24:00" begins nothing'),
        ('[{timezone: UTC, min: 1, from: "08:00", to: "08:00"}]', "from and to are the same"),
        ("[" + "{timezone: UTC, min: 1}," * 17 + "]", "has 17 entries; allowed are 16"),
        ("x" * 5000, "is longer than 4096 bytes"),
        (
            "[{timezone: UTC, min: 1, days: Mon-Fri}, {timezone: UTC, min: 2, days: Wed-Sun}]",
            "entries 1 (Mon-Fri UTC) and 2 (Wed-Sun UTC) may be in force at once",
        ),
        (
            "[{timezone: UTC, min: 1, days: Mon}, {timezone: Europe/Berlin, min: 2, days: Tue}]",
            "may be in force at once",
        ),
    ],
)
def test_what_is_no_schedule(text, expected):
    found = parse_schedule(text)
    assert isinstance(found, str)
    assert expected in found


@pytest.mark.parametrize(
    "text",
    [
        "[{timezone: UTC, min: 1, days: Mon-Fri}, {timezone: UTC, min: 2, days: Sat-Sun}]",
        "[{timezone: UTC, min: 1, days: Mon}, {timezone: UTC, min: 2, days: Tue}]",
        "[{timezone: UTC, min: 1, days: Mon}, {timezone: Europe/Berlin, min: 2, days: Thu}]",
        '[{timezone: UTC, min: 1, to: "08:00"}, {timezone: UTC, min: 2, from: "16:00"}]',
    ],
)
def test_entries_of_one_width_that_never_meet_are_allowed(text):
    assert isinstance(parse_schedule(text), tuple)


@given(st.text(max_size=80) | st.binary(max_size=40).map(repr))
def test_no_text_breaks_the_parser(text):
    assert isinstance(parse_schedule(text), tuple | str)
