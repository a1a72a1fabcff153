# SPDX-License-Identifier: Apache-2.0
"""Marks on the pods that a scale-down removes: written before the count, and taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scaler.controller.marks import MAX_TAKEN_BACK, SETTLING_SECONDS
from scaler.decision.model import Outcome
from scaler.decision.victims import MARK_COST
from scaler.kube.errors import Conflict, Forbidden, ServerError
from tests.unit.controllerworld import World, deployment, ref

if TYPE_CHECKING:
    from scaler.model import DeploymentState

NOW_BEHAVIOR = "{scaleDown: {stabilizationWindowSeconds: 0}}"
FORBIDDEN = Forbidden(request="PATCH", status=403, reason="Forbidden", message="no")
CONFLICT = Conflict(request="PATCH", status=409, reason="Conflict", message="kubectl-annotate")
BROKEN = ServerError(request="PATCH", status=500, reason="InternalError", message="down")


def world(*, of_the_whole_scaler: bool = False, **annotations: str) -> World:
    """Return a world whose web-1 and web-2 are idle, of four pods of which two are needed."""
    named = {"scale_down_pods": "idlest", "behavior": NOW_BEHAVIOR} | annotations
    found = World(deployment(replicas=4, **named), dry_run=of_the_whole_scaler)
    found.duty_of = {"web-0": 38, "web-1": 0, "web-2": 1, "web-3": 38}
    return found


def shown(found: World, *, replicas: int | None = None, marked: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Let the watch show this count and these marks."""
    (state,) = found.states
    found.states = (
        replace(
            state,
            spec_replicas=state.spec_replicas if replicas is None else replicas,
            pods=tuple(
                replace(
                    pod,
                    marked=pod.ref.name in marked,
                    deletion_cost=MARK_COST if pod.ref.name in marked else None,
                )
                for pod in state.pods
            ),
        ),
    )


def gone(found: World, *names: str) -> None:
    (state,) = found.states
    pods = tuple(pod for pod in state.pods if pod.ref.name not in names)
    found.states = (replace(state, pods=pods),)


def message(found: World) -> str:
    return found.controller.status_store.records[ref("web")].decision.message


async def test_the_idlest_pods_are_marked_before_the_count_is_written():
    found = world()
    await found.controller.cycle()
    assert found.writes == ["mark web-1", "mark web-2", "scale web"]
    assert "removed web-1: 0 % " in message(found)


@pytest.mark.parametrize("annotations", [{"scale_down_pods": "any"}, {"dry_run": "true"}])
async def test_no_pod_is_marked_unless_it_is_asked_for(annotations):
    found = world(**annotations)
    await found.controller.cycle()
    assert not any("mark" in one for one in found.writes)


async def test_marks_that_the_watch_shows_at_once_stay_until_the_replica_set_has_chosen():
    found = world()
    found.after_mark = lambda: shown(found, marked={"web-1", "web-2"})
    await found.controller.cycle()
    assert found.writes == ["mark web-1", "mark web-2", "scale web"]


async def test_what_follows_keeps_the_marks_until_the_pods_are_gone():
    found = world()
    await found.controller.cycle()
    shown(found, marked={"web-1", "web-2"})
    found.duty_percent, found.duty_of = 40, {}
    found.replicas["web"] = 4
    await found.controller.cycle()
    shown(found, replicas=2, marked={"web-1", "web-2"})
    await found.controller.cycle()
    gone(found, "web-1", "web-3")
    assert found.writes[3:] == [], "the ReplicaSet has still to choose"
    await found.controller.cycle()
    assert found.writes[3:] == ["unmark web-2"], "another pod went in its place"
    await found.controller.cycle()
    assert found.writes[3:] == ["unmark web-2"], "the watch may show the mark for a while"


async def test_a_mark_of_a_former_leader_is_taken_back():
    found = world()
    found.duty_percent, found.duty_of = 40, {}
    shown(found, marked={"web-3"})
    await found.controller.cycle()
    assert found.writes == ["unmark web-3"]


async def test_whoever_takes_over_leaves_marks_until_the_replica_set_has_chosen():
    found = world()
    found.duty_percent, found.duty_of = 40, {}
    shown(found, replicas=2, marked={"web-1", "web-2"})
    await found.controller.cycle()
    assert found.writes == []
    gone(found, "web-1", "web-3")
    await found.controller.cycle()
    assert found.writes == ["unmark web-2"]


async def test_a_dry_run_of_the_whole_scaler_leaves_even_old_marks():
    found = world(of_the_whole_scaler=True)
    shown(found, marked={"web-3"})
    await found.controller.cycle()
    assert found.writes == []
    assert found.outcome()[0] is Outcome.DRY_RUN
    assert "removed web-1" in message(found)


async def test_a_mark_that_cannot_be_taken_back_costs_nothing_else():
    found = world()
    found.duty_percent, found.duty_of = 40, {}
    shown(found, marked={"web-2", "web-3"})
    found.mark_failures = {"web-2": KeyError("not what the API promises"), "web-3": FORBIDDEN}
    await found.controller.cycle()
    assert sorted(found.writes) == ["unmark web-2", "unmark web-3"]
    assert found.outcome()[0] is Outcome.UNCHANGED


async def test_a_standby_takes_nothing_back():
    found = world()
    shown(found, marked={"web-3"})
    found.leads = False
    await found.controller.cycle()
    assert found.writes == []


async def test_a_replica_set_that_deletes_nothing_keeps_no_mark():
    found = world()
    await found.controller.cycle()
    shown(found, replicas=2, marked={"web-1", "web-2"})
    found.duty_of = {}
    found.duty_percent = 40
    await found.controller.cycle()
    found.now += SETTLING_SECONDS + 1
    await found.controller.cycle()
    assert sorted(found.writes[3:]) == ["unmark web-1", "unmark web-2"]


async def test_a_pod_that_works_again_loses_its_mark_when_the_write_is_tried_again():
    found = world()
    found.failure = BROKEN
    await found.controller.cycle()
    shown(found, marked={"web-1", "web-2"})
    found.duty_of = {"web-0": 38, "web-1": 0, "web-2": 38, "web-3": 1}
    found.failure = None
    await found.controller.cycle()
    assert found.writes[3:] == ["unmark web-2", "mark web-3", "scale web"]


async def test_a_mark_that_was_just_taken_back_is_written_again():
    found = world()
    idle, found.duty_of, found.duty_percent = found.duty_of, {}, 40
    shown(found, marked={"web-1", "web-2"})
    await found.controller.cycle()
    assert sorted(found.writes) == ["unmark web-1", "unmark web-2"]
    found.duty_of = idle
    await found.controller.cycle()
    assert found.writes[2:] == ["mark web-1", "mark web-2", "scale web"]


async def test_without_the_right_the_count_is_written_and_the_right_named():
    found = world()
    found.mark_failures = {"web-1": FORBIDDEN, "web-2": FORBIDDEN}
    await found.controller.cycle()
    assert found.writes == ["mark web-1", "scale web"]
    assert found.outcome()[0] is Outcome.SCALED
    assert "pods/status" in message(found)
    assert "removed" not in message(found)


async def test_a_cost_that_somebody_else_sets_meanwhile_stays():
    found = world()
    found.mark_failures = {"web-1": CONFLICT}
    await found.controller.cycle()
    assert found.writes == ["mark web-1", "mark web-2", "scale web"]
    assert "kubectl-annotate" in message(found)


def crowd(namespace: str, number: int) -> DeploymentState:
    """Return a Deployment at its right count whose pods somebody has marked."""
    (pod,) = deployment(replicas=1).pods
    found = replace(
        deployment(replicas=1, paused="true"),
        ref=ref("web", namespace),
        uid=f"uid-{namespace}",
        pods=tuple(
            replace(
                pod,
                ref=ref(f"{namespace}-{index}", namespace),
                uid=f"{namespace}-{index}",
                marked=True,
                deletion_cost=MARK_COST,
            )
            for index in range(number)
        ),
    )
    return replace(found, spec_replicas=number)


async def test_marks_of_one_namespace_delay_those_of_another_by_one_loop_at_most():
    found = World(crowd("flood", 1000), crowd("other", 2))
    await found.controller.cycle()
    assert {"unmark other-0", "unmark other-1"} <= set(found.writes)
    assert len(found.writes) == MAX_TAKEN_BACK


async def test_more_namespaces_than_turns_come_one_after_the_other():
    count = MAX_TAKEN_BACK + 5
    found = World(*(crowd(f"team-{number}", 100) for number in range(count)))
    for _ in range(2):
        await found.controller.cycle()
    assert len({one.rpartition("-")[0] for one in found.writes}) == count


async def test_a_mark_that_stays_whatever_is_done_is_tried_less_and_less_often():
    found = World(crowd("flood", 1))
    for _ in range(24 * 60):
        found.now += SETTLING_SECONDS
        await found.controller.cycle()
    assert 24 <= len(found.writes) <= 32


async def test_after_errors_a_mark_is_taken_back_as_soon_as_before():
    found = World(crowd("web", 1))
    found.mark_failures = {"web-0": BROKEN}
    for _ in range(20):
        found.now += SETTLING_SECONDS
        await found.controller.cycle()
    assert len(found.writes) == 20
