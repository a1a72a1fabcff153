# SPDX-License-Identifier: Apache-2.0
"""Pure: the data of the page "Idle GPUs": pods that hold GPUs at a duty cycle of 0, free GPUs.

What is found on all nodes is the same for all viewers; a page of it is a small part of the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from scaler.model import ObjectRef
    from scaler.web.gpu_map import Node
    from scaler.web.queries import PageQuery

IDLE_SORTS = ("longest", "gpus", "name")
MAX_FREE_NODES = 50
NODES_AT_ONCE: Final = 50
PODS_AT_ONCE: Final = 500
"""Between two chances for the event loop to do other work."""


class IdlePodDict(TypedDict):
    """A pod with idle GPUs; `since` is of the GPU that is idle longest, None if not known yet.

    `gpus` is the number of idle GPUs of the `held` ones. `workload` is None if it is unknown, and
    `deployment` is the link to its page if it has opted in.
    """

    namespace: str
    pod: str
    workload: str | None
    deployment: str | None
    node: str
    gpus: int
    held: int
    since: float | None


class FreeNodeDict(TypedDict):
    """The free GPUs of a node; `since` is of the one that is free longest, None if unknown."""

    node: str
    gpus: int
    since: float | None


class IdleDict(TypedDict):
    """A page of pods and the nodes with most free GPUs; the numbers are of the whole cluster."""

    nodes: int
    read: int
    failed: int
    problem: str | None
    held: int
    idle: int
    free: int
    pods: int
    found: int
    offset: int
    limit: int
    rows: list[IdlePodDict]
    free_nodes: list[FreeNodeDict]
    free_nodes_found: int


class PodWorkload(NamedTuple):
    """The workload of a pod, and whether it has opted in."""

    ref: ObjectRef
    is_opted_in: bool


class GpuKnowledge(NamedTuple):
    """What the scaler has seen of GPUs.

    `since_seconds` of a node and a GPU is since when (monotonic) the GPU is as it is, None if it
    was not seen before. `workload_of` is the workload of a pod that has not opted in.
    """

    since_seconds: Callable[[str, str], float | None]
    workload_of: Callable[[ObjectRef], ObjectRef | None]


@dataclass(slots=True)
class _IdlePod:
    node: str
    held: int = 0
    gpus: int = 0
    since: list[float] = field(default_factory=list)


class _Row(NamedTuple):
    """A pod with idle GPUs, and what it is searched and ordered by."""

    pod: ObjectRef
    found: _IdlePod
    workload: PodWorkload | None
    since: float | None
    text: str
    order: str


class IdleSurvey:
    """What all nodes have; `take` them once, then ask for any page.

    A GPU without a fresh reading is neither idle nor free.
    """

    def __init__(
        self,
        *,
        since_of: Callable[[str, str], float | None],
        workload_of: Callable[[ObjectRef], PodWorkload | None],
    ) -> None:
        """`since_of` a node's GPU is in Unix seconds."""
        self._since_of = since_of
        self._workload_of = workload_of
        self._nodes = self._read = self._failed = self._held = self._idle = 0
        self._free: list[tuple[str, list[float | None]]] = []
        self._orders: dict[str, list[_Row]] = {}

    def take(self, nodes: Mapping[str, Node | None]) -> Iterator[None]:
        """Look at all nodes; yields where others may have a turn."""
        pods: dict[ObjectRef, _IdlePod] = {}
        free: dict[str, list[float | None]] = {}
        self._nodes = len(nodes)
        for count, (name, node) in enumerate(nodes.items(), start=1):
            if node is not None:
                self._read += 1
                self._failed += node.problem is not None
                self._take_node(name, node, pods, free)
            if count % NODES_AT_ONCE == 0:
                yield
        self._free = sorted(free.items(), key=lambda item: (-len(item[1]), item[0]))
        rows = []
        for count, (pod, one) in enumerate(pods.items(), start=1):
            if one.gpus:
                rows.append(_row(pod, one, self._workload_of(pod)))
            if count % PODS_AT_ONCE == 0:
                yield
        # Sorting keeps the order of equal ones.
        by_name = sorted(rows, key=lambda row: row.order)
        yield
        by_gpus = sorted(by_name, key=lambda row: -row.found.gpus)
        yield
        # Not known yet means seen for the first time: the youngest.
        by_time = sorted(by_name, key=lambda row: float("inf") if row.since is None else row.since)
        self._orders = {"longest": by_time, "gpus": by_gpus, "name": by_name}

    def page(self, query: PageQuery, *, problem: str | None = None) -> IdleDict:
        """Return the page of `query`; it searches the names of pods, workloads and nodes."""
        rows = self._orders[query.sort]
        words = query.words
        found = [row for row in rows if all(word in row.text for word in words)] if words else rows
        first = query.first(len(found))
        return {
            "nodes": self._nodes,
            "read": self._read,
            "failed": self._failed,
            "problem": problem,
            "held": self._held,
            "idle": self._idle,
            "free": sum(len(times) for _, times in self._free),
            "pods": len(rows),
            "found": len(found),
            "offset": first,
            "limit": query.limit,
            "rows": [_row_dict(row) for row in found[first : first + query.limit]],
            "free_nodes": [
                {"node": name, "gpus": len(times), "since": _earliest(times)}
                for name, times in self._free[:MAX_FREE_NODES]
            ],
            "free_nodes_found": len(self._free),
        }

    def _take_node(
        self,
        name: str,
        node: Node,
        pods: dict[ObjectRef, _IdlePod],
        free: dict[str, list[float | None]],
    ) -> None:
        for gpu in node.gpus:
            if gpu.duty_cycle is None:
                continue
            is_idle = gpu.duty_cycle <= 0
            self._held += bool(gpu.pods)
            self._idle += is_idle and bool(gpu.pods)
            since = self._since_of(name, gpu.uuid)
            if not gpu.pods:
                free.setdefault(name, []).append(since)
            for pod in gpu.pods:
                one = pods.setdefault(pod, _IdlePod(name))
                one.held += 1
                if is_idle:
                    one.gpus += 1
                    one.since += [] if since is None else [since]


def _row(pod: ObjectRef, one: _IdlePod, workload: PodWorkload | None) -> _Row:
    name = "" if workload is None else workload.ref.qualified_name
    return _Row(
        pod=pod,
        found=one,
        workload=workload,
        since=_earliest(one.since),
        text=f"{pod.namespace}/{pod.name} {name} {one.node}".lower(),
        order=f"{pod.namespace}\0{name}\0{pod.name}",
    )


def _row_dict(row: _Row) -> IdlePodDict:
    workload = row.workload
    return {
        "namespace": row.pod.namespace,
        "pod": row.pod.name,
        "workload": None if workload is None else workload.ref.qualified_name,
        "deployment": str(workload.ref) if workload is not None and workload.is_opted_in else None,
        "node": row.found.node,
        "gpus": row.found.gpus,
        "held": row.found.held,
        "since": row.since,
    }


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((one for one in times if one is not None), default=None)
