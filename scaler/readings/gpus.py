"""Pure: the values of single GPUs, whoever holds them; what the metrics API is fed with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scaler.readings.devices import out_of_bounds
from scaler.readings.exposition import (
    INTERVAL,
    SNAPSHOT_AGE,
    readings_age,
    samples_of,
    stale_after_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import ExporterEndpoint, ObjectRef
    from scaler.readings.series import Series


class GpuSample(NamedTuple):
    """A family's value of one GPU on behalf of one container; `pod` is None of a free GPU.

    Families go by the exporter's names. `sampled_seconds` is on the monotonic clock.
    `fresh_for_seconds` is for how long after that it may be used.
    """

    node: str
    pod: ObjectRef | None
    uuid: str
    value: float
    sampled_seconds: float
    fresh_for_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAnswer:
    """Samples by family, and which nodes and families could not be read, each with the reason."""

    samples: Mapping[str, Sequence[GpuSample]]
    failed_nodes: Mapping[str, str] = field(default_factory=dict)
    failed_families: Mapping[str, str] = field(default_factory=dict)


class GpuSource(Protocol):
    """Where the values of single GPUs come from."""

    async def read_gpus(
        self,
        wanted: Mapping[str, Collection[str]],
        endpoints: Mapping[str, ExporterEndpoint],
    ) -> GpuAnswer:
        """Return at least the GPUs of these nodes with these families.

        `endpoints` maps node names to exporters. Never raises for what fails outside.
        """

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample] | None:
        """Return older samples of a family, oldest first; none where nothing is stored.

        No namespaces stand for all, and free GPUs. None if it cannot be asked just now; never
        raises for what fails outside.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGpus:
    """One exporter's samples by family; `series` is what makes reading its next answer quick.

    `age_seconds` is None where there are no readings.
    """

    samples: Mapping[str, Sequence[GpuSample]]
    age_seconds: float | None
    fresh_for_seconds: float
    series: Mapping[str, Series] = field(compare=False)


def read_node(
    text: str, node: str, *, asked_seconds: float, known: Mapping[str, Series]
) -> NodeGpus:
    """Return the GPUs in an exporter's text exposition (format 0.0.4).

    Samples outside the bounds of their family are left out. `known` is `series` of an earlier
    answer.

    Raises:
        ExpositionError: the text does not parse, or is over budget.
    """
    samples, series = samples_of(text, known)
    gauges = {one.name: value for one, value in samples if one.name in (SNAPSHOT_AGE, INTERVAL)}
    age, fresh_for = readings_age(gauges), stale_after_seconds(gauges.get(INTERVAL))
    found: defaultdict[str, list[GpuSample]] = defaultdict(list)
    if age is not None:
        sampled = asked_seconds - age
        for one, value in samples:
            if one.uuid and out_of_bounds(one.name, value) is None:
                found[one.name].append(
                    GpuSample(node, one.pod, one.uuid, value, sampled, fresh_for)
                )
    return NodeGpus(
        samples=dict(found), age_seconds=age, fresh_for_seconds=fresh_for, series=series
    )
