# SPDX-License-Identifier: Apache-2.0
"""Pure: memory, power and temperature of each GPU of the nodes that viewers have on screen."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from scaler.readings.devices import MEMORY_TOTAL, MEMORY_USED, POWER_USAGE, TEMPERATURE
from scaler.web.queries import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.readings.gpus import GpuSample

NODES_PER_REQUEST: Final = 24
"""Nodes that fit on a screen; all nodes would multiply the exporters' bytes by 4.6."""
FAMILIES: Final = frozenset({MEMORY_USED, MEMORY_TOTAL, POWER_USAGE, TEMPERATURE})


class GpuDetail(NamedTuple):
    """The readings of one GPU beside its duty cycle; None is unknown."""

    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    power_milliwatts: float | None = None
    temperature_celsius: float | None = None
    model: str | None = None


class GpuDetailDict(TypedDict):
    """A `GpuDetail` on the page: bytes, watts and degrees Celsius."""

    memory_used: float | None
    memory_total: float | None
    power: float | None
    temperature: float | None


def parse_detail_nodes(names: Sequence[str]) -> Sequence[str]:
    """Return the nodes of a URL's `detail` parameters.

    Raises:
        QueryError: there are too many.
    """
    if len(names) > NODES_PER_REQUEST:
        raise QueryError(f"detail: {len(names)} nodes are more than {NODES_PER_REQUEST}")
    return names


def read_details(
    samples: Mapping[str, Iterable[GpuSample]], *, now_seconds: float
) -> Mapping[str, Mapping[str, GpuDetail]]:
    """Return the details of each GPU by node and UUID, from samples by family.

    A stale sample is unknown. The containers that share a GPU have a sample each: the used memory
    is their sum, unknown if that of one is.
    """
    found: defaultdict[str, defaultdict[str, dict[str, list[float]]]]
    found = defaultdict(lambda: defaultdict(dict))
    models: dict[tuple[str, str], str | None] = {}
    for family in FAMILIES:
        for one in samples.get(family, ()):
            if now_seconds - one.sampled_seconds <= one.fresh_for_seconds:
                found[one.node][one.uuid].setdefault(family, []).append(one.value)
                models[one.node, one.uuid] = one.model
    return {
        node: {uuid: _detail(values, models.get((node, uuid))) for uuid, values in gpus.items()}
        for node, gpus in found.items()
    }


def _detail(values: Mapping[str, Sequence[float]], model: str | None) -> GpuDetail:
    used, totals = values.get(MEMORY_USED, ()), values.get(MEMORY_TOTAL, ())
    return GpuDetail(
        sum(used) if used and len(used) >= len(totals) else None,
        max(totals, default=None),
        max(values.get(POWER_USAGE, ()), default=None),
        max(values.get(TEMPERATURE, ()), default=None),
        model,
    )


def detail_dict(detail: GpuDetail) -> GpuDetailDict:
    """Return the detail as the page has it."""
    power = detail.power_milliwatts
    return {
        "memory_used": detail.memory_used_bytes,
        "memory_total": detail.memory_total_bytes,
        "power": None if power is None else power / 1000,
        "temperature": detail.temperature_celsius,
    }
