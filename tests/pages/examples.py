# SPDX-License-Identifier: Apache-2.0
"""The worked examples of docs/scaler.md, by name, decided by the real code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.allocation import GpuAllocation
from scaler.decision.decide import decide
from scaler.decision.model import Recommendation, ScalingHistory
from scaler.model import GpuRequest, Metric, PodPhase
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from tests.unit.deployments import (
    NOW,
    WEB,
    deployment,
    other_pod,
    pending_pods,
    pod_ref,
    policy,
    reading,
    ready_pod,
    ready_pods,
)

if TYPE_CHECKING:
    from scaler.decision.model import Decision


def load_step() -> Decision:
    pods = (*ready_pods(3), *pending_pods(1, first=3))
    return decide(deployment(pods), policy(max_replicas=10), reading([63, 58, 71]), None, NOW)


def saturation() -> Decision:
    rules = policy({Metric.DUTY_CYCLE: 80}, max_replicas=10)
    return decide(deployment(ready_pods(4)), rules, reading([100] * 4), None, NOW)


def load_gone() -> Decision:
    busy = ScalingHistory(recommendations=(Recommendation(replicas=6, at_seconds=NOW - 100),))
    return decide(deployment(ready_pods(6)), policy(max_replicas=10), reading([13] * 6), busy, NOW)


def one_is_missing() -> Decision:
    loading = ready_pod(4, age_seconds=12)
    pods = (*ready_pods(4), loading, other_pod(5))
    rules = policy(max_replicas=10)
    why = {pod_ref(3): "the exporter of node gpu-7 did not answer within 2 s"}
    return decide(deployment(pods), rules, reading([9, 11, 8, None, 0], missing=why), None, NOW)


def asleep() -> Decision:
    rules = replace(
        policy({Metric.QUERY: 10}, min_replicas=0, max_replicas=10),
        activation_milli=2000,
        cooldown_seconds=300.0,
    )
    own = ScalingHistory(zeroed_seconds=NOW - 3600)
    return decide(
        deployment((), replicas=0), rules, reading({WEB: 35}, metric=Metric.QUERY), own, NOW
    )


def behind_another() -> Decision:
    request = GpuRequest(("nvidia.com/gpu",))
    waiting = replace(
        other_pod(
            1,
            PodPhase.PENDING,
            unschedulable_age_seconds=192,
            message="0/9 nodes are available: 9 Insufficient nvidia.com/gpu.",
        ),
        gpu_request=request,
    )
    rules = policy(max_replicas=10)
    train = replace(deployment((ready_pod(0), waiting)), ref=WEB._replace(name="train"))
    first = decide(train, replace(rules, priority=100), reading([35, None]), None, NOW)
    web = replace(deployment(ready_pods(2)), gpu_request=request)
    second = decide(web, rules, reading([63, 58]), None, NOW)
    return GpuAllocation([(train, first), (web, second)]).applied(web, second, None)


EXAMPLES = {
    "load-step": load_step,
    "saturation": saturation,
    "load-gone": load_gone,
    "missing-value": one_is_missing,
    "waking": asleep,
    "priority": behind_another,
}


def explained(decision: Decision) -> str:
    """What `gpu-scaler explain` says, without the settings and the conditions."""
    document = decision_document(decision, decided_unix_seconds=NOW)
    text = explain_text(document, now_unix_seconds=NOW + 1).partition("Conditions:\n")[0]
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not line.startswith(("  range:", "  zero:", "  values:", "  up:", "  down:"))
    )
