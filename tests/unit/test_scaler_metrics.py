# SPDX-License-Identifier: Apache-2.0
"""What the scaler says of its last decisions as metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from scaler.decision.decide import decide
from scaler.decision.model import Outcome, ScalingHistory
from scaler.model import Metric, ScalingPolicy
from scaler.policy.parse import parse_policy
from scaler.reporting.metrics import DecisionCollector
from tests import statuspage
from tests.unit.controllerworld import World, deployment
from tests.unit.deployments import NOW, reading, ready_pods
from tests.unit.deployments import WEB as WEB_REF
from tests.unit.deployments import deployment as deployment_state

REQUESTS = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/min-replicas": "0",
    "gpu-scaler/max-replicas": "9",
    "gpu-scaler/target-requests": "4",
    "gpu-scaler/queue": "http://gateway:8000/metrics queued",
}
WEB = {"namespace": "default", "deployment": "web", "kind": "deployments.apps"}


def registry(*decisions) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(DecisionCollector(lambda: decisions))
    return found


async def decided(**annotations: str) -> CollectorRegistry:
    world = World(deployment(replicas=3, **annotations), duty_percent=80)
    await world.controller.cycle()
    return registry(*(record.decision for record in world.controller.status_store.records.values()))


async def test_what_the_metrics_ask_for_is_told_beyond_the_ceiling():
    found = await decided(max_replicas="3")
    assert found.get_sample_value("gpu_scaler_proposed_replicas", WEB) == 6
    assert found.get_sample_value("gpu_scaler_desired_replicas", WEB) == 3
    assert found.get_sample_value("gpu_scaler_max_replicas", WEB) == 3
    labels = WEB | {"outcome": "unchanged", "reason": "TooManyReplicas"}
    assert found.get_sample_value("gpu_scaler_decision_info", labels) == 1


async def test_a_wrong_annotation_has_a_reason_and_no_proposal():
    found = await decided(target_duty_cycle="95")
    labels = WEB | {"outcome": "refused", "reason": "InvalidAnnotation"}
    assert found.get_sample_value("gpu_scaler_decision_info", labels) == 1
    assert found.get_sample_value("gpu_scaler_proposed_replicas", WEB) is None


def test_a_workload_has_one_reason_at_a_time():
    held = statuspage.decision(outcome=Outcome.HELD, reason="IncompleteMetrics")
    other = statuspage.decision("other")
    (info,) = (
        family
        for family in registry(held, other).collect()
        if family.name == "gpu_scaler_decision_info"
    )
    assert [
        (sample.labels["deployment"], sample.labels["outcome"], sample.labels["reason"])
        for sample in info.samples
    ] == [("web", "held", "IncompleteMetrics"), ("other", "unchanged", "DesiredWithinRange")]


@pytest.mark.parametrize(
    ("pods", "known", "missing"),
    [(ready_pods(3), 3, 0), (ready_pods(3), 1, 2), (ready_pods(3), 0, 3), ((), 0, 0)],
)
def test_serving_pods_without_a_value_are_counted(pods, known, missing):
    policy = parse_policy(REQUESTS, query_supported=False)
    assert isinstance(policy, ScalingPolicy)
    made = decide(
        deployment_state(pods, replicas=len(pods)),
        policy,
        reading([1] * known, metric=Metric.REQUESTS)
        | {Metric.QUEUE: reading({WEB_REF: 0}, metric=Metric.QUEUE)[Metric.QUEUE]},
        ScalingHistory(zeroed_seconds=0) if not pods else None,
        NOW,
    )
    found = registry(made)
    labels = WEB | {"namespace": WEB_REF.namespace, "metric": "requests"}
    assert found.get_sample_value("gpu_scaler_metric_missing_pods", labels) == missing
    queue = labels | {"metric": "queue"}
    assert found.get_sample_value("gpu_scaler_metric_missing_pods", queue) is None
