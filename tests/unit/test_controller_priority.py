# SPDX-License-Identifier: Apache-2.0
"""Priorities in the loop: who waits for whom, over conflicts, dry runs, takeovers and wakes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.decision.model import Outcome
from scaler.kube.errors import Forbidden
from scaler.model import DeploymentState, GpuRequest, PodPhase, PodState
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from scaler.reporting.tables import why_not_table
from tests.unit.controllerworld import NOW, World, deployment, ref

ONE_GPU = GpuRequest(("nvidia.com/gpu",))
LIMITED = (Outcome.UNCHANGED, "HigherPriorityWaits")


def batch(replicas: int = 1, **annotations: str) -> DeploymentState:
    return with_gpus(deployment("batch", replicas=replicas, **annotations))


def with_gpus(state: DeploymentState) -> DeploymentState:
    pods = tuple(replace(one, gpu_request=ONE_GPU) for one in state.pods)
    return replace(state, pods=pods, gpu_request=ONE_GPU)


def train(*, waits: bool = True, **annotations: str) -> DeploymentState:
    state = with_gpus(
        deployment("train", replicas=1, **{"priority": "100", "max_replicas": "2"} | annotations)
    )
    pod = PodState(
        ref=ref("train-1"),
        uid="train-1",
        phase=PodPhase.PENDING,
        deleting=False,
        ready_since_seconds=None,
        unschedulable_since_seconds=NOW - 60,
        unschedulable_message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        gpu_request=ONE_GPU,
    )
    return replace(state, spec_replicas=2, pods=(*state.pods, pod) if waits else state.pods)


def train_of(replicas: int) -> DeploymentState:
    """It has all pods that it asked for."""
    return with_gpus(deployment("train", replicas=replicas, priority="100", max_replicas="2"))


def explained(world: World, name: str) -> str:
    decision = world.controller.status_store.records[ref(name)].decision
    document = decision_document(decision, decided_unix_seconds=0)
    return explain_text(document, now_unix_seconds=1) + why_not_table([document])


async def test_the_lower_priority_grows_once_the_higher_one_has_its_gpus():
    world = World(train(), batch())
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome("batch") == LIMITED
    assert "Deployment default/train (priority 100) has waited for" in explained(world, "batch")
    text = explained(world, "train")
    assert "priority:  100" in text
    assert "these do not grow: Deployment default/batch" in text
    world.now += 16
    await world.controller.cycle()
    assert world.events == [("batch", "Normal", "HigherPriorityWaits")]
    world.states = (train(waits=False), batch())
    world.now += 2
    await world.controller.cycle()
    assert world.patched == [("batch", 2)]
    assert "do not grow" not in explained(world, "train")


@pytest.mark.parametrize(
    ("higher", "lower"),
    [
        ({"paused": "true"}, {}),
        ({"dry_run": "true"}, {}),
        ({"window": "forever"}, {}),
        ({}, {"priority": "100"}),
        ({}, {"priority": "101"}),
    ],
)
async def test_what_limits_nobody(higher, lower):
    world = World(train(**higher), batch(**lower))
    await world.controller.cycle()
    assert world.patched == [("batch", 2)]


async def test_of_two_that_begin_to_grow_the_lower_waits_for_one_loop():
    world = World(train_of(1), batch())
    await world.controller.cycle()
    assert world.patched == [("train", 2)]
    assert world.outcome("batch") == LIMITED
    world.states = (train_of(2), batch())
    world.now += 2
    await world.controller.cycle()
    assert world.patched[1:] == [("batch", 2)]


async def test_a_growth_that_cannot_be_written_limits_others_for_one_loop():
    world = World(train_of(1), batch())
    world.failures = {"train": Forbidden(request="PATCH", status=403, reason="F", message="no")}
    await world.controller.cycle()
    assert world.patched == []
    world.now += 2
    await world.controller.cycle()
    assert world.patched == [("batch", 2)]
    assert world.outcome("train")[0] is Outcome.FAILED


@pytest.mark.parametrize("names", [("train",), ("train", "other")])
async def test_those_that_begin_to_grow_in_each_loop_limit_others_in_one(names):
    """Whoever sets the highest priority may let a Deployment grow again and again."""
    world = World(batch())
    for loop in range(2):
        name = names[loop % len(names)]
        state = deployment(name, replicas=1 + loop, priority="100", max_replicas="1000")
        world.states = (with_gpus(state), batch())
        world.replicas[name] = 1 + loop
        await world.controller.cycle()
        assert name in dict(world.patched)
        world.now += 2
    assert ("batch", 2) in world.patched


async def test_it_never_shrinks_for_a_higher_priority():
    world = World(train(), batch(3, behavior='{"scaleDown": {"stabilizationWindowSeconds": 0}}'))
    world.duty_percent = 40
    await world.controller.cycle()
    assert world.replicas["batch"] == 3
    world.duty_percent = 1
    world.now += 2
    await world.controller.cycle()
    assert world.replicas["batch"] == 1


async def test_it_grows_to_its_minimum_after_the_wait():
    world = World(train(), batch(min_replicas="2"))
    await world.controller.cycle()
    assert world.outcome("batch") == LIMITED
    world.states = (train(waits=False), batch(min_replicas="2"))
    world.now += 2
    await world.controller.cycle()
    assert world.patched == [("batch", 2)]


async def test_a_count_that_the_api_server_has_changed_is_limited_as_well():
    """It shrank in the watch's view, and another writer has set a lower count since."""
    world = World(train(), batch(3, max_replicas="2"))
    world.replicas["batch"] = 1
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome("batch") == LIMITED


async def test_a_dry_run_says_what_it_would_wait_for():
    world = World(train(dry_run="true"), batch(dry_run="true"))
    await world.controller.cycle()
    assert world.outcome("batch") == LIMITED


async def test_whoever_takes_over_limits_in_the_first_loop():
    world = World(train(), batch())
    await world.controller.cycle()
    world.leads = False
    await world.controller.cycle()
    world.leads = True
    world.now += 2
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome("batch") == LIMITED


async def test_a_deployment_that_the_scaler_scaled_to_zero_wakes_after_the_wait():
    asleep = batch(0, min_replicas="0", query="sum(q)", target_query="1")
    world = World(train(), asleep)
    world.answers_queries = True
    world.zeros = {"uid-batch": "default/batch"}
    world.query_total = 1
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome("batch") == LIMITED
    world.states = (train(waits=False), asleep)
    world.now += 2
    await world.controller.cycle()
    assert world.patched == [("batch", 1)]


async def test_what_goes_wrong_with_one_stays_its_own():
    """The priorities of the others count all the same."""
    world = World(train(), batch(), with_gpus(deployment("other", priority="200")))
    world.broken_reading = "other"
    await world.controller.cycle()
    assert world.outcome("other")[0] is Outcome.FAILED
    assert world.outcome("batch") == LIMITED
