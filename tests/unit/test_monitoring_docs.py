# SPDX-License-Identifier: Apache-2.0
"""docs/monitoring.md says what the rules and the dashboards are, all of them and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import dashboards

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
DAEMONSET = ROOT / "daemonset"
GROUPS: list[dict[str, Any]] = yaml.safe_load((DAEMONSET / "prometheus-rules.yaml").read_text())[
    "groups"
]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
by_alert = pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])


def test_each_section_has_the_severity_and_the_time_of_its_alert():
    found = re.findall(r"^### (\w+)\n\n\*(\w+)(?:, after (\w+))?:\* \w", PAGE, re.M)
    assert [(name, severity.lower(), after or "0m") for name, severity, after in found] == [
        (one["alert"], one["labels"]["severity"], one["for"]) for one in ALERTS
    ]


def test_every_alert_has_a_section_and_every_section_an_alert():
    sections = PAGE.partition("\n## Alerts\n")[2]
    assert re.findall(r"^### (.+)$", sections, re.M) == [one["alert"] for one in ALERTS]
    assert all(text.strip() for text in re.split(r"^### .+$", sections, flags=re.M))


@by_alert
def test_an_alert_says_how_bad_what_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in {"critical", "warning"}
    fields = alert["annotations"]
    assert fields.keys() == {"summary", "description", "runbook"}
    assert not fields["summary"].endswith(".")
    assert fields["description"].endswith(".")
    assert fields["runbook"] == f"docs/monitoring.md#{alert['alert'].lower()}"


@by_alert
def test_a_description_names_what_it_is_about(alert):
    if not alert["expr"].startswith("absent("):
        assert "{{ $labels." in alert["annotations"]["description"]


def test_every_aggregation_keeps_clusters_apart():
    aggregations = [
        labels for rule in RULES for labels in re.findall(r"by \(([^)]*)\)", rule["expr"])
    ]
    assert aggregations
    assert all(labels.split(", ")[0] == "cluster" for labels in aggregations)


def test_what_is_recorded_is_listed():
    recorded = [rule["record"] for rule in RULES if "record" in rule]
    assert sorted(re.findall(r"^\| `(\w+:\w+:\w+)` \|", PAGE, re.M)) == sorted(recorded)


def test_every_dashboard_is_listed():
    listed = re.findall(r"^\| `([\w-]+)\.json` \|", PAGE, re.M)
    assert listed == sorted(dashboards.DASHBOARDS)


def test_the_operators_rules_are_the_same():
    text = (DAEMONSET / "prometheus-operator-rules.yaml").read_text()
    manifest = yaml.safe_load(text)
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
    )
    assert manifest["spec"]["groups"] == GROUPS


def test_the_jobs_do_what_the_page_asks_of_others():
    exporters, scaler = yaml.safe_load((DAEMONSET / "prometheus-scrape.yaml").read_text())[
        "scrape_configs"
    ]
    (down,) = (one["expr"] for one in ALERTS if one["alert"] == "GPUExporterDown")
    (pattern,) = re.findall(r'job=~"([^"]+)"', down)
    assert re.fullmatch(pattern, exporters["job_name"])
    assert {
        "source_labels": ["__meta_kubernetes_pod_node_name"],
        "target_label": "instance",
    } in exporters["relabel_configs"]
    assert scaler["honor_labels"] is True
