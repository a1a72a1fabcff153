# SPDX-License-Identifier: Apache-2.0
"""Zeros that the scaler set itself: written down, remembered, and told from those of a human."""

from __future__ import annotations

import pytest

from scaler.decision.history import WATCH_LAG_SECONDS
from scaler.decision.model import Outcome
from scaler.kube.errors import (
    Unreachable,
    from_status,
)
from tests.unit.controllerworld import World, deployment
from tests.unit.zeroworld import (
    ERRORS,
    OWN,
    other,
    queried,
    restarted,
    scaled_to_zero,
    taken_over,
    typo,
)


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


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(
            Unreachable(request="GET", status=None, reason="-", message="timeout"), id="timeout"
        ),
        pytest.param(
            from_status(request="GET", status=404, body={}, text="<html>"), id="404 of a proxy"
        ),
        pytest.param(
            from_status(request="GET", status=404, body={"reason": "NotFound", "details": {}}),
            id="404 of a server that starts",
        ),
    ],
)
async def test_a_zero_of_nobody_knows_whom_is_held_until_that_is_known(failure):
    world = restarted(await scaled_to_zero(), 0)
    world.query_total = 11
    world.zeros_failure = failure
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"oops": "1"},
        {"min-replicas": "x"},
        {"max-replicas": "-1"},
        {"enabled": "yes"},
        {"enabled": "false"},
        {"paused": "true"},
        {"target-query": "0"},
        {"behavior": "{"},
    ],
    ids=lambda wrong: " ".join(f"{key}={value}" for key, value in wrong.items()),
)
async def test_no_annotation_takes_its_own_zero_from_it(wrong):
    world = taken_over(typo(0, **wrong), other(), zeros=OWN)
    world.replicas["other"] = 1
    for _ in range(3):
        await world.controller.cycle()
    assert world.zeros == OWN
    assert ("web", 3) not in world.patched
    world.states = (queried(0), other())
    await world.controller.cycle()
    assert ("web", 3) in world.patched


@pytest.mark.parametrize("error", [None, *ERRORS], ids=str)
async def test_one_that_is_not_shown_for_a_while_wakes_when_it_is(error):
    """Its annotation is gone, or its kind's scale cannot be read."""
    world = taken_over(queried(0), other(), zeros=OWN)
    world.states = (other(),)
    world.scale_failure = error
    for _ in range(3):
        await world.controller.cycle()
    assert world.zeros == OWN
    world.states, world.scale_failure = (queried(0), other()), None
    await world.controller.cycle()
    assert ("web", 3) in world.patched


@pytest.mark.parametrize("replicas", [1, 3])
async def test_one_that_got_replicas_while_it_was_not_shown_is_a_humans(replicas):
    world = taken_over(queried(0), other(), zeros=OWN)
    world.states = (other(),)
    world.replicas["web"] = replicas
    await world.controller.cycle()
    assert world.zeros == {}
    world.replicas["web"] = 0
    world.states = (queried(0), other())
    await world.controller.cycle()
    assert world.outcome() == (Outcome.DISABLED, "ScalingDisabled")


async def test_one_of_a_kind_that_is_not_watched_is_left_alone():
    strange = {"uid-web": "default/rollouts.argoproj.io:web"}
    world = taken_over(other(), zeros=strange)
    await world.controller.cycle()
    assert world.zeros is not None
    assert strange.items() <= world.zeros.items()


def not_found(details):
    body = {"reason": "NotFound"} if details is None else {"details": details}
    return from_status(request="GET", status=404, body=body)


@pytest.mark.parametrize("details", [None, "web", {}, {"name": "another"}, {"kind": "rollouts"}])
async def test_a_kind_that_is_not_served_for_a_while_strikes_nothing_out(details):
    world = taken_over(queried(0), other(), zeros=OWN)
    world.states, world.scale_failure = (other(),), not_found(details)
    for _ in range(3):
        await world.controller.cycle()
    assert world.zeros == OWN
    world.states, world.scale_failure = (queried(0), other()), None
    await world.controller.cycle()
    assert ("web", 3) in world.patched


async def test_an_object_that_is_not_found_is_struck_out():
    world = taken_over(queried(0), other(), zeros=OWN)
    world.states, world.scale_failure = (other(),), not_found({"name": "web"})
    await world.controller.cycle()
    assert world.zeros == {}


async def test_what_is_gone_is_struck_out():
    world = taken_over(queried(0), other(), zeros=OWN)
    world.states = (other(),)
    world.uids["web"] = "uid-of-another"
    await world.controller.cycle()
    assert world.zeros == {}


@pytest.mark.parametrize(
    "wrong", [{"oops": "1"}, {"paused": "true"}, {"min-replicas": "2"}, {"min-replicas": "0"}]
)
async def test_a_count_above_zero_ends_it_whatever_the_annotations(wrong):
    world = taken_over(typo(3, **wrong), other(), zeros=OWN)
    await world.controller.cycle()
    assert world.zeros == OWN, "the watch may be behind"
    for _ in range(int(WATCH_LAG_SECONDS / 10) + 2):
        world.now += 10
        await world.controller.cycle()
    assert world.zeros == {}


async def test_a_zero_that_a_human_set_after_all_is_not_taken_over_when_the_record_is_read():
    """What is written down there was ended by one that led before and died at once."""
    world = taken_over(typo(3, **{"min-replicas": "1"}), zeros=OWN)
    await world.controller.cycle()
    world.states = (typo(0, **{"min-replicas": "1"}),)
    await world.controller.cycle()
    assert world.outcome() == (Outcome.DISABLED, "ScalingDisabled")


@pytest.mark.parametrize(
    "changed",
    [{"min-replicas": "1"}, {"min-replicas": "2"}],
    ids=["to one", "to two"],
)
@pytest.mark.parametrize("restart", [False, True])
async def test_its_own_zero_goes_to_a_minimum_that_was_raised(changed, restart):
    before = await scaled_to_zero()
    before.states = (typo(0, **changed),)
    world = before
    if restart:
        world = taken_over(typo(0, **changed), zeros=OWN)
    await world.controller.cycle()
    assert world.patched[-1] == ("web", int(changed["min-replicas"]))


async def test_its_own_zero_wakes_for_a_target_that_replaced_the_query():
    world = taken_over(deployment(replicas=0), zeros=OWN)
    await world.controller.cycle()
    assert world.patched == [("web", 1)]


@pytest.mark.parametrize("loops", [1, 4])
async def test_a_restart_and_answers_that_are_missing_leave_it_asleep(loops):
    world = taken_over(typo(0, cooldown="10m"), zeros=OWN)
    for number in range(loops):
        world.query_total = None if number == 0 and loops > 1 else 0
        await world.controller.cycle()
    assert world.patched == []
    assert world.outcome() == (Outcome.UNCHANGED, "DesiredWithinRange")
    assert world.zeros == OWN


async def test_a_zero_that_a_human_set_in_the_same_moment_is_a_humans():
    world = World(queried(1), duty_percent=0)
    world.answers_queries = True
    world.before_patch = [0]
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.DISABLED, "ScalingDisabled"))
    world.states = (queried(0),)
    await world.controller.cycle()
    assert world.zeros == {}
    world = restarted(world, 0)
    world.query_total = 11
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.DISABLED, "ScalingDisabled"))


async def test_a_zero_whose_write_had_no_answer_stays_its_own():
    world = World(queried(1), duty_percent=0)
    world.answers_queries = True
    world.failure = Unreachable(request="PATCH", status=None, reason="-", message="timeout")
    await world.controller.cycle()
    # It was carried out after all, which the watch does not show yet.
    world.replicas["web"], world.failure = 0, None
    await world.controller.cycle()
    world.states = (queried(0),)
    await world.controller.cycle()
    assert world.zeros == OWN
    world.query_total = 11
    await world.controller.cycle()
    assert world.patched == [("web", 3)]


async def test_a_record_that_somebody_deletes_is_written_again():
    world = await scaled_to_zero()
    world.states = (queried(0),)
    await world.controller.cycle()
    world.zeros = None
    await world.controller.cycle()
    assert world.zeros == OWN
    world.zeros = {"uid-strange": "default/strange"}
    await world.controller.cycle()
    assert world.zeros == {"uid-strange": "default/strange"} | OWN


async def test_a_record_deleted_while_all_are_awake_is_written_for_the_next_one():
    world = await scaled_to_zero()
    world.states = (queried(1),)
    world.replicas["web"] = 1
    world.zeros = None
    await world.controller.cycle()
    assert world.patched == [("web", 0), ("web", 0)]
    assert world.zeros == OWN


async def test_a_record_that_is_none_holds_nobody_elses_decision():
    world = World(queried(0), deployment("busy"))
    world.answers_queries = True
    world.zeros_failure = KeyError("data")
    await world.controller.cycle()
    assert world.outcome() == (Outcome.HELD, "UnknownZero")
    assert world.patched == [("busy", 2)]


async def test_nothing_is_set_to_zero_while_the_record_cannot_be_reached():
    world = restarted(World(), 1)
    world.zeros_failure = Unreachable(request="GET", status=None, reason="-", message="timeout")
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.FAILED, "FailedUpdateScale"))


@pytest.mark.parametrize("woken_by", ["its own hand", "a human"])
@pytest.mark.parametrize("is_seen_awake", [True, False])
async def test_a_zero_that_a_human_sets_soon_after_is_not_taken_over(woken_by, is_seen_awake):
    world = await scaled_to_zero()
    world.states = (queried(0),)
    world.now += 2
    if woken_by == "a human":
        await world.controller.cycle()
        world.replicas["web"], world.query_total = 4, 20
    else:
        world.query_total = 11
        await world.controller.cycle()
        assert world.patched[1:] == [("web", 3)]
    if is_seen_awake or woken_by == "a human":
        world.states = (queried(world.replicas["web"]),)
        world.now += 2
        await world.controller.cycle()
    written = list(world.patched)
    world.replicas["web"], world.query_total = 0, 11
    world.states = (queried(0),)
    for _ in range(2):
        world.now += 2
        await world.controller.cycle()
    assert world.patched == written
    assert world.outcome() == (Outcome.DISABLED, "ScalingDisabled")
    assert world.zeros == {}
    after = restarted(world, 0)
    after.query_total = 11
    await after.controller.cycle()
    assert after.patched == []
