# SPDX-License-Identifier: Apache-2.0
"""The kubelet's other half: runs the pods that are bound to one simulated node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from scaler.kube.errors import Forbidden
from simulator import podstatus
from simulator.nodeobjects import LOOPBACK
from simulator.podstatus import GPU_MEMORY_ANNOTATION, POD_IP_ANNOTATION, STARTUP_ANNOTATION
from simulator.retrying_client import STRATEGIC_MERGE_PATCH, persist
from simulator.scheduling import container_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaler.kube.client import KubeClient
    from simulator.driver import SimulatedDriver
    from simulator.kubelet import SimulatedKubelet

    JsonObject = dict[str, Any]

log = logging.getLogger(__name__)

# Starts a task that its caller owns.
Spawn = Callable[[Coroutine[Any, Any, None]], None]

_ENDED: Final = frozenset({"Succeeded", "Failed"})


def timestamp() -> str:
    """Return the wall clock as `metav1.Time`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodRunner:
    """One task per pod, from its binding until it is deleted; pods are told apart by uid."""

    def __init__(
        self,
        client: KubeClient,
        spawn: Spawn,
        *,
        driver: SimulatedDriver,
        kubelet: SimulatedKubelet,
        pod_ips: Iterator[str],
        startup_seconds: float,
    ) -> None:
        self._client = client
        self._spawn = spawn
        self._driver = driver
        self._kubelet = kubelet
        self._pod_ips = pod_ips
        self._startup_seconds = startup_seconds
        self._endings: dict[str, asyncio.Event] = {}
        self._memory: dict[str, tuple[frozenset[str], int]] = {}

    def seen(self, pod: JsonObject) -> None:
        """Take note of a pod that is bound to this node."""
        uid = pod["metadata"]["uid"]
        if uid not in self._endings:
            if (pod.get("status") or {}).get("phase") in _ENDED:
                return
            self._endings[uid] = asyncio.Event()
            self._spawn(self._run(pod, self._endings[uid]))
        if pod["metadata"].get("deletionTimestamp"):
            self._endings[uid].set()

    def gone(self, uid: str) -> None:
        """Take note that a pod does not exist any more."""
        if uid in self._endings:
            self._endings[uid].set()

    async def _run(self, pod: JsonObject, ending: asyncio.Event) -> None:
        metadata = pod["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        }
        try:
            try:
                if not ending.is_set() and await self._admit(pod):
                    await self._serve(pod, ending)
            finally:
                self._kubelet.release(metadata["namespace"], metadata["name"])
                self._set_memory(metadata["uid"], None)
            await ending.wait()
            await persist(self._client.delete, _path(pod), body=options)
        except Forbidden as error:
            log.warning(
                "A pod on a simulated node is left alone",
                extra={"pod": _title(pod), "error": str(error)},
            )
            await ending.wait()
        del self._endings[metadata["uid"]]

    async def _admit(self, pod: JsonObject) -> bool:
        """Allocate devices for all containers, or fail the pod as the kubelet does."""
        metadata = pod["metadata"]
        containers = pod["spec"]["containers"]
        self._kubelet.admit(
            metadata["namespace"], metadata["name"], [one["name"] for one in containers]
        )
        for container in containers:
            for resource_name, count in container_requests(container).items():
                if not self._kubelet.allocate(
                    metadata["namespace"], metadata["name"], container["name"], resource_name, count
                ):
                    log.warning(
                        "A pod was bound to a node without a free GPU",
                        extra={"pod": _title(pod)},
                    )
                    await self._patch(pod, podstatus.not_admitted(resource_name, timestamp()))
                    return False
        return True

    async def _serve(self, pod: JsonObject, ending: asyncio.Event) -> None:
        annotations = pod["metadata"].get("annotations") or {}
        # A pod that ran before the simulator was started again keeps its address.
        had = (pod.get("status") or {}).get("podIP")
        pod_ip = had or annotations.get(POD_IP_ANNOTATION) or next(self._pod_ips)
        started_at = timestamp()
        self._set_memory(pod["metadata"]["uid"], pod)
        await self._patch(
            pod, podstatus.started(pod, pod_ip=pod_ip, host_ip=LOOPBACK, now=started_at)
        )
        startup_seconds = self._number(pod, STARTUP_ANNOTATION, self._startup_seconds)
        try:
            async with asyncio.timeout(startup_seconds):
                await ending.wait()
        except TimeoutError:
            await self._patch(pod, podstatus.ready(pod, started_at=started_at, now=timestamp()))
            await ending.wait()

    def _set_memory(self, uid: str, pod: JsonObject | None) -> None:
        """Let the pod's GPU memory show on its devices (None: no more)."""
        before, _ = self._memory.pop(uid, (frozenset(), 0))
        devices = before
        if pod is not None:
            metadata = pod["metadata"]
            used_bytes = int(self._number(pod, GPU_MEMORY_ANNOTATION, 0))
            devices = self._kubelet.uuids_of(metadata["namespace"], metadata["name"])
            self._memory[uid] = (devices, used_bytes)
        for device in devices:
            used = sum(size for held, size in self._memory.values() if device in held)
            self._driver.set_memory_used(device, used)

    def _number(self, pod: JsonObject, annotation: str, default: float) -> float:
        value = podstatus.number(pod, annotation)
        text = podstatus.annotation(pod, annotation)
        if value is None and text is not None:
            log.warning(
                "An annotation is no number of at least 0; its default is used",
                extra={
                    "pod": _title(pod),
                    "annotation": annotation,
                    "value": text,
                    "default": default,
                },
            )
        return default if value is None else value

    async def _patch(self, pod: JsonObject, status: JsonObject) -> None:
        # The uid keeps the status off another pod that has got the same name meanwhile.
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        path = f"{_path(pod)}/status"
        await persist(self._client.patch, path, body, content_type=STRATEGIC_MERGE_PATCH)


def _title(pod: JsonObject) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _path(pod: JsonObject) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
