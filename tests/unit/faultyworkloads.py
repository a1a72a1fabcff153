# SPDX-License-Identifier: Apache-2.0
"""The Deployments and pods of a made-up cluster, and the faults that it can have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scaler.model import ObjectRef

NAMESPACE = "prod"
NODES = ("node-0", "node-1", "node-2")
PLACING_SECONDS, LOADING_SECONDS = 3.0, 20.0
READY_AGE_SECONDS = 30.0

NodeFault = Literal["none", "down", "silent", "stale", "garbage", "partial", "nan", "huge", "empty"]
PatchFault = Literal["none", "refused", "slow", "lost", "answer lost", "conflict", "broken"]
WatchFault = Literal["none", "lagging", "lost"]


@dataclass(slots=True)
class GpuPod:
    """A pod with one GPU; `placed_seconds` is None while no GPU is free for it.

    It has been overloaded since `overloaded_seconds`, or answered its probes again since
    `recovered_seconds`.
    """

    name: str
    node: str
    placed_seconds: float | None
    made_seconds: float
    overloaded_seconds: float | None = None
    recovered_seconds: float = 0.0
    marked: bool = False

    def is_ready(self, now_seconds: float, for_seconds: float = 0.0) -> bool:
        if self.placed_seconds is None or self.overloaded_seconds is not None:
            return False
        return now_seconds >= self.ready_seconds() + for_seconds

    def ready_seconds(self) -> float:
        assert self.placed_seconds is not None
        return max(self.placed_seconds + LOADING_SECONDS, self.recovered_seconds)


@dataclass(slots=True)
class Workload:
    """A Deployment as the API server has it, its load in percent of one GPU, and its faults."""

    name: str
    annotations: dict[str, str]
    replicas: int
    uid: str
    load_percent: float = 0.0
    version: int = 1
    made: int = 0
    owned_by: str | None = None
    warned: bool = False
    patch_fault: PatchFault = "none"
    pods: list[GpuPod] = field(default_factory=list)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(namespace=NAMESPACE, name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A write of a replica count that the API server took from the scaler."""

    workload: str
    before: int
    after: int
    loop: int
    at_seconds: float
