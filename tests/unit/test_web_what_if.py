# SPDX-License-Identifier: Apache-2.0
"""What another target or behavior would have done with the load that was kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from scaler.decision.model import MetricProposal
from scaler.model import DeploymentState, Metric, ObjectRef, PodValue
from scaler.policy.manifests import check_manifests
from scaler.reporting.load_history import PastLoad
from scaler.web.queries import QueryError
from scaler.web.what_if import (
    MAX_REPLICAS,
    Trial,
    WhatIfQuery,
    measured_start_seconds,
    parse_what_if,
    trial,
    what_if,
)
from tests.statuspage import Scene, decision, policy, ref

NOW = 1_800_000_000.0
ANNOTATIONS = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/max-replicas": "10",
    "gpu-scaler/target-duty-cycle": "40",
}
MANIFEST = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
"""


def loaded(steps: int = 240, replicas: int = 4) -> Scene:
    """Return two hours in which four pods are half busy, and idle in turn."""
    scene = Scene()
    for step in range(steps):
        duty = 30 + 25 * math.sin(step / 20)
        scene.decide(decision(replicas=replicas, duty_percent=duty), at=NOW + 30 * step)
    return scene


def state(**annotations: str) -> DeploymentState:
    changed = {f"gpu-scaler/{name.replace('_', '-')}": text for name, text in annotations.items()}
    return DeploymentState(
        ref=ref("web"), uid="u", annotations=ANNOTATIONS | changed, spec_replicas=4, pods=()
    )


def query(target: str | None = None, behavior: str | None = None, **others: object) -> WhatIfQuery:
    asked = {"metric": Metric.DUTY_CYCLE, "seconds": 7200, **others}
    return WhatIfQuery(target=target, behavior=behavior, **asked)  # type: ignore[arg-type]


def tried(
    asked: WhatIfQuery, scene: Scene | None = None, deployment: DeploymentState | None = None
):
    store = (scene or loaded()).status_store
    return trial(
        asked,
        deployment or state(),
        store.records[ref("web")],
        store.loads[ref("web")].load(asked.seconds),
    )


def replayed(asked: WhatIfQuery):
    given = tried(asked)
    assert isinstance(given, Trial)
    return what_if(given, 2.0, lambda: False)


def test_a_higher_target_takes_fewer_gpu_hours_than_a_lower_one():
    low, high = replayed(query("20")), replayed(query("60"))
    was, in_force, cheap = high["results"]
    assert [one["target"] for one in high["results"]] == [None, "40 %", "60 %"]
    assert was["gpu_hours"] == pytest.approx(4 * 2, abs=0.1)
    assert (was["changes"], was["highest"]) == (0, 4)
    assert low["results"][-1]["gpu_hours"] > in_force["gpu_hours"] > cheap["gpu_hours"]
    assert cheap["points"][0][0] == pytest.approx(NOW, abs=30)
    assert high["seconds"] == 7200


def test_the_settings_in_force_give_what_they_give_as_a_trial():
    _, in_force, same = replayed(query())["results"]
    assert in_force["points"] == same["points"]


def both_targets(scene):
    """Decisions by the duty cycle, which is known, and by memory, which has no value."""
    both = policy(target_memory_used_percent="50")
    scene.decide(decision(scaling=both), at=NOW + 90)
    return tried(query(), scene, state(target_memory_used_percent="50"))


def test_a_target_without_any_value_does_not_count_and_that_is_said():
    given = both_targets(loaded(3))
    assert isinstance(given, Trial)
    assert [one.metric for one in given.recording.metrics] == [Metric.DUTY_CYCLE]
    assert "no value is kept" in what_if(given, 2.0, lambda: False)["assumptions"][-1]


def test_all_targets_with_values_count():
    scene = Scene()
    both = policy(target_memory_used_percent="50")
    for step in range(240):
        duty = decision(replicas=4, duty_percent=30, scaling=both)
        [proposal] = duty.proposals
        memory = replace(
            proposal,
            metric=Metric.MEMORY_USED_PERCENT,
            target_milli=50_000,
            mean_milli=50_000,
            values={pod: replace(one, value_milli=50_000) for pod, one in proposal.values.items()},
        )
        scene.decide(replace(duty, proposals=(proposal, memory)), at=NOW + 30 * step)
    given = tried(query("60"), scene, state(target_memory_used_percent="50"))
    assert isinstance(given, Trial)
    found = what_if(given, 2.0, lambda: False)
    # By the duty cycle alone two of the four pods would do.
    assert [one["points"][-1][1] for one in found["results"]] == [4, 4, 4]
    assert "counts too" in found["assumptions"][-1]


def test_another_behavior_is_tried():
    _, in_force, none = replayed(query(behavior="scaleDown: {selectPolicy: Disabled}"))["results"]
    assert none["points"][-1][1] > in_force["points"][-1][1]
    given = tried(query(behavior=""), deployment=state(behavior="scaleUp: {tolerance: 0.2}"))
    assert isinstance(given, Trial)
    assert given.tried.behavior == policy().behavior


@pytest.mark.parametrize(
    "annotations",
    [
        {"target-duty-cycle": "95"},
        {"target-duty-cycle": "many"},
        {"behavior": "scaleDown: [1"},
        {"behavior": "scaleDown: {stabilisation: 1}"},
        {"target-duty-cycle": "-1", "behavior": "x"},
    ],
)
def test_what_is_wrong_is_said_as_check_says_it(annotations):
    found = tried(query(annotations.get("target-duty-cycle"), annotations.get("behavior")))
    given = ANNOTATIONS | {f"gpu-scaler/{name}": text for name, text in annotations.items()}
    text = MANIFEST + "".join(f"    {name}: {text!r}\n" for name, text in given.items())
    texts = [one.message for one in check_manifests([("f", text)]).findings]
    assert isinstance(found, tuple)
    assert not isinstance(found, Trial)
    assert found
    for one in found:
        assert any(line.endswith(one) for line in texts), texts


@pytest.mark.parametrize(
    ("asked", "scene", "expected"),
    [
        (query(metric=Metric.REQUESTS), loaded(3), "no value of requests"),
        (query(), loaded(3, replicas=MAX_REPLICAS + 1), f"more than {MAX_REPLICAS} replicas"),
    ],
)
def test_what_cannot_be_replayed_says_why(asked, scene, expected):
    with pytest.raises(QueryError, match=expected):
        tried(asked, scene)


def test_without_a_policy_in_force_there_is_nothing_to_try():
    scene = loaded(3)
    scene.decide(decision(policy=None), at=NOW + 90)
    with pytest.raises(QueryError, match="no valid policy"):
        tried(query(), scene)


def test_a_maximum_beyond_what_is_replayed_is_lowered():
    scene = loaded(3)
    huge = state(
        max_replicas="2000000000",
        schedule="[{from: '00:00', to: '12:00', timezone: UTC, min: 2000, max: 3000}]",
    )
    given = tried(query(), scene, huge)
    assert isinstance(given, Trial)
    assert given.in_force.max_replicas == given.tried.max_replicas == MAX_REPLICAS
    for one in (given.in_force, given.tried):
        assert [(e.min_replicas, e.max_replicas) for e in one.schedule] == [(1000, 1000)]


def test_the_range_follows_the_schedule():
    """NOW is 08:00 UTC on a Friday; the decision in force was made at 10:00."""
    schedule = "[{from: '09:00', to: '09:30', timezone: UTC, min: 7}]"
    given = tried(query("60"), deployment=state(schedule=schedule))
    assert isinstance(given, Trial)
    done = what_if(given, 2.0, lambda: False)
    for one in done["results"][1:]:
        counts = {
            minute: [count for at, count in one["points"] if at <= NOW + 60 * minute][-1] or 0
            for minute in (59, 61, 89, 119)
        }
        assert counts[61] == counts[89] == 7
        assert max(counts[59], counts[119]) < 7
    assert any("gpu-scaler/schedule" in one for one in done["assumptions"])


def test_it_ends_when_it_is_told_to():
    given = tried(query())
    assert isinstance(given, Trial)
    with pytest.raises(TimeoutError):
        what_if(given, 2.0, lambda: True)


def test_gpus_per_replica_are_those_of_the_pods():
    proposal = MetricProposal(
        metric=Metric.DUTY_CYCLE,
        target_milli=40_000,
        replicas=1,
        mean_milli=None,
        values={ref("pod"): PodValue(value_milli=1, sampled_seconds=0.0, device_count=8)},
    )
    scene = Scene()
    scene.decide(decision(proposals=(proposal,)), at=NOW)
    given = tried(query(), scene)
    assert isinstance(given, Trial)
    assert given.recording.gpus_per_replica == 8


@pytest.mark.parametrize(
    ("wanted", "ready", "seconds"),
    [
        pytest.param((1, 2, 2, 2), (1, 1, 1, 2), 60.0, id="two steps later"),
        pytest.param((1, 2, 2), (1, 2, 2), 15.0, id="within one step"),
        pytest.param((1, 2, 3, 3, 3, 3), (1, 1, 1, 2, 3, 3), 60.0, id="the median"),
        pytest.param((1, 1, 1), (1, 1, 1), None, id="no start"),
        pytest.param((2, 3, 3), (2, 2, 2), None, id="not yet"),
        pytest.param((None, 3, 3), (None, None, 3), None, id="begin unknown"),
    ],
)
def test_how_long_pods_take_to_start(wanted, ready, seconds):
    load = PastLoad(first_step=0, replicas=wanted, ready=ready, metrics=())
    assert measured_start_seconds(load) == seconds


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "metric: '' is not one of duty_cycle"),
        ({"metric": "x"}, "metric: 'x' is not one of duty_cycle"),
        ({"metric": "duty_cycle", "seconds": "1"}, "seconds: '1' is not"),
    ],
)
def test_a_wrong_address_says_what_is_allowed(params, expected):
    with pytest.raises(QueryError, match=expected):
        parse_what_if(params)


def test_texts_that_are_not_given_are_none():
    assert parse_what_if({"metric": "duty_cycle", "behavior": ""}) == query(
        behavior="", seconds=21600
    )


def test_a_queue_shares_the_target_of_requests():
    deployment = DeploymentState(
        ref=ObjectRef("default", "web"),
        uid="u",
        annotations={
            "gpu-scaler/enabled": "true",
            "gpu-scaler/min-replicas": "0",
            "gpu-scaler/max-replicas": "10",
            "gpu-scaler/queue": "router:8000/metrics waiting",
            "gpu-scaler/target-requests": "4",
        },
        spec_replicas=1,
        pods=(),
    )
    total = PodValue(value_milli=8_000, sampled_seconds=0.0)
    proposal = MetricProposal(
        metric=Metric.QUEUE,
        target_milli=4_000,
        replicas=2,
        mean_milli=8_000,
        values={ref("web"): total},
    )
    scene = Scene()
    scene.decide(decision(proposals=(proposal,)), at=NOW)
    found = tried(query("0", metric=Metric.QUEUE), scene, deployment)
    assert isinstance(found, tuple)
    assert "gpu-scaler/target-requests" in str(found[0])
