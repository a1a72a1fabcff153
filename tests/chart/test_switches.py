# SPDX-License-Identifier: Apache-2.0
"""What each switch of the chart adds: roles, policies, monitors, services, routes, rules."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.chart import CHART, NAMESPACE, objects, only
from tests.chart.cases import ALL, flags

pytestmark = pytest.mark.needs("helm")


@pytest.mark.parametrize(
    ("case", "missing"),
    [("exporter-only", "Deployment"), ("scaler-only", "DaemonSet"), ("sidecar", "Deployment")],
)
def test_one_without_the_other(case, missing):
    kinds = {one["kind"] for one in objects(*flags(case))}
    assert missing not in kinds
    assert kinds & {"Deployment", "DaemonSet"}


def test_prometheus_scrapes_a_status_page_with_tls_by_https():
    (monitor,) = (
        one
        for one in objects(*flags("pod-monitors"))
        if (one["kind"], one["metadata"]["name"]) == ("PodMonitor", "gpu-scaler")
    )
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["basicAuth"] == {"username": {"name": "page"}}
    deployment = only(objects(*flags("status-page-web-config")), "Deployment", "gpu-scaler")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scheme"] == "https"


def test_namespaces_get_roles_and_there_is_no_clusterrole():
    found = objects(*flags("namespaces"))
    assert not [one for one in found if one["kind"].startswith("ClusterRole")]
    roles = {
        one["metadata"]["namespace"]
        for one in found
        if one["metadata"]["name"] == "gpu-scaler" and one["kind"] == "Role"
    }
    assert roles == {"team-a", "team-b", "gpu-exporter"}


def test_each_kind_has_rights_of_its_own():
    rules = only(objects(*flags("kinds")), "ClusterRole", "gpu-scaler")["rules"]
    assert {
        "apiGroups": ["argoproj.io"],
        "resources": ["rollouts/scale"],
        "verbs": ["get", "patch"],
    } in rules
    assert {
        "apiGroups": ["apps"],
        "resources": ["statefulsets"],
        "verbs": ["list", "watch"],
    } in rules


@pytest.mark.parametrize("case", ["metrics-api-own-certificate", "metrics-api-cert-manager"])
def test_with_another_certificate_the_scaler_reads_no_secret(case):
    found = objects(*ALL[case])
    assert not [one for one in found if one["kind"] == "Secret"]
    assert not [one for one in found if "secrets" in str(one.get("rules", ()))]


def test_cert_manager_is_asked_for_the_name_of_the_service():
    certificate = only(objects(*ALL["metrics-api-cert-manager"]), "Certificate", "gpu-metrics-api")
    assert certificate["spec"]["dnsNames"] == [f"gpu-metrics-api.{NAMESPACE}.svc"]


def test_a_single_replica_can_be_drained():
    budgets = [
        only(objects(*flags(case)), "PodDisruptionBudget", "gpu-scaler")["spec"]
        for case in ("default", "one-replica")
    ]
    assert budgets[0]["minAvailable"] == 1
    assert budgets[1]["maxUnavailable"] == 1


def test_a_policy_lets_the_scaler_and_prometheus_in_and_nothing_out():
    found = only(objects(*flags("network-policies")), "NetworkPolicy", "gpu-exporter")["spec"]
    assert found["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in found
    (rule,) = found["ingress"]
    assert rule["ports"] == [{"port": "metrics"}]
    assert len(rule["from"]) == 2


@pytest.mark.parametrize("case", ["network-policies", "metrics-api"])
def test_a_policy_lets_the_scaler_reach_the_api_server_and_model_servers(case):
    found = only(objects(*flags(case)), "NetworkPolicy", "gpu-scaler")["spec"]
    assert found["policyTypes"] == ["Ingress"]


def test_a_pod_monitor_follows_the_exporters_tls():
    found = only(objects(*ALL["pod-monitors"]), "PodMonitor", "gpu-exporter")
    assert found["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = found["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["interval"] == "15s"
    assert endpoint["tlsConfig"] == {"insecureSkipVerify": True}


@pytest.mark.parametrize(
    ("name", "honors", "scheme"), [("gpu-exporter", False, "http"), ("gpu-scaler", True, "https")]
)
def test_a_service_monitor_finds_its_service_and_the_port(name, honors, scheme):
    found = objects(*ALL["service-monitors"])
    monitor = only(found, "ServiceMonitor", name)
    service = only(found, "Service", name)
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    # The alerts know the exporters' job by this name.
    assert labels[monitor["spec"]["jobLabel"]] == name
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {one["name"] for one in service["spec"]["ports"]}
    assert endpoint["honorLabels"] is honors
    assert endpoint.get("scheme", "http") == scheme


def test_relabelings_come_after_the_charts():
    monitor = only(objects(*ALL["service-monitors"]), "ServiceMonitor", "gpu-exporter")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert [one["targetLabel"] for one in endpoint["relabelings"]] == ["instance", "rack"]
    assert endpoint["metricRelabelings"] == [{"action": "labeldrop"}]
    assert endpoint["interval"] == "15s"


def test_a_route_leads_to_the_service():
    ingress = only(objects(*flags("ingress")), "Ingress", "gpu-scaler")["spec"]
    (rule,) = ingress["rules"]
    assert rule["host"] == "gpus.example"
    (path,) = rule["http"]["paths"]
    service = only(objects(*flags("ingress")), "Service", "gpu-scaler")
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]
    found = objects(*ALL["gateway"])
    (route,) = only(found, "HTTPRoute", "gpu-scaler")["spec"]["rules"]
    (port,) = only(found, "Service", "gpu-scaler")["spec"]["ports"]
    assert route["backendRefs"] == [{"name": "gpu-scaler", "port": port["port"]}]


def test_the_rules_are_those_of_the_file():
    file = yaml.safe_load((CHART.parent / "prometheus-rules.yaml").read_text(encoding="utf-8"))
    rule = only(objects(*ALL["rules"]), "PrometheusRule", "gpu-scaler")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"]["groups"] == file["groups"]


def test_without_the_scaler_no_rule_misses_it():
    rule = only(objects(*ALL["rules-without-scaler"]), "PrometheusRule", "gpu-scaler")
    assert rule["metadata"]["namespace"] == "monitoring"
    assert "gpu-scaler" not in {group["name"] for group in rule["spec"]["groups"]}
    alerts = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
    assert alerts
    for one in alerts:
        url = one["annotations"]["runbook_url"]
        assert url == f"https://wiki.example/gpus#{one['alert'].lower()}"


def test_grafanas_sidecar_finds_every_dashboard():
    maps = [one for one in objects(*flags("dashboards")) if "data" in one]
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in maps)
    data = {name: text for one in maps for name, text in one["data"].items()}
    files = {path.name: path for path in (CHART.parent / "dashboards").glob("*.json")}
    assert data.keys() == files.keys()
    for name, text in data.items():
        assert json.loads(text) == json.loads(files[name].read_text(encoding="utf-8"))


def test_pod_monitors_keep_the_namespaces_that_the_scalers_series_name():
    found = only(objects(*ALL["pod-monitors"]), "PodMonitor", "gpu-scaler")
    (endpoint,) = found["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True


def test_the_namespace_of_the_release_can_be_rendered_for_kubectl():
    labels = only(objects("--set=createNamespace=true"), "Namespace", NAMESPACE)["metadata"][
        "labels"
    ]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
