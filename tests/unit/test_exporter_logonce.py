# SPDX-License-Identifier: Apache-2.0
"""A condition has a line of log when it begins and one when it ends, at most once a minute."""

from __future__ import annotations

import logging

import pytest

from toolkit.log_once import AGAIN_SECONDS, LogOnce, OutageLog


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("toolkit.log_once.monotonic", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
def test_a_beginning_and_an_end():
    once = LogOnce(limit=2)
    assert not once.ends("a"), "it never began"
    assert [once.begins("a") for _ in range(3)] == [True, False, False]
    assert once.begins("b")
    assert once.has_active
    assert [once.ends("a") for _ in range(2)] == [True, False]
    once.end_all()
    assert not once.has_active
    assert not once.ends("b")


def test_what_comes_and_goes_is_told_at_most_once_in_a_while(clock):
    once = LogOnce(limit=2)
    lines = 0
    for _ in range(int(3 * AGAIN_SECONDS)):
        lines += once.begins("a") + once.ends("a")
        clock[0] += 1
    assert lines == 6


def test_what_lasts_is_told_although_it_was_told_a_moment_ago(clock):
    once = LogOnce(limit=2)
    assert once.begins("a")
    assert once.ends("a")
    assert not once.begins("a")
    assert not once.ends("a"), "an end without a beginning would be a riddle"
    clock[0] += AGAIN_SECONDS
    assert once.begins("a")
    assert once.ends("a")


@pytest.mark.usefixtures("clock")
def test_few_conditions_are_told_at_a_time():
    once = LogOnce(limit=2)
    assert [once.begins(one) for one in "abc"] == [True, True, False]
    once.ends("a")
    assert once.begins("c")


def test_what_was_told_long_ago_is_forgotten(clock):
    once = LogOnce(limit=2)
    for number in range(1000):
        once.begins(number)
        once.ends(number)
        clock[0] += 1
    assert len(once._logged_seconds) <= AGAIN_SECONDS + 1


@pytest.fixture
def outage(caplog):
    caplog.set_level(logging.INFO)
    return OutageLog(logging.getLogger("test"), "begins", "ends")


@pytest.mark.usefixtures("clock")
def test_an_outage_ends_when_it_has_ended_for_all(outage, caplog):
    outage.worked()
    outage.failed("why", party="a")
    outage.failed("another", party="b")
    outage.worked(party="b")
    outage.worked(party="c")
    assert caplog.messages == ["begins"]
    assert vars(caplog.records[0])["error"] == "why"
    outage.worked(party="a")
    assert caplog.messages == ["begins", "ends"]


@pytest.mark.usefixtures("clock")
def test_an_outage_of_those_that_are_gone_ends(outage, caplog):
    outage.failed("why", party="a")
    outage.keep({"b"})
    outage.worked(party="b")
    assert caplog.messages == ["begins", "ends"]


def test_outages_that_come_and_go_do_not_fill_the_log(outage, caplog, clock):
    for _ in range(int(3 * AGAIN_SECONDS)):
        outage.failed("why")
        outage.worked()
        clock[0] += 1
    assert len(caplog.messages) == 6
