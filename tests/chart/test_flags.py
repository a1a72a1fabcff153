# SPDX-License-Identifier: Apache-2.0
"""The programs understand the flags that the chart gives them, and mean the same by them."""

from __future__ import annotations

import argparse

import pytest

from exporter.cli.config import parse
from exporter.cli.flags import ENVIRONMENT_PREFIX
from exporter.model import Collector
from scaler.cli.config import add_run_arguments, parse_run_arguments
from tests.chart import objects, pod_specs
from tests.chart.cases import ALL, flags
from toolkit.cli.flags import environment_name

pytestmark = pytest.mark.needs("helm")
IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def containers(given, name):
    return [
        one
        for pod in pod_specs(objects(*given))
        for one in pod["containers"]
        if one["name"] == name
    ]


def exporter_config(given):
    (found,) = containers(given, "exporter")
    environment = {one["name"]: one["value"] for one in found["env"] if "value" in one}
    assert found["command"] == ["gpu-exporter"]
    return parse(found.get("args", ()), environment | IN_A_POD, host_name="n", version="0")


def scaler_config(given):
    (found,) = containers(given, "scaler")
    assert found["command"] == ["gpu-scaler", "run"]
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_run_arguments(parser, {})
    return parse_run_arguments(parser.parse_args(found["args"]))


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_the_programs_take_every_flag(case):
    given = pod_specs(objects(*case))
    names = {one["name"] for pod in given for one in pod["containers"]}
    assert names
    if "exporter" in names:
        exporter_config(case)
    if "scaler" in names:
        scaler_config(case)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_ports_are_where_the_programs_listen(case):
    ports = {"metrics": 9445, "http": 9446, "metrics-api": 6443}
    if case == flags("host-network"):
        ports["metrics"] = 19445
    for pod in pod_specs(objects(*case)):
        for one in pod["containers"]:
            for port in one["ports"]:
                assert port["containerPort"] == ports[port["name"]]
    for one in containers(case, "exporter"):
        assert exporter_config(case).listen_port == ports[one["ports"][0]["name"]]
    for _ in containers(case, "scaler"):
        config = scaler_config(case)
        assert config.listen_port == ports["http"]
        assert config.metrics_api is None or config.metrics_api.listen_port == ports["metrics-api"]


def test_the_log_and_the_loop():
    exporter, scaler = exporter_config(flags("settings")), scaler_config(flags("settings"))
    assert (exporter.log_level, exporter.log_format) == ("warning", "json")
    assert (scaler.log_level, scaler.log_format) == ("debug", "json")
    assert (scaler.interval_seconds, scaler.dry_run) == (5.0, True)


@pytest.mark.parametrize("case", ["names", "name", "default"])
def test_the_lease_and_what_goes_with_it_have_the_name_that_the_scaler_knows(case):
    config = scaler_config(flags(case))
    names = {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in objects(*flags(case))
    }
    assert ("Lease", config.lease_namespace, config.lease_name) in names
    assert ("ConfigMap", config.lease_namespace, f"{config.lease_name}-zeros") in names
    if (api := config.metrics_api) is not None:
        assert ("Service", api.service_namespace, api.service_name) in names
        assert ("Secret", api.service_namespace, api.secret_name) in names
        assert ("ClusterRole", None, api.service_name) in names


def test_the_collectors():
    config = exporter_config(flags("collectors"))
    assert config.collectors == {Collector.POWER, Collector.XID}
    assert config.extra_resource_names == ("a.example/gpu",)
    assert exporter_config(flags("containers")).collectors == set(Collector)


def test_what_asks_the_api():
    assert exporter_config(flags("dra")).dra is True
    assert exporter_config(flags("pod-labels")).pod_labels == "team|app-.+"


def test_where_the_cgroups_are():
    (found,) = containers(flags("finished-pods-v1"), "exporter")
    mounted = [one["mountPath"] for one in found["volumeMounts"] if one["name"] == "cgroup"]
    folder = exporter_config(flags("finished-pods-v1")).cgroup_folder
    assert folder == "/host/sys/fs/cgroup"
    assert mounted == [f"{folder}/pids"]


def test_the_scaler_believes_the_exporters_of_the_release():
    exporters = exporter_config(flags("web-config"))
    scaler = scaler_config(flags("web-config")).exporters
    assert exporters.web_config_file == "/etc/gpu-exporter/web/web-config.yaml"
    assert scaler.scheme == "https"
    assert scaler.access.ca_file == "/etc/gpu-scaler/exporters/ca.crt"
    assert scaler.access.server_name == "exporter"
    assert scaler.access.username == "us"
    assert scaler.access.password_file == "/etc/gpu-scaler/exporters/password"
    assert scaler_config(flags("passwords-without-tls")).exporters.scheme == "http"
    shown = scaler_config(flags("client-certificates")).exporters.access
    assert (shown.cert_file, shown.key_file) == (
        "/etc/gpu-scaler/exporters/tls.crt",
        "/etc/gpu-scaler/exporters/tls.key",
    )


def test_the_status_page_reads_the_file_that_is_mounted():
    assert scaler_config(flags("default")).web_config_file == ""
    for case, name in (
        ("status-page-web-config", "web-config.yaml"),
        ("status-page-client-certificates", "web.yml"),
        ("sidecar-with-tokens", "web-config.yaml"),
    ):
        (found,) = containers(flags(case), "scaler")
        mounted = {one["name"]: one["mountPath"] for one in found["volumeMounts"]}
        folder = mounted["scaler-web-config"]
        assert scaler_config(flags(case)).web_config_file == f"{folder}/{name}"
        (pod,) = [
            pod
            for pod in pod_specs(objects(*flags(case)))
            if "scaler" in {one["name"] for one in pod["containers"]}
        ]
        secrets = {one["name"]: one.get("secret", {}).get("secretName") for one in pod["volumes"]}
        assert secrets["scaler-web-config"] == "page"


def test_prometheus():
    config = scaler_config(flags("prometheus"))
    assert config.source == "prometheus"
    assert config.prometheus is not None
    assert config.prometheus.url == "https://thanos.monitoring:9091"
    assert config.prometheus.matchers == ('job="dcgm-exporter"', 'cluster="eu-1"')
    assert config.prometheus.params == (("dedup", "true"),)
    assert config.prometheus.access.headers == (("X-Scope-OrgID", "a"),)
    assert config.prometheus.access.bearer_token_file == "/etc/gpu-scaler/prometheus/token"


def test_queries_go_to_prometheus_beside_the_exporters():
    config = scaler_config(flags("queries"))
    assert config.source == "exporters"
    assert config.exporters.access.ca_file == "/etc/gpu-scaler/exporters/ca.crt"
    assert config.prometheus is not None
    assert config.prometheus.access.ca_file == "/etc/gpu-scaler/prometheus/ca.crt"
    (found,) = containers(flags("queries"), "scaler")
    mounted = {one["mountPath"] for one in found["volumeMounts"]}
    assert {"/etc/gpu-scaler/exporters", "/etc/gpu-scaler/prometheus"} <= mounted


def test_credentials_for_model_servers_are_mounted_and_go_to_their_namespaces():
    config = scaler_config(flags("model-servers")).servers
    folder = "/etc/gpu-scaler/servers"
    assert config.access.ca_file == f"{folder}/ca.crt"
    assert config.access.bearer_token_file == f"{folder}/token"
    assert config.access.server_name == "llm"
    assert config.namespaces == ("chat", "search")
    assert config.credentials_file == f"{folder}/credentials.yaml"
    (found,) = containers(flags("model-servers"), "scaler")
    assert folder in {one["mountPath"] for one in found["volumeMounts"]}


def test_whose_idle_gpus_are_counted():
    assert scaler_config(flags("default")).idle_all is False
    assert scaler_config(flags("idle-gpus")).idle_all is True


def test_namespaces_and_kinds():
    config = scaler_config(flags("namespaces"))
    assert config.namespaces == ("team-a", "team-b")
    assert config.exporters_namespace == "gpu-exporter"
    assert scaler_config(flags("kinds")).kinds == (
        "deployments.apps",
        "statefulsets.apps",
        "rollouts.argoproj.io",
    )


@pytest.mark.parametrize(
    ("case", "namespace"), [("default", "elsewhere"), ("sidecar", "gpu-exporter")]
)
def test_the_lease_is_where_the_scaler_may_write_it(case, namespace):
    given = (*flags(case), "--namespace=elsewhere")
    assert scaler_config(given).lease_namespace == namespace
    leases = [one for one in objects(*given) if one["kind"] == "Lease"]
    assert [one["metadata"]["namespace"] for one in leases] == [namespace]


def test_the_certificate_is_for_the_service_and_owned_by_the_clusterrole():
    given = (*flags("metrics-api"), "--namespace=elsewhere")
    settings = scaler_config(given).metrics_api
    assert settings is not None
    names = {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in objects(*given)
    }
    assert ("Service", settings.service_namespace, settings.service_name) in names
    assert ("Secret", settings.service_namespace, settings.secret_name) in names
    # The scaler makes the ClusterRole that is called like the Service the owner of the APIServices.
    assert ("ClusterRole", None, settings.service_name) in names


@pytest.mark.parametrize("case", ["metrics-api-own-certificate", "metrics-api-cert-manager"])
def test_another_certificate(case):
    settings = scaler_config(ALL[case]).metrics_api
    assert settings is not None
    assert settings.cert_file == "/etc/gpu-scaler/metrics-api/tls.crt"
    assert settings.key_file == "/etc/gpu-scaler/metrics-api/tls.key"
    assert settings.ca_file == "/etc/gpu-scaler/metrics-api/ca.crt"


def test_an_environment_variable_of_the_chart_is_one_of_the_program():
    (found,) = containers(flags("finished-pods"), "exporter")
    names = [one["name"] for one in found["env"]]
    assert environment_name(ENVIRONMENT_PREFIX, "path.cgroup") in names
