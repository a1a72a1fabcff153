# SPDX-License-Identifier: Apache-2.0
"""Everything around the controller, with switches for what goes wrong."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.controller.loop import Controller
from scaler.kube.errors import Conflict, NotFound
from scaler.model import (
    DeploymentState,
    Metric,
    MetricReading,
    ObjectRef,
    PodPhase,
    PodState,
    PodValue,
)
from scaler.quantities import milli
from scaler.readings.source import SourceAnswer
from scaler.reporting.metrics import ScalerMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.decision.model import Outcome

NOW = 1000.0
ZEROS = "/api/v1/namespaces/gpu-scaler/configmaps/zeros"


def ref(name: str, namespace: str = "default") -> ObjectRef:
    return ObjectRef(namespace=namespace, name=name)


def deployment(
    name: str = "web", *, namespace: str = "default", replicas: int = 1, **annotations: str
) -> DeploymentState:
    pods = tuple(
        PodState(
            ref=ref(f"{name}-{n}", namespace),
            uid=f"{name}-{n}",
            phase=PodPhase.RUNNING,
            deleting=False,
            ready_since_seconds=0.0,
            node_name="node-1",
            replica_set="rs",
        )
        for n in range(replicas)
    )
    return DeploymentState(
        ref=ref(name, namespace),
        uid=f"uid-{name}",
        annotations={
            "gpu-scaler/enabled": "true",
            "gpu-scaler/max-replicas": "10",
            "gpu-scaler/target-duty-cycle": "40",
        }
        | {f"gpu-scaler/{key.replace('_', '-')}": value for key, value in annotations.items()},
        spec_replicas=replicas,
        pods=pods,
    )


class World:
    """What the controller sees and does."""

    def __init__(
        self, *deployments: DeploymentState, duty_percent: int = 80, dry_run: bool = False
    ) -> None:
        self.states = deployments
        self.duty_percent = duty_percent
        self.fresh = True
        self.leads = True
        self.replicas = {state.ref.name: state.spec_replicas for state in deployments}
        self.stopped: str | None = None
        self.in_the_way: str | None = None
        self.uids: dict[str, str] = {}
        self.failure: Exception | None = None
        self.failures: dict[str, Exception] = {}
        self.scale_failure: Exception | None = None
        self.version = 7
        self.before_patch: list[int] = []
        self.patched: list[tuple[str, int]] = []
        self.writes: list[str] = []
        self.mark_failures: dict[str, Exception] = {}
        self.after_mark: Callable[[], None] = lambda: None
        self.duty_of: dict[str, float] = {}
        self.events: list[tuple[str, str, str]] = []
        self.asked: list[str] = []
        self.queries: list[str | None] = []
        self.answers_queries = False
        self.query_total: float | None = 0
        self.now = NOW
        self.unix_seconds: float = 0.0
        self.device_count = 1
        self.zeros: dict[str, str] | None = None
        self.zeros_failure: Exception | None = None
        self.broken_reading: str | None = None
        self.mutated: dict[int, int] = {}
        """What a webhook makes of the counts that are asked for."""
        self.metrics = ScalerMetrics("test")
        self.controller = Controller(
            client=self,  # type: ignore[arg-type]
            state=self,  # type: ignore[arg-type]
            source=self,
            events=self,  # type: ignore[arg-type]
            leadership=self,
            metrics=self.metrics,
            scale_to_zero=ScaleToZeroStore(self, namespace="gpu-scaler", name="zeros"),  # type: ignore[arg-type]
            dry_run=dry_run,
            clock=lambda: self.now,
            wall_clock=lambda: self.unix_seconds,
        )

    def stop_reason(self) -> str | None:
        return self.stopped

    async def confirm(self) -> str | None:
        return self.stopped or self.in_the_way

    def is_leader(self, now_seconds: float) -> bool:
        assert now_seconds == self.now
        return self.leads

    def is_fresh(self, _: float) -> bool:
        return self.fresh

    def deployments(self) -> tuple[DeploymentState, ...]:
        return self.states

    def exporter_endpoints(self) -> dict[str, object]:
        return {}

    def marked_pods(self) -> list[PodState]:
        return [pod for state in self.states for pod in state.pods if pod.marked]

    def forget(self) -> None:
        self.asked = []

    async def read(self, requests: Any, _: object) -> SourceAnswer:
        self.asked = [request.deployment.name for request in requests]
        self.queries = [request.query for request in requests]
        readings: Any = {
            request.deployment: "not a mapping"
            if request.deployment.name == self.broken_reading
            else {
                Metric.DUTY_CYCLE: MetricReading(
                    metric=Metric.DUTY_CYCLE,
                    values={
                        pod.ref: PodValue(
                            value_milli=round(
                                1000 * self.duty_of.get(pod.ref.name, self.duty_percent)
                            ),
                            sampled_seconds=self.now,
                            device_count=self.device_count,
                        )
                        for pod in request.pods
                    },
                ),
                Metric.QUERY: MetricReading(
                    metric=Metric.QUERY,
                    values={
                        request.deployment: PodValue(
                            value_milli=milli(Fraction(self.query_total)), sampled_seconds=self.now
                        )
                    }
                    if self.query_total is not None
                    else {},
                ),
            }
            for request in requests
        }
        return SourceAnswer(readings=readings, succeeded=3, failed=1, max_age_seconds=4.0)

    async def post(self, _: str, body: dict[str, Any], **__: object) -> dict[str, Any]:
        self.zeros = body["data"]
        return {}

    async def get(self, path: str, **_: object) -> dict[str, Any]:
        if path == ZEROS:
            return {"data": self._found_zeros()}
        if self.scale_failure is not None:
            raise self.scale_failure
        name = path.split("/")[-2]
        return {
            "metadata": {
                "resourceVersion": str(self.version),
                "uid": self.uids.get(name, f"uid-{name}"),
            },
            "spec": {"replicas": self.replicas[name]},
        }

    def _found_zeros(self) -> dict[str, str]:
        if self.zeros_failure is not None:
            raise self.zeros_failure
        if self.zeros is None:
            raise NotFound(
                request="GET",
                status=404,
                reason="NotFound",
                message="no such thing",
                body={"details": {"name": "zeros", "kind": "configmaps"}},
            )
        return self.zeros

    async def patch(self, path: str, body: dict[str, Any], **_: object) -> dict[str, Any]:
        if path == ZEROS:
            merged = self._found_zeros() | body["data"]
            self.zeros = {key: value for key, value in merged.items() if value is not None}
            return {}
        name = path.split("/")[-2]
        if "/pods/" in path:
            self.writes.append(f"{'mark' if body['metadata']['annotations'] else 'unmark'} {name}")
            if (failure := self.mark_failures.get(name)) is not None:
                raise failure
            self.after_mark()
            return {}
        self.writes.append(f"scale {name}")
        assert body["metadata"] == {"resourceVersion": str(self.version)}
        if self.before_patch:
            # Somebody else writes between the reading of the scale and the patch.
            self.replicas[name] = self.before_patch.pop(0)
            self.version += 1
            raise Conflict(request="PATCH", status=409, reason="Conflict", message="modified")
        failure = self.failures.get(name, self.failure)
        if failure is not None:
            raise failure
        asked = body["spec"]["replicas"]
        self.replicas[name] = self.mutated.get(asked, asked)
        self.patched.append((name, asked))
        return {"spec": {"replicas": self.replicas[name]}}

    def record(self, about: ObjectRef, _: str, *, type_: str, reason: str, message: str) -> None:
        assert message
        self.events.append((about.name, type_, reason))

    def outcome(self, name: str = "web") -> tuple[Outcome, str]:
        decision = self.controller.status_store.records[ref(name)].decision
        return decision.outcome, decision.reason
