# SPDX-License-Identifier: Apache-2.0
"""Annotations are parsed when they change, within a budget, and every namespace has its turn."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from scaler.budgets import PARSING_SECONDS, SLICE_SECONDS
from scaler.controller.policies import WAITS, Policies
from scaler.decision.model import Outcome
from scaler.model import DeploymentState, ObjectRef
from scaler.policy.parse import parse_policy
from tests.unit.controllerworld import World, deployment, ref


def state(name: str, namespace: str = "ns", **annotations: str) -> DeploymentState:
    return DeploymentState(
        ref=ObjectRef(namespace=namespace, name=name),
        uid=f"{namespace}/{name}",
        annotations=annotations,
        spec_replicas=1,
        pods=(),
    )


class Parsing:
    """Parses in made-up time, and notes what it parsed."""

    def __init__(self, cost_seconds: float = 0.0) -> None:
        self.now_seconds = 0.0
        self.cost_seconds = cost_seconds
        self.parsed: list[str] = []
        self.before: list[object] = []
        self.policies = Policies(self.parse, clock=lambda: self.now_seconds)

    def parse(self, one, before):
        self.now_seconds += self.cost_seconds
        self.parsed.append(one.uid)
        self.before.append(before)
        return parse_policy({"gpu-scaler/x": one.annotations.get("x", "")}, query_supported=False)

    def loop(self, *states):
        self.parsed.clear()
        found = asyncio.run(self.policies.of(states))
        assert found.keys() == {one.uid for one in states}
        return [uid for uid, policy in found.items() if policy == WAITS]


def test_what_has_not_changed_is_not_parsed_again():
    parsing = Parsing()
    one, other = state("one"), state("other")
    parsing.loop(one, other)
    assert parsing.parsed == ["ns/one", "ns/other"]
    parsing.loop(one, other)
    assert parsing.parsed == []
    parsing.loop(replace(one, annotations={"x": "2"}), other)
    assert parsing.parsed == ["ns/one"]
    assert parsing.before[:2] == [None, None]
    assert parsing.before[2] is not None
    parsing.loop(replace(one, annotations={"x": "2"}, defaults={"x": "3"}), other)
    assert parsing.parsed == ["ns/one"]
    parsing.policies.keep_only(set())
    parsing.loop(other)
    assert parsing.parsed == ["ns/other"]


def test_beyond_the_budget_the_rest_has_its_turn_in_the_next_loop():
    parsing = Parsing(cost_seconds=PARSING_SECONDS / 10)
    states = [state(f"d{n:02}") for n in range(25)]
    waiting = parsing.loop(*states)
    assert len(parsing.parsed) <= 11
    assert len(waiting) == 25 - len(parsing.parsed)
    first = list(parsing.parsed)
    parsing.loop(*states)
    assert not set(first) & set(parsing.parsed)
    assert parsing.loop(*states) == []


def test_one_text_that_costs_more_than_the_budget_is_parsed_all_the_same():
    parsing = Parsing(cost_seconds=10 * PARSING_SECONDS)
    states = [state("one"), state("other")]
    assert len(parsing.loop(*states)) == 1
    assert parsing.loop(*states) == []


@pytest.mark.parametrize("evil_name", ["a-evil", "z-evil"])
def test_a_namespace_that_changes_everything_in_every_loop_keeps_nobody_waiting(evil_name):
    parsing = Parsing(cost_seconds=PARSING_SECONDS / 5)

    def flood(loop):
        return [state(f"e{n}", evil_name, x=f"{loop}") for n in range(100)]

    victims = [state("web", "victim"), state("web", "bystander")]
    for loop in range(20):
        # The victims change now and then, beside the flood of each loop.
        victims = [replace(one, annotations={"x": f"{loop // 3}"}) for one in victims]
        ordered = sorted([*flood(loop), *victims], key=lambda one: one.ref)
        waiting = parsing.loop(*ordered)
        assert not [uid for uid in waiting if not uid.startswith(evil_name)]


def test_many_namespaces_take_turns():
    """Where the budget is less than one for each namespace, nobody is passed over for ever."""
    parsing = Parsing(cost_seconds=PARSING_SECONDS / 3)
    names = [f"ns-{n:02}" for n in range(20)]
    turns: dict[str, int] = dict.fromkeys(names, 0)
    for loop in range(60):
        parsing.loop(*(state("d", name, x=str(loop)) for name in names))
        for uid in parsing.parsed:
            turns[uid.split("/")[0]] += 1
    assert max(turns.values()) - min(turns.values()) <= 1


async def test_the_event_loop_goes_on_between_slices(monkeypatch):
    parsing = Parsing(cost_seconds=SLICE_SECONDS)
    yields = []
    sleep = asyncio.sleep

    async def noted(seconds):
        yields.append(parsing.now_seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    await parsing.policies.of([state(f"d{n}") for n in range(100)])
    gaps = [after - before for before, after in pairwise(yields)]
    assert len(yields) >= 5
    assert max(gaps) <= 3 * SLICE_SECONDS


async def test_what_waits_is_held_with_its_history_and_then_decided_on():
    world = World(deployment("one"), deployment("web"))
    clock = iter([0.0, 10 * PARSING_SECONDS, *[20 * PARSING_SECONDS] * 100])
    world.controller._policies._turns._clock = lambda: next(clock)
    await world.controller.cycle()
    assert world.outcome("one") == (Outcome.SCALED, "SuccessfulRescale")
    assert world.outcome("web") == (Outcome.HELD, "WaitingForItsTurn")
    assert world.patched == [("one", 2)]
    assert world.controller.status_store.records[ref("web")].decision.desired_replicas == 1
    await world.controller.cycle()
    assert world.outcome("web") == (Outcome.SCALED, "SuccessfulRescale")
