# SPDX-License-Identifier: Apache-2.0
"""Times of day in the loop: what moves the range, over restarts and with the other annotations."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scaler.budgets import SCHEDULES_SECONDS
from scaler.controller.policies import WAITS
from scaler.controller.schedules import Schedules
from scaler.decision.model import Outcome
from scaler.model import AnnotationProblem, ScalingPolicy
from scaler.policy import schedule
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from scaler.reporting.tables import status_table
from tests.unit.controllerworld import World, deployment, ref

OFFICE = '[{days: Mon-Fri, from: "08:00", to: "18:00", timezone: Europe/Berlin, min: 4, max: 6}]'
FRIDAY_NOON = datetime(2026, 12, 4, 11, tzinfo=UTC).timestamp()
FRIDAY_EVENING = datetime(2026, 12, 4, 17, tzinfo=UTC).timestamp()
NO_WINDOW = '{"scaleDown": {"stabilizationWindowSeconds": 0}}'


def scheduled(replicas: int, **annotations: str):
    return deployment(replicas=replicas, schedule=OFFICE, behavior=NO_WINDOW, **annotations)


def world_at(unix_seconds: float, replicas: int, *, duty: int = 0, **annotations: str) -> World:
    world = World(scheduled(replicas, **annotations), duty_percent=duty)
    world.unix_seconds = unix_seconds
    return world


def explained(world: World) -> str:
    decision = world.controller.status_store.records[ref("web")].decision
    document = decision_document(decision, decided_unix_seconds=0)
    return explain_text(document, now_unix_seconds=1) + status_table([document], now_unix_seconds=1)


async def test_the_minimum_follows_the_time_of_day():
    world = world_at(FRIDAY_NOON, 1)
    await world.controller.cycle()
    assert world.patched == [("web", 4)]
    text = explained(world)
    assert "less than the minimum 4 that the schedule sets (Mon-Fri 08:00-18:00" in text
    assert "range:     4 to 6" in text
    assert "next:      1 to 10 from Fri 2026-12-04 18:00 Europe/Berlin (no entry)" in text
    world.states = (scheduled(4),)
    world.now += 2
    world.unix_seconds = FRIDAY_EVENING - 0.5
    await world.controller.cycle()
    assert world.patched == [("web", 4)]
    world.now += 2
    world.unix_seconds = FRIDAY_EVENING
    await world.controller.cycle()
    assert world.patched[1:] == [("web", 1)]
    text = explained(world)
    assert "schedule:  no entry is in force" in text
    assert "next:      4 to 6 from Mon 2026-12-07 08:00 Europe/Berlin (Mon-Fri" in text


async def test_the_maximum_follows_the_time_of_day():
    world = world_at(FRIDAY_NOON, 9, duty=100)
    await world.controller.cycle()
    assert world.patched == [("web", 6)]
    world.states = (scheduled(6),)
    world.now += 2
    world.unix_seconds = FRIDAY_EVENING
    await world.controller.cycle()
    assert world.patched[1:] == [("web", 10)]


@pytest.mark.parametrize(("at", "replicas"), [(FRIDAY_NOON, 4), (FRIDAY_EVENING, 1)])
async def test_whoever_begins_or_takes_over_goes_by_the_time_alone(at, replicas):
    world = world_at(at, 4)
    await world.controller.cycle()
    assert world.replicas == {"web": replicas}
    world.leads = False
    await world.controller.cycle()
    world.leads = True
    world.unix_seconds = FRIDAY_NOON
    world.states = (scheduled(replicas),)
    world.now += 2
    await world.controller.cycle()
    assert world.replicas == {"web": 4}


async def test_a_clock_that_is_set_back_sets_the_range_back():
    world = world_at(FRIDAY_EVENING, 1)
    await world.controller.cycle()
    assert world.patched == []
    world.now += 2
    world.unix_seconds = FRIDAY_NOON
    await world.controller.cycle()
    assert world.patched == [("web", 4)]


async def test_a_dry_run_says_what_the_schedule_would_do():
    world = world_at(FRIDAY_NOON, 1, dry_run="true")
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome()[0] is Outcome.DRY_RUN
    assert "the replica count 1 is less than the minimum 4" in explained(world)


async def test_a_change_of_the_annotation_counts_at_once():
    world = world_at(FRIDAY_NOON, 1)
    await world.controller.cycle()
    world.states = (deployment(replicas=4, schedule=OFFICE.replace("min: 4", "min: 5")),)
    world.now += 2
    await world.controller.cycle()
    assert world.patched == [("web", 4), ("web", 5)]


async def test_a_minimum_of_zero_at_some_times_only():
    """Zero at night is the scaler's own, and the day ends it without a request."""
    night = '[{from: "18:00", to: "08:00", timezone: Europe/Berlin, min: 0}]'

    def sleeper(replicas: int):
        return deployment(
            replicas=replicas,
            schedule=night,
            behavior=NO_WINDOW,
            query="sum(queue)",
            target_query="5",
            cooldown="0s",
        )

    world = World(sleeper(1), duty_percent=0)
    world.answers_queries = True
    world.unix_seconds = FRIDAY_NOON
    await world.controller.cycle()
    assert world.patched == []
    world.now += 2
    world.unix_seconds = FRIDAY_EVENING
    await world.controller.cycle()
    assert world.patched == [("web", 0)]
    # Another one takes over by day.
    following = World(sleeper(0), duty_percent=0)
    following.answers_queries = True
    following.zeros = world.zeros
    following.unix_seconds = FRIDAY_NOON
    await following.controller.cycle()
    assert following.patched == [("web", 1)]


async def test_a_zero_of_a_human_stays_whatever_the_time():
    world = world_at(FRIDAY_NOON, 0)
    await world.controller.cycle()
    assert world.patched == []


async def test_a_schedule_that_fails_is_its_own_deployments(monkeypatch):
    monkeypatch.setattr(
        "scaler.controller.schedules.in_force", lambda *_: (_ for _ in ()).throw(OverflowError)
    )
    other = deployment("other", replicas=1)
    world = World(scheduled(1), other, duty_percent=80)
    await world.controller.cycle()
    assert world.patched == [("other", 2)]
    assert world.outcome()[0] is Outcome.REFUSED


async def test_a_range_is_computed_again_only_once_it_changes(monkeypatch):
    computed = []

    def counted(policy, now):
        computed.append(now)
        return schedule.in_force(policy, now)

    monkeypatch.setattr("scaler.controller.schedules.in_force", counted)
    world = world_at(FRIDAY_NOON, 4)
    for _ in range(3):
        await world.controller.cycle()
        world.now += 2
        world.unix_seconds += 2
    world.unix_seconds = FRIDAY_EVENING
    await world.controller.cycle()
    assert computed == [FRIDAY_NOON, FRIDAY_EVENING]


async def test_problems_and_policies_without_a_schedule_pass_as_they_are():
    problems = (AnnotationProblem(annotation="a", value=None, message="m"),)
    found = await Schedules(lambda: 0.0).applied({"a": problems, "b": ()}, {})
    assert found == {"a": problems, "b": ()}
    assert not isinstance(found["a"], ScalingPolicy)


@pytest.mark.parametrize("evil", ["a-evil", "z-evil"])
async def test_a_namespace_with_too_many_schedules_waits_alone(monkeypatch, evil):
    cpu_seconds = 0.0

    def costly(policy, now):
        nonlocal cpu_seconds
        cpu_seconds += SCHEDULES_SECONDS / 10
        return schedule.in_force(policy, now)

    monkeypatch.setattr("scaler.controller.schedules.in_force", costly)
    times: list[float] = []
    schedules = Schedules(lambda: times[-1], cpu_clock=lambda: cpu_seconds)
    policy = World(scheduled(1)).controller._policies._parse(scheduled(1), None)
    names = {f"{evil}-{n}": evil for n in range(25)} | {"victim": "victim"}
    policies = dict.fromkeys(sorted(names), policy)
    for unix_seconds, least in ((FRIDAY_NOON, 4), (FRIDAY_EVENING, 1)):
        times.append(unix_seconds)
        waiting = []
        for _ in range(3):
            found = await schedules.applied(policies, names)
            victim = found["victim"]
            assert isinstance(victim, ScalingPolicy)
            assert victim.min_replicas == least
            waiting.append({uid for uid, one in found.items() if one == WAITS})
        assert 0 < len(waiting[1]) < len(waiting[0])
        assert not waiting[2]
