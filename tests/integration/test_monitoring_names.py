# SPDX-License-Identifier: Apache-2.0
"""Dashboards and rules ask only for metrics, and for labels, that the two programs have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from daemonset.monitoring.names import metric_names
from exporter.exposition.table import FAMILIES, LABELS
from exporter.model import Collector, Scope
from scaler.metricsapi.telemetry import Telemetry
from scaler.model import ObjectRef
from scaler.reporting.metrics import DEPLOYMENT_LABELS, ScalerMetrics
from simulator.driver import SimulatedDriver
from tests import dashboards, statuspage
from tests.exporting import exporter
from tests.waiting import until

RULES = Path(__file__).resolve().parents[2] / "daemonset" / "prometheus-rules.yaml"
# What Prometheus adds: where a series was scraped, and what it was evaluated for.
SCRAPED = {"job", "instance", "cluster", "le"}


def rule_expressions() -> list[str]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    return [query.expr for query in dashboards.queries()] + rule_expressions()


def scaler_metrics() -> dict[str, set[str]]:
    """Every metric of the scaler with its labels, from a registry as the scaler fills it."""
    metrics = ScalerMetrics("test")
    Telemetry(metrics.registry)
    metrics.show_answers({("GET", 200): 1})
    metrics.show_server_reads({"success": 1})
    metrics.show_idle(lambda: {ObjectRef("prod", "web"): 1})
    metrics.show_decisions(lambda: [statuspage.decision()])
    return _labels(metric for metric in metrics.registry.collect())


async def exporter_metrics(socket: str) -> dict[str, set[str]]:
    """Every metric of the exporter: the catalogues, and its own from one with a hanging call."""
    found: dict[str, set[str]] = {}
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(
            driver, collectors=frozenset(Collector), pod_resources_socket=socket
        ) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetTemperature")

            async def hangs() -> bool:
                return await reader.value("nvidia_gpu_exporter_hanging_call_seconds") is not None

            await until(hangs, what="a call hangs")
            _, _, text = await reader.get()
            found |= _labels(text_string_to_metric_families(text))
            driver.faults.release()
    scopes = {Scope.HOLDER: {*LABELS}, Scope.DEVICE: {*LABELS[:4]}, Scope.NODE: {LABELS[3]}}
    for family in FAMILIES:
        found[family.name] = scopes[family.scope] | set(family.labels)
    return found


def _labels(families: Any) -> dict[str, set[str]]:
    """Labels by name; of a family without series only the name is known."""
    found: dict[str, set[str]] = {}
    for family in families:
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
        for suffix in suffixes.get(family.type, ("",)):
            found.setdefault(family.name.removesuffix("_total") + suffix, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(name="known")
async def _known(monkeypatch, tmp_path) -> dict[str, set[str]]:
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 1.0)
    return await exporter_metrics(str(tmp_path / "kubelet.sock")) | scaler_metrics()


async def test_every_metric_is_one_that_a_program_has(known):
    for expression in expressions():
        for name in metric_names(expression):
            assert name in known, f"{name} of {expression}"


async def test_every_label_that_is_chosen_by_is_one_of_the_metric(known):
    for expression in expressions():
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)[=!]", selector)) - SCRAPED
            if known.get(name):
                assert labels <= known[name], f"{name}{{{selector}}}"


def test_the_labels_of_a_deployment_are_those_of_the_rules():
    by_deployment = "by (cluster, " + ", ".join(DEPLOYMENT_LABELS) + ")"
    texts = [one for one in rule_expressions() if "gpu_scaler_decision_info" in one]
    assert texts
    assert all(by_deployment in text for text in texts)


@pytest.mark.parametrize("collector", [*Collector])
def test_whoever_turns_a_collector_on_finds_it_in_a_panel(collector):
    shown = {name for query in dashboards.queries() for name in metric_names(query.expr)}
    assert shown & {one.name for one in FAMILIES if one.collector is collector}
