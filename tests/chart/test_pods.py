# SPDX-License-Identifier: Apache-2.0
"""The settings of the exporter's and the scaler's pods: volumes, tokens, probes, networks."""

from __future__ import annotations

import pytest

from tests.chart import objects, only
from tests.chart.cases import ALL, flags

pytestmark = pytest.mark.needs("helm")


def exporter_pod(*given):
    return only(objects(*given), "DaemonSet", "gpu-exporter")["spec"]["template"]["spec"]


def scaler_pod(*given):
    return only(objects(*given), "Deployment", "gpu-scaler")["spec"]["template"]["spec"]


def container(pod, name):
    (found,) = (one for one in pod["containers"] if one["name"] == name)
    return found


def host_paths(pod):
    return {one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}


@pytest.mark.parametrize(
    ("case", "policy"),
    [("host-network", "ClusterFirstWithHostNet"), ("host-network-of-both", "Default")],
)
def test_in_the_hosts_network_the_clusters_names_are_still_found(case, policy):
    pod = exporter_pod(*flags(case))
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, policy)


def test_in_the_hosts_network_the_scaler_is_still_called_like_its_pod():
    for pod, shares in (
        (exporter_pod(*flags("host-network-of-both")), True),
        (scaler_pod("--set=scaler.hostNetwork=true"), True),
        (scaler_pod(*flags("host-network")), False),
    ):
        names = [one["name"] for one in container(pod, "scaler").get("env", ())]
        assert ("GPU_SCALER_IDENTITY" in names) is shares


def test_the_settings_of_a_pod():
    found = objects(*flags("settings"))
    deployment = only(found, "Deployment", "gpu-scaler")["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["fsGroup"] == 65532
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["dnsConfig"] == {"searches": ["a.example"]}
    assert "topologySpreadConstraints" not in pod
    strategy = only(found, "DaemonSet", "gpu-exporter")["spec"]["updateStrategy"]
    assert strategy == {"type": "OnDelete"}
    budget = only(found, "PodDisruptionBudget", "gpu-scaler")["spec"]
    assert budget["maxUnavailable"] == "50%"
    assert "minAvailable" not in budget


def test_a_default_of_the_security_context_can_be_removed():
    pod = scaler_pod("--set=scaler.podSecurityContext.runAsUser=null")
    assert "runAsUser" not in pod["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("program", ["exporter", "scaler"])
def test_a_container_of_ones_own_stands_after_the_programs(program):
    value = f"{program}.extraContainers"
    given = (f"--set={value}[0].name=proxy", f"--set={value}[0].image=registry.example/proxy")
    pod = {"exporter": exporter_pod, "scaler": scaler_pod}[program](*given)
    assert [one["name"] for one in pod["containers"]] == [program, "proxy"]


@pytest.mark.parametrize(
    ("case", "paths", "host_pid"),
    [
        ("default", set(), False),
        ("containers", {"/var/log/pods", "/var/log/containers"}, True),
        ("finished-pods", {"/var/log/pods", "/sys/fs/cgroup"}, False),
        ("finished-pods-v1", {"/var/log/pods", "/sys/fs/cgroup/pids"}, False),
        ("bare-driver", {"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"}, False),
        ("gke", {"/home/kubernetes/bin/nvidia"}, False),
        ("eks", {"/dev/null"}, False),
    ],
)
def test_which_paths_of_the_node_the_exporter_sees(case, paths, host_pid):
    pod = exporter_pod(*ALL[case])
    assert host_paths(pod) == {"/var/lib/kubelet/pod-resources"} | paths
    assert pod.get("hostPID", False) is host_pid
    assert not pod.keys() & {"hostNetwork", "hostIPC", "dnsPolicy"}


def test_the_socket_of_another_kubelet_is_mounted_where_the_exporter_looks():
    pod = exporter_pod(*flags("kubelet-elsewhere"))
    assert host_paths(pod) == {"/var/snap/microk8s/common/var/lib/kubelet/pod-resources"}
    (mount,) = container(pod, "exporter")["volumeMounts"]
    assert mount["mountPath"] == "/var/lib/kubelet/pod-resources"


@pytest.mark.parametrize(
    ("case", "role", "has_token"),
    [
        ("default", None, False),
        ("dra", "gpu-exporter-dra", True),
        ("pod-labels", "gpu-exporter-pod-labels", True),
    ],
)
def test_the_exporter_has_a_token_only_for_what_needs_it(case, role, has_token):
    found = objects(*flags(case))
    roles = {one["metadata"]["name"] for one in found if one["kind"] == "ClusterRole"}
    assert roles == {"gpu-scaler"} | ({role} if role else set())
    assert exporter_pod(*flags(case))["automountServiceAccountToken"] is has_token


def test_beside_the_scaler_the_exporter_still_has_no_token():
    pod = exporter_pod(*flags("sidecar"))
    assert pod["automountServiceAccountToken"] is False
    mounted = {one["name"]: {m["name"] for m in one["volumeMounts"]} for one in pod["containers"]}
    assert "token" in mounted["scaler"]
    assert "token" not in mounted["exporter"]
    assert container(pod, "scaler")["securityContext"]["runAsNonRoot"] is True


def test_a_sidecar_does_not_make_the_exporter_unready():
    assert "readinessProbe" not in container(exporter_pod(*flags("sidecar")), "scaler")


@pytest.mark.parametrize(
    ("case", "probe"),
    [
        ("default", {"httpGet": {"path": "/readyz", "port": "metrics"}}),
        ("web-config", {"httpGet": {"path": "/readyz", "port": "metrics", "scheme": "HTTPS"}}),
        ("passwords-without-tls", {"httpGet": {"path": "/readyz", "port": "metrics"}}),
        ("client-certificates", {"tcpSocket": {"port": "metrics"}}),
    ],
)
def test_how_the_kubelet_looks_at_the_exporter(case, probe):
    found = container(exporter_pod(*flags(case)), "exporter")["readinessProbe"]
    assert {name: value for name, value in found.items() if not name.endswith("Seconds")} == probe


@pytest.mark.parametrize(
    ("case", "probe"),
    [
        ("default", {"httpGet": {"path": "/healthz", "port": "http"}}),
        (
            "status-page-web-config",
            {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTPS"}},
        ),
        ("status-page-client-certificates", {"tcpSocket": {"port": "http"}}),
    ],
)
def test_how_the_kubelet_and_prometheus_look_at_the_scaler(case, probe):
    found = container(scaler_pod(*flags(case)), "scaler")["livenessProbe"]
    assert {name: value for name, value in found.items() if not name.endswith("Seconds")} == probe


def test_gke_gets_its_quota_for_critical_pods():
    quota = only(objects(*ALL["gke"]), "ResourceQuota", "gpu-exporter")["spec"]
    assert quota["scopeSelector"]["matchExpressions"][0]["values"] == [
        exporter_pod(*ALL["gke"])["priorityClassName"]
    ]
