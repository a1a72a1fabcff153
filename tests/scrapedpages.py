# SPDX-License-Identifier: Apache-2.0
"""The series that Prometheus makes of a pod's page: the labels of the target beside the page's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scaler.model.policy import escaped
from scaler.readings.series import parse_labels
from scaler.readings.servers.table import SERVERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
NAMES = frozenset(
    {name for row in SERVERS for name in row.recognised_by}
    | {
        term.series.name
        for row in SERVERS
        for measure in (row.requests, row.waiting, row.kv_cache)
        if not isinstance(measure, str)
        for terms in measure
        for term in terms
    }
)


def target(pod: str, namespace: str = "llm", **more: str) -> dict[str, str]:
    """Return the labels that a PodMonitor gives to a pod's target."""
    labels = {"namespace": namespace, "pod": pod, "container": "c", "endpoint": "metrics"}
    return {**labels, "job": "llm/pods", "instance": f"{pod}:8000", **more}


def text_of(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())


def scraped_series(
    page: str, labels: dict[str, str], names: Collection[str] = NAMES
) -> Iterator[tuple[str, str, float]]:
    """Yield name, labels as text and value of the page's series with these names, and `up`."""
    yield "up", text_of(labels), 1.0
    for name, text, value in _LINE.findall(page):
        if name in names:
            own = {
                f"exported_{label}" if label in labels else label: one
                for label, one in parse_labels(text).items()
            }
            yield name, text_of(own | labels), float(value)
