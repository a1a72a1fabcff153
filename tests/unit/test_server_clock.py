# SPDX-License-Identifier: Apache-2.0
"""The API server's clock is told by its answers, whatever this machine's clock says."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.server_clock import RECENT, ServerClock, http_date

# 2026-11-23T21:00:00Z
SERVER_UNIX_SECONDS = 1795467600.0
DATE = "Mon, 23 Nov 2026 21:00:00 GMT"


class Monotonic:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_no_jump_of_our_clock_is_one_of_the_servers(monkeypatch, jump):
    clock = ServerClock(monotonic := Monotonic())
    clock.note(DATE)
    monotonic.seconds += 30
    wrong = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: wrong)
    assert clock.seconds() == SERVER_UNIX_SECONDS + 30


def test_before_the_first_answer_our_own_clock_counts(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 7.0)
    clock = ServerClock(Monotonic())
    assert clock.seconds() == 7.0
    clock.note(DATE)
    assert clock.seconds() == SERVER_UNIX_SECONDS


@pytest.mark.parametrize(
    "wrong", ["Mon, 23 Nov 2026 13:00:00 GMT", "Tue, 24 Nov 2026 05:00:00 GMT"]
)
def test_single_wrong_dates_change_nothing_once_there_are_a_few(wrong):
    clock = ServerClock(Monotonic())
    for date in (DATE, DATE, wrong, DATE, wrong, DATE, DATE, wrong, DATE, wrong, DATE):
        clock.note(date)
        assert clock.seconds() == SERVER_UNIX_SECONDS


def test_a_clock_that_is_set_is_followed_with_most_of_the_recent_answers():
    clock = ServerClock(Monotonic())
    for _ in range(100):
        clock.note(DATE)
    for _ in range(RECENT // 2 + 1):
        assert clock.seconds() == SERVER_UNIX_SECONDS
        clock.note("Mon, 23 Nov 2026 20:00:00 GMT")
    assert clock.seconds() == SERVER_UNIX_SECONDS - 3600


@given(st.none() | st.text() | st.sampled_from(["", "0", "Mon, 99 Nov 2026 21:00:00 GMT"]))
def test_what_is_no_date_changes_nothing(text):
    clock = ServerClock(Monotonic())
    clock.note(DATE)
    clock.note(text)
    assert http_date(text or "") is not None or clock.seconds() == SERVER_UNIX_SECONDS


@pytest.mark.parametrize(
    ("text", "unix_seconds"),
    [
        (DATE, SERVER_UNIX_SECONDS),
        ("Monday, 23-Nov-26 21:00:00 GMT", SERVER_UNIX_SECONDS),
        ("Mon, 23 Nov 2026 21:00:00 -0000", SERVER_UNIX_SECONDS),
        ("Mon, 23 Nov 2026 22:00:00 +0100", SERVER_UNIX_SECONDS),
        ("soon", None),
    ],
)
def test_dates(text, unix_seconds):
    assert http_date(text) == unix_seconds
