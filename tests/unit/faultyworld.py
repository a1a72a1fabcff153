# SPDX-License-Identifier: Apache-2.0
"""A cluster around the real controller, with every fault that the safety properties are about.

Real are the controller, the decisions, the exporters' source with its parser, the decoding of pods
and the election. Made up are the API server, the watch, the exporters' HTTP and the time.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scaler.cluster.decode import Instant, decode_pod
from scaler.cluster.pod_facts import DELETION_COST, MARK
from scaler.decision.victims import MARK_COST
from scaler.kube.errors import Conflict, Unreachable, from_status
from scaler.model import DeploymentState, ExporterEndpoint, ObjectRef
from scaler.readings.exporters.reader import ScrapeError
from tests.unit.faultyworkloads import (
    NAMESPACE,
    NODES,
    PLACING_SECONDS,
    READY_AGE_SECONDS,
    GpuPod,
    NodeFault,
    Patch,
    PatchFault,
    WatchFault,
    Workload,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.cluster.objects import Pod
    from scaler.model import PodState
    from tests.virtualtime import VirtualLoop

    JsonObject = dict[str, Any]

EPOCH_SECONDS = 1_750_000_000.0
BOOT_SECONDS = 10_000.0


class World:
    """The cluster; `patched` is called for every count that the scaler wrote."""

    def __init__(self, loop: VirtualLoop, patched: Callable[[Patch], None]) -> None:
        self.loop = loop
        self.patched = patched
        self.monotonic_offset = BOOT_SECONDS
        self.wall_offset = EPOCH_SECONDS
        self.workloads: dict[str, Workload] = {}
        self.node_faults: dict[str, NodeFault] = dict.fromkeys(NODES, "none")
        self.watch_fault: WatchFault = "none"
        self.gpus_are_free = True
        self.lease: JsonObject | None = None
        self.lease_fault: PatchFault = "none"
        self.loops = 0
        self.loop_began_seconds = self.loop_began_wall_seconds = 0.0
        self.before_mark: Callable[[Workload, bool], None] = lambda *_: None
        self.view: tuple[DeploymentState, ...] = ()
        self.view_lags = False
        self.served: dict[str, NodeFault] = {}
        self.decoded: dict[str, Pod] = {}

    def monotonic(self) -> float:
        return self.loop.time() + self.monotonic_offset

    def wall(self) -> float:
        return self.loop.time() + self.wall_offset

    def add(self, name: str, replicas: int, annotations: dict[str, str]) -> None:
        self.workloads[name] = workload = Workload(name, annotations, 0, f"{name}-1")
        self.set_replicas(workload, replicas)

    def set_replicas(self, workload: Workload, replicas: int) -> None:
        """Do what the Deployment's and the scheduler's controllers do, at once."""
        workload.replicas = replicas
        workload.version += 1
        placed = self.loop.time() + PLACING_SECONDS if self.gpus_are_free else None
        while len(workload.pods) < replicas:
            node = NODES[workload.made % len(NODES)]
            name = f"{workload.uid}-{workload.made}"
            workload.pods.append(GpuPod(name, node, placed, self.loop.time()))
            workload.made += 1
        # The ReplicaSet takes marked pods first, and the youngest of the others.
        pods = workload.pods
        order = sorted(range(len(pods)), key=lambda number: (not pods[number].marked, -number))
        stay = sorted(order[max(0, len(pods) - replicas) :])
        workload.pods = [pods[number] for number in stay]

    def overload(self, workload: Workload, share: float) -> None:
        """Turn this share of the pods that serve NotReady, and the others Ready again."""
        now = self.loop.time()
        for number, pod in enumerate(workload.pods):
            if number < share * len(workload.pods):
                if pod.is_ready(now):
                    pod.overloaded_seconds = now
            elif pod.overloaded_seconds is not None:
                pod.overloaded_seconds, pod.recovered_seconds = None, now

    def free_gpus(self, are_free: bool) -> None:
        self.gpus_are_free = are_free
        for workload in self.workloads.values() if are_free else ():
            for pod in workload.pods:
                if pod.placed_seconds is None:
                    pod.placed_seconds = self.loop.time() + PLACING_SECONDS

    def make_anew(self, workload: Workload) -> None:
        """Delete the Deployment and make another one of the same name."""
        replicas, generation = workload.replicas, int(workload.uid.rpartition("-")[2])
        workload.uid = f"{workload.name}-{generation + 1}"
        workload.pods.clear()
        self.set_replicas(workload, replicas)

    # What the controller sees of the cluster (scaler.cluster.state).

    def is_fresh(self, _: float) -> bool:
        return self.watch_fault != "lost"

    def deployments(self) -> tuple[DeploymentState, ...]:
        self.loops += 1
        self.loop_began_seconds, self.loop_began_wall_seconds = self.loop.time(), self.wall()
        self.view_lags = self.watch_fault == "lagging" and bool(self.view)
        if not self.view_lags:
            self.view = tuple(self._state(one) for one in self.workloads.values())
        return self.view

    def marked_pods(self) -> list[PodState]:
        return [pod for state in self.view for pod in state.pods if pod.marked]

    def exporter_endpoints(self) -> Mapping[str, ExporterEndpoint]:
        return {
            node: ExporterEndpoint(
                url=node, pod=ObjectRef(namespace="gpu-exporter", name=node), ready=True
            )
            for node in NODES
        }

    def _state(self, workload: Workload) -> DeploymentState:
        now = Instant(wall_seconds=self.wall(), monotonic_seconds=self.monotonic())
        pods = []
        for one in workload.pods:
            pod = decode_pod(self._raw_pod(workload, one), self.decoded.get(one.name), now)
            assert pod is not None
            self.decoded[one.name] = pod
            pods.append(pod.state)
        return DeploymentState(
            ref=workload.ref,
            uid=workload.uid,
            annotations=dict(workload.annotations),
            spec_replicas=workload.replicas,
            pods=tuple(pods),
            owned_by=workload.owned_by,
        )

    def _raw_pod(self, workload: Workload, pod: GpuPod) -> JsonObject:
        now, placed = self.loop.time(), pod.placed_seconds
        conditions: list[JsonObject] = []
        phase = "Pending"
        if placed is None:
            conditions.append(
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                    "lastTransitionTime": _timestamp(pod.made_seconds),
                }
            )
        elif now >= placed:
            phase, ready = "Running", pod.is_ready(now)
            since = pod.ready_seconds() if ready else pod.overloaded_seconds or placed
            conditions.append(
                {"type": "Ready", "status": str(ready), "lastTransitionTime": _timestamp(since)}
            )
        return {
            "metadata": {
                "name": pod.name,
                "namespace": NAMESPACE,
                "uid": pod.name,
                "ownerReferences": [{"kind": "ReplicaSet", "uid": workload.uid, "controller": 1}],
                "annotations": {DELETION_COST: str(MARK_COST), MARK: "true"} if pod.marked else {},
            },
            "spec": {
                "nodeName": pod.node if phase == "Running" else None,
                "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            },
            "status": {"phase": phase, "conditions": conditions},
        }

    # What the exporters answer (scaler.readings.exporters.reader).

    async def text(self, endpoint: ExporterEndpoint | None, _: object) -> str:
        assert endpoint is not None
        node = endpoint.url
        fault = self.served[node] = self.node_faults[node]
        if fault == "silent":
            await asyncio.sleep(2)
        if fault in ("down", "silent"):
            raise ScrapeError(f"gave no answer ({node})")
        return self._exposition(node, fault)

    def _exposition(self, node: str, fault: NodeFault) -> str:
        if fault == "garbage":
            return "<html>\x00 502 Bad Gateway{{{"
        age = 100 if fault == "stale" else 0.5
        lines = [
            f"nvidia_gpu_exporter_snapshot_age_seconds {age}",
            "nvidia_gpu_exporter_interval_seconds 1",
        ]
        for workload in self.workloads.values():
            held = [pod for pod in workload.pods if pod.node == node]
            if fault == "partial":
                held = held[1:]
            for pod in held if fault != "empty" else []:
                impossible = {"nan": "NaN", "huge": "1e308"}
                duty = impossible.get(fault) or str(self.duty_percent(workload, pod))
                labels = (
                    f'minor_number="0",uuid="GPU-{pod.name}",name="H100",node_name="{node}",'
                    f'namespace_name="{NAMESPACE}",pod_name="{pod.name}",container_name="main",'
                    'allocate_mode="exclusive"'
                )
                lines += [
                    f"nvidia_gpu_duty_cycle{{{labels}}} {duty}",
                    f"nvidia_gpu_memory_used_bytes{{{labels}}} 24e9",
                    f"nvidia_gpu_memory_total_bytes{{{labels}}} 80e9",
                ]
        return "\n".join(lines) + "\n"

    def duty_percent(self, workload: Workload, pod: GpuPod) -> int:
        """The load spreads over the pods that are ready; a pod that loads is idle.

        One that is overloaded has more to do than it can.
        """
        now = self.loop.time()
        if pod.overloaded_seconds is not None:
            return 100 if workload.load_percent > 0 else 0
        ready = sum(other.is_ready(now) for other in workload.pods)
        return min(100, int(workload.load_percent / ready)) if pod.is_ready(now) else 0

    def is_known(self, workload: Workload) -> bool:
        """Whether the last reading says everything about the pods that serve for long enough.

        Nobody can know of a pod that it became Ready after what a watch that lags shows.
        """
        now = self.loop_began_seconds
        living = {pod.name: pod for pod in workload.pods}
        [seen] = [state for state in self.view if state.ref == workload.ref]
        for state in seen.pods:
            pod = living.get(state.ref.name)
            if pod is None:
                if state.ready_since_seconds is not None:
                    return False
            elif self.view_lags and state.ready_since_seconds is None:
                continue
            elif pod.is_ready(now, READY_AGE_SECONDS) and not self._is_served(workload, pod):
                return False
        return not workload.warned

    def _is_served(self, workload: Workload, pod: GpuPod) -> bool:
        fault = self.served.get(pod.node)
        if fault == "partial":
            return pod is not next(one for one in workload.pods if one.node == pod.node)
        return fault == "none"

    # What the API server answers (scaler.kube.client).

    async def get(self, path: str, *, timeout_seconds: float = 10.0, **_: object) -> JsonObject:
        if "/leases/" in path:
            return await self._answer(self.lease_fault, timeout_seconds, self._read_lease)
        if "/configmaps/" in path:
            return await self._answer("none", timeout_seconds, _no_zeros)
        workload = self._scaled(path)
        fault = workload.patch_fault if workload.patch_fault == "slow" else "none"
        return await self._answer(
            fault,
            timeout_seconds,
            lambda: {
                "metadata": {"resourceVersion": str(workload.version), "uid": workload.uid},
                "spec": {"replicas": workload.replicas} if workload.replicas else {},
            },
        )

    async def patch(
        self, path: str, body: JsonObject, *, timeout_seconds: float = 10.0, **_: object
    ) -> JsonObject:
        if "/pods/" in path:
            return await self._mark(path, body, timeout_seconds)
        workload = self._scaled(path)

        def write() -> JsonObject:
            if body["metadata"]["resourceVersion"] != str(workload.version):
                raise from_status(request="PATCH", status=409, body={"reason": "Conflict"})
            change = Patch(
                workload=workload.name,
                before=workload.replicas,
                after=body["spec"]["replicas"],
                loop=self.loops,
                at_seconds=self.loop.time(),
            )
            self.patched(change)
            self.set_replicas(workload, change.after)
            return {}

        if workload.patch_fault == "conflict":
            workload.version += 1
        return await self._answer(workload.patch_fault, timeout_seconds, write)

    async def _mark(self, path: str, body: JsonObject, timeout_seconds: float) -> JsonObject:
        name, is_mark = path.split("/")[-2], bool(body["metadata"]["annotations"])
        workload = self.workloads[name.partition("-")[0]]
        self.before_mark(workload, is_mark)

        def write() -> JsonObject:
            for pod in workload.pods:
                if pod.name == name:
                    pod.marked = is_mark
                    return {}
            raise from_status(request="PATCH", status=404, body={"reason": "NotFound"})

        return await self._answer(workload.patch_fault, timeout_seconds, write)

    async def post(self, _: str, body: JsonObject, **__: object) -> JsonObject:
        return await self._answer(self.lease_fault, 10.0, lambda: self._write_lease(body))

    async def put(self, _: str, body: JsonObject, **__: object) -> JsonObject:
        return await self._answer(self.lease_fault, 10.0, lambda: self._write_lease(body))

    async def _answer(
        self, fault: PatchFault, timeout_seconds: float, answer: Callable[[], JsonObject]
    ) -> JsonObject:
        await asyncio.sleep(1.5 if fault == "slow" else 0.01)
        if fault == "broken":
            msg = "not what the API promises"
            raise KeyError(msg)
        if fault == "refused":
            raise from_status(request="PATCH", status=403, body={"reason": "Forbidden"})
        if fault in ("lost", "answer lost"):
            if fault == "answer lost":
                answer()
            await asyncio.sleep(timeout_seconds)
            raise Unreachable(request="-", status=None, reason="Timeout", message="no answer")
        return answer()

    def _scaled(self, path: str) -> Workload:
        return self.workloads[path.split("/")[-2]]

    def _read_lease(self) -> JsonObject:
        if self.lease is None:
            raise from_status(request="GET", status=404, body={"reason": "NotFound"})
        return self.lease

    def _write_lease(self, body: JsonObject) -> JsonObject:
        version = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion") != version:
            raise Conflict(request="PUT", status=409, reason="Conflict", message="modified")
        written = {"resourceVersion": str(int(version or 0) + 1)}
        self.lease = {**body, "metadata": body["metadata"] | written}
        return self.lease

    def edit_lease(self, annotations: dict[str, str] | None = None, **spec: str) -> None:
        """Write the Lease from outside."""
        assert self.lease is not None
        version = str(int(self.lease["metadata"]["resourceVersion"]) + 1)
        metadata = self.lease["metadata"] | {"resourceVersion": version}
        if annotations is not None:
            metadata |= {"annotations": annotations}
        self.lease = {**self.lease, "metadata": metadata, "spec": self.lease["spec"] | spec}

    def holder(self) -> str:
        """Who holds the Lease, as the API server knows it."""
        return "" if self.lease is None else self.lease["spec"]["holderIdentity"]


def _no_zeros() -> JsonObject:
    raise from_status(request="GET", status=404, body={"reason": "NotFound"})


def _timestamp(true_seconds: float) -> str:
    return datetime.fromtimestamp(EPOCH_SECONDS + true_seconds, UTC).isoformat()
