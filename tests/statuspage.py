# SPDX-License-Identifier: Apache-2.0
"""The scaler's status server over a store that a test fills, on a real socket."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scaler.decision.model import (
    Decision,
    LeftOutPod,
    MetricProposal,
    Outcome,
    Reason,
)
from scaler.model import ExporterEndpoint, Metric, MetricTarget, ObjectRef, PodValue, ScalingPolicy
from scaler.policy.parse import parse_policy
from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.gpus import GpuAnswer, GpuSample
from scaler.reporting.metrics import ScalerMetrics
from scaler.reporting.status_store import LoopReport, RecordedEvent, StatusStore
from scaler.web.gpu_detail_reader import GpuDetailReader, MapReaders
from scaler.web.gpu_reader import GpuReader
from scaler.web.idle_gpus import GpuKnowledge
from scaler.web.page import About, StatusPage
from scaler.web.server import LIMITS, StatusServer
from toolkit.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from scaler.model import DeploymentState

LOOP_SECONDS = 1.0
IDENTITY = "gpu-scaler-7d9c-a"
NOTHING_SEEN = GpuKnowledge(lambda *_: None, lambda _: None)


def ref(name: str, namespace: str = "default") -> ObjectRef:
    return ObjectRef(namespace=namespace, name=name)


def policy(**annotations: str) -> ScalingPolicy:
    given = {"enabled": "true", "max_replicas": "10", "target_duty_cycle": "40"} | annotations
    parsed = parse_policy(
        {f"gpu-scaler/{name.replace('_', '-')}": value for name, value in given.items()},
        query_supported=True,
    )
    assert isinstance(parsed, ScalingPolicy), parsed
    return parsed


def decision(
    name: str = "web",
    *,
    namespace: str = "default",
    replicas: int = 2,
    desired: int | None = None,
    outcome: Outcome = Outcome.UNCHANGED,
    reason: str = "DesiredWithinRange",
    message: str = "the desired count is within the acceptable range",
    duty_percent: float | None = 36.0,
    left_out: Mapping[str, str] | None = None,
    scaling: ScalingPolicy | None = None,
    **others: Any,
) -> Decision:
    """Return a decision with a value for each pod, all of them alike."""
    scaling = scaling or policy()
    target: MetricTarget = scaling.targets[0]
    values = {}
    if duty_percent is not None:
        values = {
            ref(f"{name}-5d8f6c7b9d-{n:05d}", namespace): PodValue(
                value_milli=int(duty_percent * 1000), sampled_seconds=99.0
            )
            for n in range(replicas)
        }
    proposal = MetricProposal(
        metric=Metric.DUTY_CYCLE,
        target_milli=target.average_value_milli,
        replicas=None if duty_percent is None else replicas if desired is None else desired,
        mean_milli=None if duty_percent is None else int(duty_percent * 1000),
        values=values,
        left_out=tuple(
            LeftOutPod(pod=ref(pod, namespace), reason=why) for pod, why in (left_out or {}).items()
        ),
        problem="no exporter answered" if duty_percent is None else None,
    )
    parts: dict[str, Any] = {
        "policy": scaling,
        "proposals": (proposal,),
        "proposed": proposal.replicas,
    }
    return Decision(
        ref=ref(name, namespace),
        current_replicas=replicas,
        desired_replicas=replicas if desired is None else desired,
        outcome=outcome,
        reason=Reason(reason),
        message=message,
        at_seconds=100.0,
        **(parts | others),
    )


def refused(name: str, message: str = "not scaled until the annotations are corrected") -> Decision:
    return Decision(
        ref=ref(name),
        current_replicas=1,
        desired_replicas=1,
        outcome=Outcome.REFUSED,
        reason=Reason.INVALID_ANNOTATION,
        message=message,
        at_seconds=100.0,
    )


def recorded_event(
    name: str, message: str, at: float, *, warning: bool = False, count: int = 1
) -> RecordedEvent:
    return RecordedEvent(
        ref=ref(name),
        warning=warning,
        reason="InvalidAnnotation" if warning else "SuccessfulRescale",
        message=message,
        first_unix_seconds=at,
        last_unix_seconds=at,
        count=count,
    )


@dataclass(slots=True)
class Scene:
    """What there is to see; it also stands for the controller and for the source of GPUs."""

    status_store: StatusStore = field(default_factory=StatusStore)
    holding: str | None = None
    stopped: str | None = None
    leader: str | None = IDENTITY
    unready: str | None = None
    source: str = "exporters"
    grafana_url: str = ""
    deployments: Sequence[DeploymentState] = ()
    seen: GpuKnowledge = NOTHING_SEEN
    samples: Mapping[str, Sequence[GpuSample]] = field(default_factory=dict)
    """Duty cycles by node."""
    details: Mapping[str, Sequence[GpuSample]] = field(default_factory=dict)
    """Samples of all nodes by other families."""
    failed_nodes: Mapping[str, str] = field(default_factory=dict)
    failed_families: Mapping[str, str] = field(default_factory=dict)
    asked: list[Collection[str]] = field(default_factory=list)
    detailed: list[Sequence[str]] = field(default_factory=list)

    def decide(self, *decisions: Decision, at: float | None = None, failed: int = 0) -> None:
        """Put one loop's decisions on the store, those of now unless said otherwise."""
        self.status_store.record(
            decisions,
            LoopReport(
                ended_unix_seconds=time.time() if at is None else at,
                succeeded=5 - failed,
                failed=failed,
                max_age_seconds=0.8,
            ),
        )

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        pass

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        if DUTY_CYCLE not in next(iter(wanted.values())):
            self.detailed.append(sorted(wanted))
            return GpuAnswer(
                samples={
                    family: [one for one in some if one.node in wanted]
                    for family, some in self.details.items()
                },
                failed_nodes={n: why for n, why in self.failed_nodes.items() if n in wanted},
            )
        self.asked.append(wanted)
        nodes = self.samples if self.source == "prometheus" else wanted
        samples = [one for node in nodes for one in self.samples.get(node, ())]
        return GpuAnswer(
            samples={DUTY_CYCLE: samples},
            failed_nodes={n: why for n, why in self.failed_nodes.items() if n in wanted},
            failed_families=self.failed_families,
        )

    async def read_past(self, *_: object, **__: object) -> Sequence[GpuSample]:
        return ()

    def endpoints(self) -> Mapping[str, ExporterEndpoint]:
        names = {*self.samples, *self.failed_nodes}
        return {
            name: ExporterEndpoint(url="http://127.0.0.1:1/metrics", pod=ref("e"), ready=True)
            for name in names
        }

    def reader(self) -> GpuReader:
        return GpuReader(self, self.endpoints, by_node=self.source == "exporters")

    def detail_reader(self) -> GpuDetailReader:
        return GpuDetailReader(self, by_node=self.source == "exporters")


def gpu(node: str, number: int, duty: float, pod: ObjectRef | None = None) -> GpuSample:
    uuid = f"GPU-{node}-{number}"
    model = "NVIDIA H100 80GB HBM3"
    return GpuSample(node, pod, uuid, duty, time.monotonic(), 3600.0, model)


def application(
    scene: Scene, reader: GpuReader, metrics: ScalerMetrics, details: GpuDetailReader | None = None
):
    page = StatusPage(
        controller=scene,  # type: ignore[arg-type]
        about=About(
            version="0.1.0",
            source=scene.source,
            interval_seconds=LOOP_SECONDS,
            grafana_url=scene.grafana_url,
        ),
        identity=IDENTITY,
        leader=lambda: scene.leader,
        not_ready_because=lambda: scene.unready,
        deployments=lambda: scene.deployments,
        readers=MapReaders(gpus=reader, details=details or scene.detail_reader()),
        seen=scene.seen,
    )
    return StatusServer(
        controller=scene,  # type: ignore[arg-type]
        metrics=metrics,
        not_ready_because=lambda: scene.unready,
        not_alive_because=lambda: None,
        page=page,
    ).application()


@asynccontextmanager
async def status_page(
    scene: Scene, *, host: str = "127.0.0.1", port: int = 0, config_file: str = "", **limits: Any
) -> AsyncIterator[str]:
    """Serve the scene while the context lasts and yield its URL."""

    reader, details = scene.reader(), scene.detail_reader()
    metrics = ScalerMetrics("test")
    server = WebServer(
        host=host,
        port=port,
        limits=replace(LIMITS, **limits),
        config_file=config_file,
        on_client_fault=metrics.client_errors.inc,
    )
    async with (
        server.opened(application(scene, reader, metrics, details)),
        asyncio.TaskGroup() as group,
    ):
        running = [group.create_task(one()) for one in (reader.run, details.run, server.run)]
        try:
            yield f"{server.scheme}://127.0.0.1:{server.addresses[0][1]}"
        finally:
            for one in running:
                one.cancel()
