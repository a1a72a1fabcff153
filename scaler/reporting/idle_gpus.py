# SPDX-License-Identifier: Apache-2.0
"""Pure: since when each GPU is idle or free, and GPU-seconds idle by workload.

A GPU is idle between two readings if its duty cycle is 0 in both and the same pods hold it. Each of
several pods that share a GPU has an equal part of that time. Between readings that are too far
apart, nothing is known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.budgets import IDLE_NAMESPACES, IDLE_WORKLOADS, IDLE_WORKLOADS_OF_NAMESPACE
from scaler.model import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scaler.readings.gpus import GpuSample

OTHERS = ObjectRef(namespace="", name="(other)")
"""Stands for all workloads beyond the budgets."""
FORGET_AFTER_SECONDS = 3600.0
"""How long a workload that holds no GPU keeps its count: longer than any query looks back."""


@dataclass(slots=True)
class _LastReading:
    """A GPU at its last reading, and since when it has had the same pods and been (not) idle."""

    sampled_seconds: float
    pods: tuple[ObjectRef, ...]
    is_idle: bool
    since_seconds: float


@dataclass(slots=True)
class _Count:
    seconds: float
    held_seconds: float
    """When the workload was last seen to hold a GPU (monotonic)."""


class IdleGpus:
    """Takes readings of GPUs and adds up the time in which they were held and idle."""

    def __init__(self, *, longest_gap_seconds: float) -> None:
        """Readings further apart than this say nothing about the time between them."""
        self.longest_gap_seconds = longest_gap_seconds
        self._gpus: dict[tuple[str, str], _LastReading] = {}
        self._counts: dict[ObjectRef, _Count] = {}
        self._others: set[ObjectRef] = set()
        self._others_of: Counter[str] = Counter()
        self._namespaces = 0
        self.is_full = False

    @property
    def seconds(self) -> Mapping[ObjectRef, float]:
        """GPU-seconds idle by workload."""
        return {workload: count.seconds for workload, count in self._counts.items()}

    def since_seconds(self, node: str, uuid: str) -> float | None:
        """Return since when (monotonic) a GPU is seen as it is now: the same pods, idle or not."""
        seen = self._gpus.get((node, uuid))
        return None if seen is None else seen.since_seconds

    def observe(
        self,
        samples: Iterable[GpuSample],
        *,
        opted_in: Callable[[ObjectRef], ObjectRef | None],
        other: Callable[[ObjectRef], ObjectRef | None],
    ) -> None:
        """Take duty cycles; all samples of one GPU must be in the same call.

        `opted_in` returns the workload of a pod that always has its own count, `other` that of a
        pod which has one if there is room. Pods without either are not counted.
        """
        gpus: defaultdict[tuple[str, str], list[GpuSample]] = defaultdict(list)
        for sample in samples:
            gpus[sample.node, sample.uuid].append(sample)
        for key, some in gpus.items():
            idle_seconds = self._observe_gpu(key, some)
            if idle_seconds is None:
                continue
            pods = self._gpus[key].pods
            for pod in pods:
                count = self._count_of(pod, opted_in, other)
                if count is not None:
                    count.seconds += idle_seconds / len(pods)
                    count.held_seconds = max(count.held_seconds, some[0].sampled_seconds)

    def interrupt(self) -> None:
        """Know nothing of any GPU until its next reading; counts stay."""
        self._gpus.clear()

    def forget(self, now_seconds: float) -> None:
        """Drop GPUs without a recent reading, and workloads that hold no GPU any more."""
        oldest = now_seconds - self.longest_gap_seconds
        for key in [key for key, one in self._gpus.items() if one.sampled_seconds < oldest]:
            del self._gpus[key]
        oldest = now_seconds - FORGET_AFTER_SECONDS
        gone = [
            workload
            for workload, count in self._counts.items()
            if count.held_seconds < oldest and workload != OTHERS
        ]
        for workload in gone:
            del self._counts[workload]
            if workload in self._others:
                self._others.discard(workload)
                self._add(workload, -1)

    def _observe_gpu(self, key: tuple[str, str], samples: Sequence[GpuSample]) -> float | None:
        """Return how long the GPU was idle since its last reading; None if there is no new one."""
        sampled = min(one.sampled_seconds for one in samples)
        pods = tuple(sorted({one.pod for one in samples if one.pod is not None}))
        is_idle = max(one.value for one in samples) <= 0
        seen = self._gpus.get(key)
        if seen is not None and sampled <= seen.sampled_seconds:
            return None
        goes_on = (
            seen is not None
            and sampled - seen.sampled_seconds <= self.longest_gap_seconds
            and (seen.pods, seen.is_idle) == (pods, is_idle)
        )
        if seen is None or not goes_on:
            self._gpus[key] = _LastReading(sampled, pods, is_idle, since_seconds=sampled)
            return 0.0
        seconds = sampled - seen.sampled_seconds if is_idle else 0.0
        seen.sampled_seconds = sampled
        return seconds

    def _count_of(
        self,
        pod: ObjectRef,
        opted_in: Callable[[ObjectRef], ObjectRef | None],
        other: Callable[[ObjectRef], ObjectRef | None],
    ) -> _Count | None:
        workload = opted_in(pod)
        if workload is None:
            workload = other(pod)
            if workload is None:
                return None
            workload = self._with_room(workload)
        return self._counts.setdefault(workload, _Count(0.0, 0.0))

    def _with_room(self, workload: ObjectRef) -> ObjectRef:
        """Return what a workload counts as: itself, the rest of its namespace, or all others.

        So a namespace with many, and an exporter that invents namespaces, take no place of others.
        """
        rest = ObjectRef(workload.namespace, "", "")
        if workload not in self._counts and (
            self._others_of[workload.namespace] >= IDLE_WORKLOADS_OF_NAMESPACE
        ):
            workload = rest
        if workload not in self._counts:
            is_full = workload == rest and self._namespaces >= IDLE_NAMESPACES
            if is_full or len(self._others) >= IDLE_WORKLOADS:
                self.is_full = True
                return OTHERS
            self._others.add(workload)
            self._add(workload, 1)
        return workload

    def _add(self, workload: ObjectRef, number: int) -> None:
        if not workload.name:
            self._namespaces += number
            return
        self._others_of[workload.namespace] += number
        if not self._others_of[workload.namespace]:
            del self._others_of[workload.namespace]
