# SPDX-License-Identifier: Apache-2.0
"""Pure: the data of the page "Idle GPUs": pods that hold GPUs at a duty cycle of 0, free GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from scaler.web.views import DEFAULT_ROWS, MAX_ROWS, QueryError, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scaler.model import ObjectRef
    from scaler.web.gpu_map import Node

SORTS = ("longest", "gpus", "name")
MAX_FREE_NODES = 50


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


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleQuery:
    """Which pods to show.

    Each word of `search` must occur in the name of the pod, its workload or its node.
    """

    search: str = ""
    sort: str = SORTS[0]
    offset: int = 0
    limit: int = DEFAULT_ROWS


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


NOTHING_SEEN = GpuKnowledge(lambda *_: None, lambda _: None)


@dataclass(slots=True)
class _IdlePod:
    node: str
    held: int = 0
    gpus: int = 0
    since: list[float] = field(default_factory=list)


def parse_idle_query(params: Mapping[str, str]) -> IdleQuery:
    """Return the query of a URL.

    Raises:
        QueryError: a parameter has a value that is not allowed.
    """
    sort = params.get("sort") or SORTS[0]
    if sort not in SORTS:
        raise QueryError(f"sort: {sort!r} is not one of {', '.join(SORTS)}")
    return IdleQuery(
        search=params.get("search", "")[:200],
        sort=sort,
        offset=whole_number(params, "offset", 0, most=10_000_000),
        limit=whole_number(params, "limit", DEFAULT_ROWS, least=1, most=MAX_ROWS),
    )


def idle_view(
    nodes: Mapping[str, Node | None],
    query: IdleQuery,
    *,
    since_of: Callable[[str, str], float | None],
    workload_of: Callable[[ObjectRef], PodWorkload | None],
    problem: str | None = None,
) -> IdleDict:
    """Return the page of `query`; `since_of` a node's GPU is in Unix seconds.

    A GPU without a fresh reading is neither idle nor free.
    """
    pods: dict[ObjectRef, _IdlePod] = {}
    free: dict[str, list[float | None]] = {}
    held = idle = 0
    for name, node in nodes.items():
        for gpu in node.gpus if node is not None else ():
            if gpu.duty_cycle is None:
                continue
            is_idle = gpu.duty_cycle <= 0
            held += bool(gpu.pods)
            idle += is_idle and bool(gpu.pods)
            since = since_of(name, gpu.uuid)
            if not gpu.pods:
                free.setdefault(name, []).append(since)
            for pod in gpu.pods:
                one = pods.setdefault(pod, _IdlePod(name))
                one.held += 1
                if is_idle:
                    one.gpus += 1
                    one.since += [] if since is None else [since]
    rows = [_row(pod, one, workload_of(pod)) for pod, one in pods.items() if one.gpus]
    words = query.search.lower().split()
    found = [row for row in rows if _matches(row, words)]
    found.sort(key=_order(query.sort))
    offset = min(query.offset, max(0, (len(found) - 1) // query.limit * query.limit))
    known = [node for node in nodes.values() if node is not None]
    free_nodes = sorted(free.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "nodes": len(nodes),
        "read": len(known),
        "failed": sum(node.problem is not None for node in known),
        "problem": problem,
        "held": held,
        "idle": idle,
        "free": sum(map(len, free.values())),
        "pods": len(rows),
        "found": len(found),
        "offset": offset,
        "limit": query.limit,
        "rows": found[offset : offset + query.limit],
        "free_nodes": [
            {"node": name, "gpus": len(times), "since": _earliest(times)}
            for name, times in free_nodes[:MAX_FREE_NODES]
        ],
        "free_nodes_found": len(free_nodes),
    }


def _row(pod: ObjectRef, one: _IdlePod, workload: PodWorkload | None) -> IdlePodDict:
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "workload": None if workload is None else workload.ref.qualified_name,
        "deployment": str(workload.ref) if workload is not None and workload.is_opted_in else None,
        "node": one.node,
        "gpus": one.gpus,
        "held": one.held,
        "since": _earliest(one.since),
    }


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((one for one in times if one is not None), default=None)


def _matches(row: IdlePodDict, words: Sequence[str]) -> bool:
    text = f"{row['namespace']}/{row['pod']} {row['workload'] or ''} {row['node']}"
    return all(word in text for word in words)


def _order(sort: str) -> Callable[[IdlePodDict], tuple[object, ...]]:
    def name(row: IdlePodDict) -> tuple[str, ...]:
        return (row["namespace"], row["workload"] or "", row["pod"])

    if sort == "name":
        return name
    if sort == "gpus":
        return lambda row: (-row["gpus"], *name(row))
    # Not known yet means seen for the first time: the youngest.
    return lambda row: (row["since"] is None, row["since"] or 0.0, *name(row))
