"""What the scaler says of its last decisions as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from scaler.decision.model import Outcome
from scaler.reporting.metrics import DecisionCollector
from tests import statuspage
from tests.unit.controllerworld import World, deployment

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
    said = WEB | {"outcome": "unchanged", "reason": "TooManyReplicas"}
    assert found.get_sample_value("gpu_scaler_decision_info", said) == 1


async def test_a_wrong_annotation_has_a_reason_and_no_proposal():
    found = await decided(target_duty_cycle="95")
    said = WEB | {"outcome": "refused", "reason": "InvalidAnnotation"}
    assert found.get_sample_value("gpu_scaler_decision_info", said) == 1
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


def test_a_missing_value_is_told_by_metric():
    found = registry(statuspage.decision(duty_percent=None), statuspage.decision("other"))
    duty = {"metric": "duty_cycle"}
    assert found.get_sample_value("gpu_scaler_metric_incomplete", WEB | duty) == 1
    other = WEB | duty | {"deployment": "other"}
    assert found.get_sample_value("gpu_scaler_metric_incomplete", other) == 0
