# SPDX-License-Identifier: Apache-2.0
"""The tables of metric families, made from the code that serves them."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from exporter.cli.config import ExporterConfig
from exporter.exposition.table import BASE_FAMILIES, EXTENDED_FAMILIES, LABELS
from exporter.health import Counters, Health
from exporter.model import Collector, Scope
from scaler.metricsapi.telemetry import Telemetry
from scaler.model import ObjectRef
from scaler.reporting.metrics import ScalerMetrics
from tests.pages.examples import EXAMPLES
from tests.pages.markdown import table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from exporter.model import Family

OTHER_LABELS: Final = {Scope.DEVICE: "only the first four", Scope.NODE: "only `node_name`"}
OF_THE_PROCESS: Final = ("process_", "python_")
"""Prefixes of the families that the client library adds for every process."""


def labels() -> str:
    """The labels of each GPU's series, in their order."""
    return ", ".join(f"`{label}`" for label in LABELS) + "\n"


def base_families() -> str:
    """The exporter's families that are always on."""

    def meaning(family: Family) -> str:
        others = OTHER_LABELS.get(family.scope)
        return f"{family.help.removesuffix('.')}; {others}." if others else family.help

    by_gpu_first = sorted(BASE_FAMILIES, key=lambda one: one.scope is not Scope.HOLDER)
    rows = [(f"`{one.name}`", meaning(one), one.source) for one in by_gpu_first]
    return table(("family", "meaning", "NVML function"), rows)


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
    metrics.show_answers({("GET", 200): 1})
    metrics.show_server_reads({"success": 1})
    metrics.show_idle(lambda: {ObjectRef("prod", "web"): 1})
    metrics.show_lost(lambda: [("prod", "")])
    metrics.show_decisions(lambda: [example() for example in EXAMPLES.values()])
    declared: dict[str, tuple[str, ...]] = {
        one._name: one._labelnames
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
    }
    rows = []
    for family in _ours(metrics.registry.collect()):
        labels = declared.get(family.name) or tuple(
            name for sample in family.samples[:1] for name in sample.labels if name != "le"
        )
        shown = ", ".join(f"`{label}`" for label in labels)
        rows.append((f"`{_name(family)}`", family.type, shown, family.documentation))
    return table(("family", "type", "labels", "meaning"), sorted(rows))


def metrics_api_families() -> str:
    """What the scaler says of its metrics API."""
    registry = CollectorRegistry()
    Telemetry(registry)
    return _own(registry.collect())


def _families_of(collector: Collector) -> str:
    def own_labels(scope: Scope, labels: tuple[str, ...]) -> str:
        shown = ", ".join(f"`{label}`" for label in labels)
        return f"{OTHER_LABELS[scope]} and {shown}" if scope in OTHER_LABELS else shown

    rows = (
        (
            f"`{one.name}`",
            f"{one.type.value}, {one.unit}" if one.unit else one.type.value,
            own_labels(one.scope, one.labels),
            one.help,
            one.source,
        )
        for one in EXTENDED_FAMILIES
        if one.collector is collector
    )
    return table(("family", "type", "labels", "meaning", "NVML function"), rows)


def _own(families: Iterable[Metric]) -> str:
    rows = [(f"`{_name(one)}`", one.type, one.documentation) for one in _ours(families)]
    return table(("family", "type", "meaning"), sorted(rows))


def _ours(families: Iterable[Metric]) -> list[Metric]:
    return [one for one in families if not one.name.startswith(OF_THE_PROCESS)]


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
            readings=readings,
            newest=SimpleNamespace(readings=readings, unmatched_device_ids=()),
        ),
        "pod_resources": SimpleNamespace(
            last_success_unix_seconds=1.0, problem=None, finished_count=0
        ),
        "web": SimpleNamespace(config_is_good=True),
    }
    readings.taken_at_seconds = time.monotonic()
    call.started_seconds = time.monotonic() - 3600
    return Health(ExporterConfig(), **parts)
