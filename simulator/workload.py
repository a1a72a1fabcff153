# SPDX-License-Identifier: Apache-2.0
"""A serving workload under load: requests per second in, duty cycles of GPUs out.

Press pods offer requests, serving pods spend GPU time on them. Annotations on pods say how much;
traffic stays within its namespace and is spread evenly over the serving pods that are Ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from simulator.podstatus import annotation, is_ready, number

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

    JsonObject = dict[str, Any]

log = logging.getLogger(__name__)

OFFERED_ANNOTATION: Final = "simulator/requests-per-second"
GPU_SECONDS_ANNOTATION: Final = "simulator/gpu-seconds-per-request"
_FULL_PERCENT: Final = 100.0
INTERVAL_SECONDS: Final = 0.2
"""So often the load is applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPod:
    """A pod that serves; `gpu_seconds_per_request` is what one request costs it."""

    namespace: str
    name: str
    gpu_seconds_per_request: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Where the requests go: totals, and the duty cycle of each serving pod."""

    offered_requests_per_second: float = 0.0
    served_requests_per_second: float = 0.0
    saturated_pods: int = 0
    duty_cycle_percent: Mapping[ServingPod, float]


def spread(
    offered_requests_per_second: Mapping[str, float], serving: Iterable[ServingPod]
) -> Traffic:
    """Spread each namespace's requests over its serving pods.

    A pod whose share costs more than one GPU second per second is saturated: it stays at 100 and
    serves what it can.
    """
    pods = tuple(serving)
    pods_of: defaultdict[str, int] = defaultdict(int)
    for pod in pods:
        pods_of[pod.namespace] += 1
    duty: dict[ServingPod, float] = {}
    served = 0.0
    saturated = 0
    for pod in pods:
        rate = offered_requests_per_second.get(pod.namespace, 0.0) / pods_of[pod.namespace]
        busy = rate * pod.gpu_seconds_per_request
        duty[pod] = min(_FULL_PERCENT, busy * 100)
        saturated += busy >= 1
        served += rate / max(busy, 1.0)
    return Traffic(
        offered_requests_per_second=sum(offered_requests_per_second.values()),
        served_requests_per_second=served,
        saturated_pods=saturated,
        duty_cycle_percent=duty,
    )


def device_loads(
    duty_cycle_percent: Mapping[ServingPod, float], held: Mapping[ServingPod, Iterable[str]]
) -> dict[str, float]:
    """Return the load of each device: what its pods ask of it together, at most 100 percent."""
    loads: defaultdict[str, float] = defaultdict(float)
    for pod, percent in duty_cycle_percent.items():
        for uuid in held.get(pod, ()):
            loads[uuid] = min(_FULL_PERCENT, loads[uuid] + percent)
    return dict(loads)


def offered(pods: Iterable[JsonObject]) -> dict[str, float]:
    """Return the requests per second of the ready press pods of each namespace."""
    rates: defaultdict[str, float] = defaultdict(float)
    for pod in pods:
        rate = number(pod, OFFERED_ANNOTATION)
        if rate is not None and is_ready(pod):
            rates[pod["metadata"]["namespace"]] += rate
    return dict(rates)


def serving_pods(pods: Iterable[JsonObject]) -> list[ServingPod]:
    """Return the ready pods that say what a request costs them."""
    return [
        ServingPod(
            namespace=pod["metadata"]["namespace"],
            name=pod["metadata"]["name"],
            gpu_seconds_per_request=cost,
        )
        for pod in pods
        if (cost := number(pod, GPU_SECONDS_ANNOTATION)) is not None and is_ready(pod)
    ]


def problems(pods: Iterable[JsonObject]) -> list[str]:
    """Return a sentence for each annotation that is no number; such a pod has no traffic."""
    return [
        f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}: annotation {name} is "
        f"{text!r}; it must be a number of at least 0, and the pod is left out until it is"
        for pod in pods
        for name in (OFFERED_ANNOTATION, GPU_SECONDS_ANNOTATION)
        if (text := annotation(pod, name)) is not None and number(pod, name) is None
    ]


class Cluster(Protocol):
    """What the workload needs of the simulated nodes (`simulator.nodes`), or of a test's own."""

    def pods(self) -> list[JsonObject]:
        """Return all pods as last seen."""

    def devices_of(self, namespace: str, pod: str) -> frozenset[str]:
        """Return the UUIDs of the devices that a pod holds."""

    def set_loads(self, percent: Mapping[str, float]) -> None:
        """Set the load of these devices by UUID, and of all others to 0."""


class Workload:
    """Applies the load of the press pods to the GPUs of the serving pods, again and again."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        noise: random.Random | None = None,
        noise_percent: float = 1.0,
    ) -> None:
        self._cluster = cluster
        self._noise = noise
        self._noise_percent = noise_percent
        self._problems: frozenset[str] = frozenset()
        self.traffic = Traffic(duty_cycle_percent={})

    @property
    def offered(self) -> float:
        """The requests per second of all press pods."""
        return self.traffic.offered_requests_per_second

    @property
    def busy_percent(self) -> float:
        """The mean duty cycle of the serving pods, as it was set."""
        percents = self.traffic.duty_cycle_percent.values()
        return sum(percents) / len(percents) if percents else 0.0

    def apply(self) -> Traffic:
        """Set all loads once and return what they were made of."""
        pods = self._cluster.pods()
        self._report(problems(pods))
        self.traffic = spread(offered(pods), serving_pods(pods))
        held = {
            pod: self._cluster.devices_of(pod.namespace, pod.name)
            for pod in self.traffic.duty_cycle_percent
        }
        loads = device_loads(self.traffic.duty_cycle_percent, held)
        self._cluster.set_loads({uuid: self._noisy(load) for uuid, load in loads.items()})
        return self.traffic

    async def run(self) -> None:
        """Apply until cancelled."""
        while True:
            self.apply()
            await asyncio.sleep(INTERVAL_SECONDS)

    def _report(self, found: list[str]) -> None:
        for problem in found:
            if problem not in self._problems:
                log.warning("A pod has no traffic", extra={"error": problem})
        self._problems = frozenset(found)

    def _noisy(self, percent: float) -> float:
        """A busy GPU wavers; an idle or a full one does not."""
        if self._noise is None or not 0 < percent < _FULL_PERCENT:
            return percent
        return min(_FULL_PERCENT, max(0.0, self._noise.gauss(percent, self._noise_percent)))
