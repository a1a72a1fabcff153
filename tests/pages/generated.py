"""The parts of the pages that are made from the code.

They stand between `<!-- generated: NAME -->` and `<!-- end -->`.

`make docs` writes them; a unit test fails while they differ.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry

from exporter.cli.config import ExporterConfig
from exporter.exposition.catalogue import FAMILIES, LABELS
from exporter.exposition.families import EXTENDED_FAMILIES
from exporter.health import Counters, Health
from exporter.model import Collector, Scope
from scaler.metricsapi.telemetry import Telemetry
from scaler.policy.annotations import ANNOTATIONS
from scaler.reporting.metrics import ScalerMetrics
from tests.pages.markdown import PAGES, ROOT, page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.metrics_core import Metric

REGION: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.S)
OTHER_LABELS: Final = {Scope.DEVICE: "no pod's: the first four", Scope.NODE: "only `node_name`"}
OF_THE_PROCESS: Final = ("process_", "python_")
"""What the client library says of every process."""


def annotation_table() -> str:
    """All annotations."""
    rows = (
        (f"`{one.name}`", _code(one.default), f"{one.meaning}: {one.allowed}")
        for one in ANNOTATIONS
    )
    return _table(("annotation", "default", "meaning"), rows)


def labels() -> str:
    """The labels of each GPU's series, in their order."""
    return ", ".join(f"`{label}`" for label in LABELS) + "\n"


def base_families() -> str:
    """The exporter's families that are always on."""
    rows = [(f"`{one.name}`", one.help, one.source) for one in FAMILIES]
    count = (
        "`nvidia_gpu_num_devices`",
        "Number of GPUs that the driver shows; only `node_name`.",
        "nvmlDeviceGetCount",
    )
    return _table(("family", "meaning", "NVML function"), [*rows, count])


def extended_families() -> str:
    """The exporter's other families, a table for each collector."""
    return "\n".join(
        f"### `{collector.value}`\n\n{_families_of(collector)}" for collector in Collector
    )


def exporter_families() -> str:
    """What the exporter says of itself."""
    return _own([*_health().collect(), *Counters().registry.collect()])


def scaler_families() -> str:
    """What the scaler says of itself and of its decisions."""
    metrics = ScalerMetrics("0")
    metrics.show_answers({})
    metrics.show_decisions(tuple)
    return _own(metrics.registry.collect())


def metrics_api_families() -> str:
    """What the scaler says of its metrics API."""
    registry = CollectorRegistry()
    Telemetry(registry)
    return _own(registry.collect())


def untried() -> str:
    """The commands and files that say that nobody tries them."""
    found = {
        (name, block.untried_because)
        for name in PAGES
        for block in page(name).blocks
        if block.untried_because is not None
    }
    rows = [(f"[{name}]({Path(name).name})", why) for name, why in sorted(found)]
    return _table(("page", "why"), rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "annotations": annotation_table,
    "labels": labels,
    "base-families": base_families,
    "extended-families": extended_families,
    "exporter-families": exporter_families,
    "scaler-families": scaler_families,
    "metrics-api-families": metrics_api_families,
    "untried": untried,
}


def renewed(text: str) -> str:
    """Return a page's text with its generated parts as the code has them now."""
    return REGION.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)


def write() -> None:
    """Write all generated parts."""
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        path.write_text(renewed(text), encoding="utf-8")


def _families_of(collector: Collector) -> str:
    def own_labels(scope: Scope, labels: tuple[str, ...]) -> str:
        shown = ", ".join(f"`{label}`" for label in labels)
        return f"{OTHER_LABELS[scope]} and {shown}" if scope in OTHER_LABELS else shown

    rows = (
        (
            f"`{one.name}`",
            one.type.value,
            one.unit,
            own_labels(one.scope, one.labels),
            one.help,
            one.source,
        )
        for one in EXTENDED_FAMILIES
        if one.collector is collector
    )
    return _table(("family", "type", "unit", "labels", "meaning", "NVML function"), rows)


def _own(families: Iterable[Metric]) -> str:
    rows = sorted(
        (f"`{_name(one)}`", one.type, one.documentation)
        for one in families
        if not one.name.startswith(OF_THE_PROCESS)
    )
    return _table(("family", "type", "meaning"), rows)


def _name(family: Metric) -> str:
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def _health() -> Health:
    """An exporter's health in the state in which it has the most to say."""
    call = SimpleNamespace(function="nvmlInit", started_seconds=float("-inf"))
    readings = SimpleNamespace(taken_at_seconds=0.0, unreadable_count=0, device_count=1)
    state = SimpleNamespace(
        nvml_up=True, problem=None, released_until_seconds=None, last_success_unix_seconds=1.0
    )
    parts: dict[str, Any] = {
        "nvml": SimpleNamespace(hanging_call=call),
        "sampler": SimpleNamespace(state=state, is_alive=lambda: True),
        "snapshots": SimpleNamespace(
            newest=SimpleNamespace(readings=readings, unmatched_device_ids=())
        ),
        "pod_resources": SimpleNamespace(
            last_success_unix_seconds=1.0, problem=None, finished_count=0
        ),
        "endpoint": SimpleNamespace(web_config_is_good=True),
    }
    readings.taken_at_seconds = time.monotonic()
    call.started_seconds = time.monotonic() - 3600
    return Health(ExporterConfig(), **parts)


def _code(text: str | None) -> str:
    return "" if text is None else f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
