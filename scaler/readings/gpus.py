# SPDX-License-Identifier: Apache-2.0
"""Pure: the values of single GPUs, in use or free, for the metrics API and the map."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scaler.readings.devices import out_of_bounds
from scaler.readings.exposition import stale_after_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from scaler.model import ObjectRef
    from scaler.readings.exposition import NodePage


class GpuSample(NamedTuple):
    """A family's value of one GPU for one container; `pod` is None for a free GPU.

    Families have the exporter's names. `sampled_seconds` is on the monotonic clock. The sample may
    be used for `fresh_for_seconds` after that. `model` is None where the source does not tell.
    """

    node: str
    pod: ObjectRef | None
    uuid: str
    value: float
    sampled_seconds: float
    fresh_for_seconds: float
    model: str | None = None


class DutySeries(NamedTuple):
    """The duty cycles of one GPU while one pod held it, or while it was free (`pod` None).

    `points` are pairs: the Unix time at which a step ends, and the highest duty cycle in it, in
    percent.
    """

    node: str
    pod: ObjectRef | None
    uuid: str
    model: str | None
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAnswer:
    """Samples by family, and the nodes and families that could not be read, with the reasons."""

    samples: Mapping[str, Sequence[GpuSample]]
    failed_nodes: Mapping[str, str] = field(default_factory=dict)
    failed_families: Mapping[str, str] = field(default_factory=dict)


class CurrentGpuSource(Protocol):
    """A consumer's source of what single GPUs do now."""

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Replace the demand: these families of these nodes."""

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        """Add these families of these nodes to the demand; return at least their GPUs.

        Never raises for what fails outside.
        """


class GpuSource(CurrentGpuSource, Protocol):
    """One that may have older values, too."""

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample] | None:
        """Return older samples of a family, oldest first; empty if the source stores none.

        Empty `namespaces` mean all, with free GPUs. None if the source cannot be read now; never
        raises for what fails outside.
        """


def node_gpus(
    page: NodePage, node: str, families: Collection[str]
) -> Mapping[str, Sequence[GpuSample]]:
    """Return the samples of these families on an exporter's page.

    Samples outside the bounds of their family are left out.
    """
    if page.age_seconds is None:
        return {}
    sampled = page.asked_seconds - page.age_seconds
    fresh_for = stale_after_seconds(page.interval_seconds)
    found: defaultdict[str, list[GpuSample]] = defaultdict(list)
    for one, value in page.samples():
        if one.uuid and one.name in families and out_of_bounds(one.name, value) is None:
            found[one.name].append(
                GpuSample(node, one.pod, one.uuid, value, sampled, fresh_for, one.model or None)
            )
    return dict(found)


def samples_by_node(samples: Iterable[GpuSample]) -> Iterable[Sequence[GpuSample]]:
    """Return the samples of each node."""
    found: defaultdict[str, list[GpuSample]] = defaultdict(list)
    for sample in samples:
        found[sample.node].append(sample)
    return found.values()
