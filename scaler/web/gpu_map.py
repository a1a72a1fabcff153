# SPDX-License-Identifier: Apache-2.0
"""Pure: the data of the GPU map, one page of nodes at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from scaler.web.gpu_details import detail_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from scaler.model import ObjectRef
    from scaler.readings.gpus import GpuSample
    from scaler.web.gpu_details import GpuDetail, GpuDetailDict
    from scaler.web.queries import PageQuery

MAX_NODES = 100
MAP_SORTS = ("name", "busiest", "free", "trouble")
BINS = ("0 to 19 %", "20 to 39 %", "40 to 59 %", "60 to 79 %", "80 to 100 %")
"""The shades of the map, by duty cycle."""
FREE = len(BINS)
UNKNOWN = FREE + 1
COUNT_LABELS = (*BINS, "Free", "No reading")
UUID_WORD_CHARACTERS = 8
NO_DETAILS: Mapping[str, Mapping[str, GpuDetail]] = {}


class MapGpu(NamedTuple):
    """A GPU, its duty cycle in percent, the pods that use it, and its model; None is unknown."""

    uuid: str
    duty_cycle: float | None
    pods: tuple[ObjectRef, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The GPUs of a node as of `read_unix_seconds`, or why they could not be read.

    `texts` are what each of the GPUs is called, one for each of its pods, and `text` is all of
    them: made once for all searches.
    """

    gpus: tuple[MapGpu, ...]
    read_unix_seconds: float
    problem: str | None = None
    counts: tuple[int, ...] = (0,) * len(COUNT_LABELS)
    held: int = 0
    texts: tuple[tuple[str, ...], ...] = ()
    text: str = ""


class CellDict(TypedDict):
    """One GPU; `bin` is its shade, None if it is free or has no reading.

    `detail` is None if nobody has the node on screen, or it could not be read; from Prometheus
    `model` is then, too.
    """

    uuid: str
    model: str | None
    detail: GpuDetailDict | None
    duty: float | None
    bin: int | None
    pods: list[PodLink]


class PodLink(TypedDict):
    """A pod, and its Deployment if it has opted in."""

    pod: str
    deployment: str | None


class NodeDict(TypedDict):
    """One row of the map; `read` is None until the node has been read."""

    node: str
    read: float | None
    problem: str | None
    gpus: list[CellDict]


class CountDict(TypedDict):
    """The number of GPUs in the cluster with one shade."""

    label: str
    count: int


class MapDict(TypedDict):
    """A page of nodes, and counts of GPUs over all nodes; `oldest` is the time of the oldest read.

    `read` is the number of nodes read since the map was opened, `held` that of GPUs that a pod
    holds. `awaited` is the number of nodes whose details were requested and have not been read.
    """

    nodes: int
    read: int
    failed: int
    found: int
    held: int
    awaited: int
    offset: int
    limit: int
    oldest: float | None
    problem: str | None
    counts: list[CountDict]
    rows: list[NodeDict]


def read_nodes(
    samples: Iterable[GpuSample], *, now_seconds: float, now_unix_seconds: float
) -> dict[str, Node]:
    """Return the nodes that the duty cycles in `samples` are of; a stale one is not known.

    A GPU that several containers hold has a sample for each.
    """
    found: defaultdict[str, dict[str, list[GpuSample]]] = defaultdict(dict)
    for sample in samples:
        found[sample.node].setdefault(sample.uuid, []).append(sample)
    nodes = {}
    for name, by_uuid in found.items():
        gpus = tuple(_gpu(uuid, some, now_seconds) for uuid, some in by_uuid.items())
        texts = tuple(_texts(name, gpu) for gpu in gpus)
        nodes[name] = Node(
            gpus=gpus,
            read_unix_seconds=now_unix_seconds,
            counts=_counts(gpus),
            held=sum(bool(gpu.pods) for gpu in gpus),
            texts=texts,
            text="\n".join(one for some in texts for one in some),
        )
    return nodes


def _texts(node: str, gpu: MapGpu) -> tuple[str, ...]:
    return tuple(f"{node} {pod} {gpu.model}".lower() for pod in gpu.pods or ("",))


def _gpu(uuid: str, samples: Sequence[GpuSample], now_seconds: float) -> MapGpu:
    fresh = [s.value for s in samples if now_seconds - s.sampled_seconds <= s.fresh_for_seconds]
    pods = tuple(dict.fromkeys(s.pod for s in samples if s.pod is not None))
    return MapGpu(uuid, max(fresh, default=None), pods, samples[0].model)


def shade(gpu: MapGpu) -> int:
    """Return the index of the GPU's label in COUNT_LABELS."""
    if gpu.duty_cycle is None:
        return UNKNOWN
    if not gpu.pods:
        return FREE
    return min(len(BINS) - 1, int(gpu.duty_cycle * len(BINS) / 100))


def _counts(gpus: Iterable[MapGpu]) -> tuple[int, ...]:
    counts = Counter(map(shade, gpus))
    return tuple(counts[index] for index in range(len(COUNT_LABELS)))


def gpu_map(
    nodes: Mapping[str, Node | None],
    query: PageQuery,
    *,
    deployment_of: Callable[[ObjectRef], ObjectRef | None],
    problem: str | None = None,
    details: Mapping[str, Mapping[str, GpuDetail]] = NO_DETAILS,
    detailed: Iterable[str] = (),
) -> MapDict:
    """Return the page of `query`; a node that has not been read is None in `nodes`.

    Each word of the search must occur in what a node or one GPU is called: a GPU by its pod, its
    model and its UUID. The rows of the nodes in `detailed` have the `details` of their GPUs, by
    node and UUID.
    """
    detailed = {name for name in detailed if name in nodes}
    known = {name: node for name, node in nodes.items() if node is not None}
    words = query.words
    found = [name for name, node in nodes.items() if _matches(name, node, words)]
    first = query.first(len(found))
    page = _sorted(found, query.sort, known)[first : first + query.limit]
    totals = [sum(column) for column in zip(*(n.counts for n in known.values()), strict=True)]
    return {
        "nodes": len(nodes),
        "read": len(known),
        "failed": sum(node.problem is not None for node in known.values()),
        "found": len(found),
        "held": sum(node.held for node in known.values()),
        "awaited": len(detailed - details.keys()),
        "offset": first,
        "limit": query.limit,
        "oldest": min((node.read_unix_seconds for node in known.values()), default=None),
        "problem": problem,
        "counts": [
            {"label": label, "count": count}
            for label, count in zip(COUNT_LABELS, totals or [0] * len(COUNT_LABELS), strict=True)
        ],
        "rows": [
            _row(
                name,
                known.get(name),
                deployment_of,
                details.get(name, {}) if name in detailed else {},
            )
            for name in page
        ],
    }


def _matches(name: str, node: Node | None, words: Collection[str]) -> bool:
    if all(word in name for word in words):
        return True
    if node is None:
        return False
    # Most nodes have none that is called so.
    if not all(word in node.text or len(word) >= UUID_WORD_CHARACTERS for word in words):
        return False
    return any(
        all(word in text or _is_uuid(word, gpu) for word in words)
        for gpu, texts in zip(node.gpus, node.texts, strict=True)
        for text in texts
    )


def _is_uuid(word: str, gpu: MapGpu) -> bool:
    """Whether a word is the beginning of a UUID; few letters would be that of any."""
    return len(word) >= UUID_WORD_CHARACTERS and gpu.uuid.lower().startswith(word)


def _sorted(names: list[str], sort: str, nodes: Mapping[str, Node]) -> list[str]:
    names = sorted(names)
    if sort == "free":
        names.sort(key=lambda name: -nodes[name].counts[FREE] if name in nodes else 0)
    elif sort == "trouble":
        names.sort(key=lambda name: -_trouble(nodes[name]) if name in nodes else 0)
    elif sort == "busiest":
        names.sort(key=lambda name: -_mean(nodes[name]) if name in nodes else 1.0)
    return names


def _trouble(node: Node) -> int:
    """How much is unknown: the GPUs without a reading, or more than a node has."""
    return node.counts[UNKNOWN] if node.problem is None else 1_000_000


def _mean(node: Node) -> float:
    duties = [gpu.duty_cycle for gpu in node.gpus if gpu.duty_cycle is not None]
    return sum(duties) / len(duties) if duties else -0.5


def _row(
    name: str,
    node: Node | None,
    deployment_of: Callable[[ObjectRef], ObjectRef | None],
    details: Mapping[str, GpuDetail],
) -> NodeDict:
    if node is None:
        return {"node": name, "read": None, "problem": None, "gpus": []}
    return {
        "node": name,
        "read": node.read_unix_seconds,
        "problem": node.problem,
        "gpus": [_cell(gpu, deployment_of, details.get(gpu.uuid)) for gpu in node.gpus],
    }


def _cell(
    gpu: MapGpu,
    deployment_of: Callable[[ObjectRef], ObjectRef | None],
    detail: GpuDetail | None,
) -> CellDict:
    index = shade(gpu)
    links: list[PodLink] = []
    for pod in gpu.pods:
        deployment = deployment_of(pod)
        links.append(
            {"pod": str(pod), "deployment": None if deployment is None else str(deployment)}
        )
    return {
        "uuid": gpu.uuid,
        "model": gpu.model if detail is None or detail.model is None else detail.model,
        "detail": None if detail is None else detail_dict(detail),
        "duty": None if gpu.duty_cycle is None else round(gpu.duty_cycle, 1),
        "bin": index if index < len(BINS) else None,
        "pods": links,
    }
