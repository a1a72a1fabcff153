# SPDX-License-Identifier: Apache-2.0
"""The scaler's Prometheus source on a real Prometheus, beside the exporters themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.model import (
    DeploymentState,
    ExporterEndpoint,
    Metric,
    ObjectRef,
    PodPhase,
    PodState,
    ScalingPolicy,
)
from scaler.policy.parse import parse_policy
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import PrometheusSettings
from scaler.readings.source import ReadingRequest
from tests.cluster.chain.running import LOADS, NAMESPACE, PODS, Chain
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from scaler.decision.model import Decision
    from scaler.readings.source import Source

pytestmark = pytest.mark.asyncio(loop_scope="package")

WEB: Final = ObjectRef(namespace=NAMESPACE, name="web")
TARGETS: Final = {
    "duty-cycle": ("20", "40", "45", "80"),
    "memory-used-percent": ("1", "4", "60"),
    "memory-used-bytes": ("1Gi", "6Gi", "60Gi"),
    "power-usage-milliwatts": ("50k", "150k", "700k"),
    "temperature-celsius": ("30", "55", "90"),
}
SAME_SECONDS: Final = 90.0


class Bed:
    """Both sources, and a Deployment that has the chain's pods."""

    def __init__(
        self,
        chain: Chain,
        sources: Mapping[str, Source],
        pods: tuple[PodState, ...],
    ) -> None:
        self.sources = sources
        self.pods = pods
        self.endpoints = {
            name: ExporterEndpoint(
                url="http://{}:{}/metrics".format(*node.exporter_address),
                pod=ObjectRef(namespace="gpu-exporter", name=name),
                ready=True,
            )
            for name, node in chain.nodes.nodes.items()
        }

    async def decisions(self, **annotations: str) -> dict[str, Decision]:
        """What is decided from each source now, by its name."""
        named = {
            "enabled": "true",
            "max-replicas": "20",
            "behavior": '{"scaleDown": {"stabilizationWindowSeconds": 0}}',
        } | {key.replace("_", "-"): value for key, value in annotations.items()}
        policy = parse_policy(
            {f"gpu-scaler/{key}": value for key, value in named.items()}, query_supported=True
        )
        assert isinstance(policy, ScalingPolicy), policy
        deployment = DeploymentState(
            ref=WEB,
            uid="1",
            annotations={},
            spec_replicas=len(self.pods),
            pods=self.pods,
        )
        asked = ReadingRequest(
            deployment=WEB,
            metrics=tuple(target.metric for target in policy.targets),
            pods=self.pods,
            window_seconds=policy.window_seconds,
            query=next((one.query for one in policy.targets if one.query), None),
        )
        found = {}
        for name, source in self.sources.items():
            answer = await source.read([asked], self.endpoints)
            found[name] = decide(deployment, policy, answer.readings[WEB], None, time.monotonic())
        return found

    async def same_decision(self, **annotations: str) -> Decision:
        """Wait until what the exporters show is scraped: the decisions are then the same."""
        last: dict[str, Decision] = {}

        async def are_same() -> bool:
            last.update(await self.decisions(**annotations))
            first, second = last.values()
            return account(first) == account(second) and all(
                proposal.complete for proposal in first.proposals
            )

        try:
            await until(are_same, deadline_seconds=SAME_SECONDS)
        except AssertionError:
            first, second = last.values()
            assert account(first) == account(second)
            raise
        return last["prometheus"]


def account(decision: Decision) -> object:
    """Everything that a decision says, save how old the values are."""
    return (
        decision.outcome,
        decision.reason,
        decision.message,
        decision.desired_replicas,
        decision.proposed,
        decision.limits,
        [
            (
                one.metric,
                one.replicas,
                one.mean_milli,
                one.complete,
                one.saturated,
                {pod: (value.value_milli, value.device_count) for pod, value in one.values.items()},
            )
            for one in decision.proposals
        ],
    )


@pytest_asyncio.fixture(loop_scope="package")
async def bed(busy: Chain) -> AsyncIterator[Bed]:
    found = (await busy.client.list_(PODS))["items"]
    pods = tuple(
        _pod(one["metadata"]["name"], node=one["spec"]["nodeName"])
        for one in found
        if one["metadata"]["name"] in LOADS
    )
    assert len(pods) == len(LOADS)
    async with (
        ExporterSource() as exporters,
        PrometheusSource(PrometheusSettings(url=busy.prometheus.url)) as prometheus,
    ):
        yield Bed(busy, {"exporters": exporters, "prometheus": prometheus}, pods)


def _pod(name: str, *, node: str) -> PodState:
    return PodState(
        ref=ObjectRef(namespace=NAMESPACE, name=name),
        uid=name,
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        node_name=node,
    )


@pytest.mark.parametrize(
    ("metric", "target"),
    [(metric, target) for metric, targets in TARGETS.items() for target in targets],
)
async def test_both_sources_give_the_same_decision(bed, metric, target):
    """Of one GPU, of several, and of shared ones that two containers of a pod hold."""
    decision = await bed.same_decision(**{f"target-{metric}": target})
    (proposal,) = decision.proposals
    assert {pod.name for pod in proposal.values} == LOADS.keys()
    assert proposal.replicas is not None


async def test_duty_cycle_is_what_the_gpus_are_loaded_with(bed):
    decision = await bed.same_decision(target_duty_cycle="20")
    (proposal,) = decision.proposals
    assert {pod.name: one.value_milli for pod, one in proposal.values.items()} == {
        "one-gpu": 40_000,
        "two-gpus": 45_500,
        # Two containers of the pod hold one of its two GPUs, which counts once.
        "shared": 35_000,
    }
    assert decision.outcome is Outcome.SCALED
    assert decision.desired_replicas == 7


async def test_several_targets_and_a_window(bed):
    decision = await bed.same_decision(
        target_duty_cycle="30", target_memory_used_bytes="1Gi", window="2s"
    )
    assert [one.replicas is not None for one in decision.proposals] == [True, True]


async def test_a_pod_that_neither_knows_holds_with_either(bed):
    bed.pods = (*bed.pods, _pod("ghost", node="chain-1"))
    reasons = {}
    for name, decision in (await bed.decisions(target_duty_cycle="90")).items():
        assert (decision.outcome, decision.desired_replicas) == (Outcome.HELD, 4)
        assert decision.reason == "IncompleteMetrics"
        reasons[name] = decision.message
    assert "ghost: the exporter of node chain-1 reports no duty_cycle" in reasons["exporters"]
    assert "ghost: Prometheus has no nvidia_gpu_duty_cycle" in reasons["prometheus"]


async def test_prometheus_leaves_out_samples_older_than_it_is_told(busy):
    """By default those of 60 s; here all of them, since none is younger than a millisecond."""
    for params, problem in (((), None), ((("lookback_delta", "1ms"),), "the result is empty")):
        settings = PrometheusSettings(url=busy.prometheus.url, params=params)
        async with PrometheusSource(settings) as source:
            asked = ReadingRequest(
                deployment=WEB,
                metrics=(Metric.QUERY,),
                pods=(),
                window_seconds=0,
                query="max(nvidia_gpu_duty_cycle)",
            )
            reading = (await source.read([asked], {})).readings[WEB][Metric.QUERY]
        assert (reading.problem is None) == (problem is None), reading.problem
        assert (problem or "") in (reading.problem or "")


@pytest.mark.parametrize(
    ("query", "outcome", "text"),
    [
        pytest.param(
            'max(nvidia_gpu_duty_cycle{pod_name="one-gpu"})', Outcome.SCALED, "New size: 4", id="up"
        ),
        pytest.param("scalar(vector(25))", Outcome.UNCHANGED, "within the acc", id="a scalar"),
        pytest.param("sum(", Outcome.HELD, "HTTP status 400: bad_data: ", id="no PromQL"),
        pytest.param("sum(nothing)", Outcome.HELD, "the result is empty", id="no series"),
        pytest.param(
            "nvidia_gpu_duty_cycle", Outcome.HELD, "series but must have exactly one", id="many"
        ),
        pytest.param("1/0", Outcome.HELD, "the result is +Inf", id="infinite"),
        pytest.param("up[5m]", Outcome.HELD, "the result is a matrix", id="a range"),
    ],
)
async def test_a_query_of_its_own(bed, query, outcome, text):
    bed.sources = {"prometheus": bed.sources["prometheus"]}
    decision = (await bed.decisions(query=query, target_query="10"))["prometheus"]
    assert (decision.outcome, text in decision.message) == (outcome, True), decision.message
