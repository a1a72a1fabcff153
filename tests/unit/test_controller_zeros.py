"""Zeros that the scaler set itself: written down, remembered, and told from those of a human."""

from __future__ import annotations

from scaler.cluster.errors import Unreachable
from scaler.model import DeploymentState, Outcome
from tests.unit.controllerworld import World, deployment


def queried(replicas: int) -> DeploymentState:
    return deployment(
        replicas=replicas,
        query="sum(queue)",
        target_query="5",
        min_replicas="0",
        cooldown="0s",
        behavior='{"scaleDown": {"stabilizationWindowSeconds": 0}}',
    )


def restarted(before: World, replicas: int) -> World:
    """Another scaler, which knows what is written down and nothing else."""
    world = World(queried(replicas), duty_percent=0)
    world.answers_queries = True
    world.zeros = before.zeros
    return world


async def scaled_to_zero() -> World:
    world = World(queried(1), duty_percent=0)
    world.answers_queries = True
    await world.controller.cycle()
    assert world.patched == [("web", 0)]
    return world


async def test_whoever_leads_next_wakes_what_was_set_to_zero():
    before = await scaled_to_zero()
    assert before.zeros == {"uid-web": "default/web"}
    world = restarted(before, 0)
    world.query_total = 11
    await world.controller.cycle()
    assert world.patched == [("web", 3)]
    world.states = (queried(3),)
    await world.controller.cycle()
    assert world.zeros == {}


async def test_whoever_leads_next_leaves_a_zero_of_a_human():
    world = restarted(World(), 0)
    world.query_total = 11
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.DISABLED, "ScalingDisabled"))


async def test_a_leader_that_lost_the_lease_reads_anew_what_was_written_down():
    world = restarted(World(), 0)
    await world.controller.cycle()
    world.leads = False
    await world.controller.cycle()
    world.leads, world.query_total = True, 11
    world.zeros = {"uid-web": "default/web"}
    await world.controller.cycle()
    assert world.patched == [("web", 3)]


async def test_a_zero_of_nobody_knows_whom_is_held_until_that_is_known():
    world = restarted(await scaled_to_zero(), 0)
    world.query_total = 11
    world.zeros_failure = Unreachable(request="GET", status=None, reason="-", message="timeout")
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.HELD, "UnknownZero"))
    world.zeros_failure = None
    await world.controller.cycle()
    assert world.patched == [("web", 3)]


async def test_nothing_is_set_to_zero_that_cannot_be_written_down():
    world = restarted(World(), 1)
    await world.controller.cycle()
    assert world.patched == [("web", 0)]
    world = restarted(World(), 1)
    world.zeros = {}
    world.query_total = 3
    await world.controller.cycle()
    world.query_total = 0
    world.zeros_failure = Unreachable(request="PATCH", status=None, reason="-", message="timeout")
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.FAILED, "FailedUpdateScale"))


async def test_without_zero_allowed_nothing_is_asked_about_zeros():
    world = World(deployment())
    world.zeros_failure = AssertionError("asked")
    await world.controller.cycle()
    assert world.patched == [("web", 2)]


async def test_its_own_zero_is_asked_about_until_it_wakes():
    world = World(queried(1), duty_percent=0)
    world.answers_queries = True
    await world.controller.cycle()
    assert world.patched == [("web", 0)]
    world.states = (queried(0),)
    await world.controller.cycle()
    assert (world.queries, world.outcome()[0]) == (["sum(queue)"], Outcome.UNCHANGED)
    world.query_total = 11
    await world.controller.cycle()
    assert world.patched == [("web", 0), ("web", 3)]
