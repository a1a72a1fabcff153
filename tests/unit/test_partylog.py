# SPDX-License-Identifier: Apache-2.0
"""How much of the log one party's lines may take."""

from __future__ import annotations

import logging

import pytest

from scaler.budgets import LOG_BYTES
from tests.unit.controllerworld import World, deployment
from toolkit.logs import LogfmtFormatter
from toolkit.party_log import MINUTE_SECONDS, PartyLog

log = logging.getLogger("toolkit.test")


class Reading(float):
    """A time of a clock, which counts what it is compared with."""

    compared = 0

    def __sub__(self, other: float) -> float:
        Reading.compared += 1
        return float(self) - other


class PartyLogAtRest:
    """A log of parties with a clock that stands."""

    def __init__(self, most_bytes: int = 1000) -> None:
        self.now = 0.0
        self._log = PartyLog(log, most_bytes=most_bytes, clock=lambda: self.now)
        self.log_omitted = self._log.log_omitted

    def about(self, party: str, number: int = 1, *, text: str = "x", error=None) -> None:
        for _ in range(number):
            self._log.log(logging.WARNING, party, "Line", {"party": party, "text": text}, error)


def logged(caplog) -> list[str]:
    return [one.party for one in caplog.records if one.message == "Line"]


def left_out(caplog) -> list[tuple[str, int]]:
    return [(one.namespace, one.left_out) for one in caplog.records if hasattr(one, "left_out")]


def test_what_is_beyond_a_partys_budget_is_counted_and_told_when_the_minute_ends(caplog):
    party_log = PartyLogAtRest()
    party_log.about("greedy", 100)
    party_log.log_omitted()
    some = len(logged(caplog))
    assert 0 < some <= 10
    assert left_out(caplog) == []
    party_log.now += MINUTE_SECONDS
    party_log.log_omitted()
    party_log.log_omitted()
    assert left_out(caplog) == [("greedy", 100 - some)]
    party_log.about("greedy")
    assert len(logged(caplog)) == some + 1


def test_no_party_takes_anothers_lines(caplog):
    party_log = PartyLogAtRest()
    party_log.about("greedy", 100)
    party_log.about("modest", 3)
    assert logged(caplog)[-3:] == ["modest"] * 3
    party_log.now += MINUTE_SECONDS
    party_log.log_omitted()
    assert [party for party, _ in left_out(caplog)] == ["greedy"]


def test_a_line_looks_at_no_other_partys_minute_before_that_ends(monkeypatch):
    monkeypatch.setattr(Reading, "compared", 0)
    party_log = PartyLog(log, most_bytes=1000, clock=lambda: Reading(1.0))
    for number in range(1000):
        party_log.log(logging.WARNING, f"party-{number}", "Line", {})
    assert Reading.compared < 2000


def test_the_first_line_of_a_minute_is_logged_however_long_it_is(caplog):
    party_log = PartyLogAtRest()
    party_log.about("loud", 2, text="x" * 5000)
    assert logged(caplog) == ["loud"]


def test_a_traceback_counts(caplog):
    party_log = PartyLogAtRest()
    party_log.about("failing", 10, error=ValueError("x" * 400))
    assert 0 < len(logged(caplog)) <= 2


@pytest.mark.parametrize("number", [80, 800])
@pytest.mark.parametrize("failing", [False, True], ids=["refused", "failing"])
async def test_a_namespaces_log_does_not_grow_with_its_deployments(caplog, number, failing):
    caplog.set_level("INFO")
    behavior = "{}" if failing else "x" * 200
    evil = [deployment(f"evil-{n}", namespace="evil", behavior=behavior) for n in range(number)]
    innocent = deployment("innocent", target_duty_cycle="wrong")
    world = World(*evil, innocent)
    if failing:
        world.controller._decide = None  # type: ignore[method-assign, assignment]
    for _ in range(3):
        await world.controller.cycle()
    about = [one for one in caplog.records if hasattr(one, "deployment")]
    of_evil = [one for one in about if one.deployment.startswith("evil/")]
    lines = [LogfmtFormatter().format(one) for one in of_evil]
    assert 0 < len(lines) < 10
    # The first line is there in full.
    assert sum(map(len, lines)) <= LOG_BYTES + len(lines[0])
    assert "default/innocent" in {one.deployment for one in about}
    assert {name for name, *_ in world.events} == {one.ref.name for one in world.states}
    world.now += MINUTE_SECONDS
    await world.controller.cycle()
    (rest,) = [one for one in caplog.records if getattr(one, "namespace", "") == "evil"]
    assert rest.left_out >= number - len(lines)
    assert len(world.controller.status_store.records) == number + 1
