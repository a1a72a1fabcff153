# SPDX-License-Identifier: Apache-2.0
"""The values of some nodes' GPUs, from Prometheus: one query per series for all these nodes.

The store has families of the whole cluster, so these answers are not kept in it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from scaler.readings.devices import CONTAINERS_OWN
from scaler.readings.gpus import GpuAnswer
from scaler.readings.http import OpensConnections
from scaler.readings.prometheus.gpus import FamilyReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from scaler.readings.gpus import GpuSample
    from scaler.readings.prometheus.source import PrometheusSource

_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class PrometheusNodeGpus(OpensConnections):
    """One consumer's view; use as an async context manager, which owns its connections."""

    def __init__(self, source: PrometheusSource, *, clock: Callable[[], float]) -> None:
        super().__init__(source)
        self._reader = FamilyReader(source, clock=clock)
        self._names = source.settings.names
        self._clock = clock

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Do nothing: nobody else reads these queries."""

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        """Return the families that any node needs, of all these nodes."""
        families = sorted({family for some in wanted.values() for family in some})
        within = node_matcher(self._names.node_label, wanted)
        asked = self._clock()
        answers = await asyncio.gather(
            *(self._reader.read(family, asked, within=within) for family in families)
        )
        samples: dict[str, Sequence[GpuSample]] = {}
        failed: dict[str, str] = {}
        for family, found in zip(families, answers, strict=True):
            if isinstance(found, str):
                failed[family] = found
            elif family in CONTAINERS_OWN and self._names.container_label is None:
                # Each pod on a shared GPU has the value of the whole GPU.
                samples[family] = [*{(one.node, one.uuid): one for one in found}.values()]
            else:
                samples[family] = found
        return GpuAnswer(samples=samples, failed_families=failed)


def node_matcher(label: str, nodes: Iterable[str]) -> str:
    """Return the matcher that selects the series of these nodes."""
    pattern = "|".join(re.escape(node) for node in sorted(nodes))
    return f'{label}=~"{pattern.translate(_ESCAPED)}"'
