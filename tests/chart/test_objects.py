# SPDX-License-Identifier: Apache-2.0
"""What holds for whatever the chart is told, and what each switch changes."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.chart import CHART, NAMESPACE, objects, only, pod_specs
from tests.chart.cases import ALL, DIGEST, flags

pytestmark = pytest.mark.needs("helm")
every_case = pytest.mark.parametrize("case", ALL.values(), ids=ALL)
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"} | {
    f"ValidatingAdmissionPolicy{suffix}" for suffix in ("", "Binding")
}
STANDARD_LABELS = {"helm.sh/chart"} | {
    f"app.kubernetes.io/{name}" for name in ("part-of", "instance", "version", "managed-by")
}
DRIVER = ("bare-driver", "gke")


def exporter_pod(*given):
    return only(objects(*given), "DaemonSet", "gpu-exporter")["spec"]["template"]["spec"]


def scaler_pod(*given):
    return only(objects(*given), "Deployment", "gpu-scaler")["spec"]["template"]["spec"]


def container(pod, name):
    (found,) = (one for one in pod["containers"] if one["name"] == name)
    return found


def host_paths(pod):
    return {one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}


@every_case
def test_no_container_asks_for_a_gpu(case):
    for pod in pod_specs(objects(*case)):
        for one in pod["containers"]:
            for amounts in one["resources"].values():
                assert amounts.keys() <= {"cpu", "memory"}
            assert "nvidia.com" not in str(pod.get("resourceClaims", ""))


@every_case
def test_every_container_has_a_read_only_root_and_no_right_to_more(case):
    for pod in pod_specs(objects(*case)):
        for context in (one["securityContext"] for one in pod["containers"]):
            assert context["readOnlyRootFilesystem"] is True
            if not context.get("privileged"):
                assert context["capabilities"] == {"drop": ["ALL"]}
                assert context["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("name", ALL)
def test_the_exporter_is_privileged_only_where_there_is_no_nvidia_runtime(name):
    for pod in pod_specs(objects(*ALL[name])):
        privileged = {
            one["name"] for one in pod["containers"] if one["securityContext"].get("privileged")
        }
        is_exporter = "exporter" in {one["name"] for one in pod["containers"]}
        assert privileged == ({"exporter"} if name in DRIVER and is_exporter else set())


@every_case
def test_every_volume_is_mounted_and_every_mount_has_its_volume(case):
    for pod in pod_specs(objects(*case)):
        volumes = [one["name"] for one in pod.get("volumes", ())]
        mounts = {
            mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", ())
        }
        assert sorted(volumes) == sorted(mounts)


@every_case
def test_what_comes_from_the_node_or_from_a_secret_is_mounted_read_only(case):
    for pod in pod_specs(objects(*case)):
        for one in pod["containers"]:
            for mount in one.get("volumeMounts", ()):
                # The eks preset's /dev/null tells the runtime something, and the container nothing.
                assert mount.get("readOnly") or mount["name"] == "visible-devices"


@every_case
def test_every_object_says_whose_it_is_and_where(case):
    for one in objects(*case):
        metadata = one["metadata"]
        assert metadata["labels"].keys() >= STANDARD_LABELS
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "gpu-scaler"
        assert ("namespace" in metadata) == (one["kind"] not in CLUSTER_WIDE)


@every_case
def test_rights_are_bound_to_accounts_and_roles_that_there_are(case):
    found = objects(*case)
    names = {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found
    }
    accounts = {
        (one["metadata"]["namespace"], one["spec"]["template"]["spec"]["serviceAccountName"])
        for one in found
        if "template" in one.get("spec", {})
    }
    for one in found:
        if not one["kind"].endswith("RoleBinding"):
            continue
        role = one["roleRef"]
        namespace = one["metadata"].get("namespace") if role["kind"] == "Role" else None
        assert (role["kind"], namespace, role["name"]) in names or role["name"] in (
            "system:auth-delegator",
            "extension-apiserver-authentication-reader",
        )
        for subject in one["subjects"]:
            assert (subject["namespace"], subject["name"]) in accounts
    given = {(namespace, name) for kind, namespace, name in names if kind == "ServiceAccount"}
    assert given in (accounts, set())


@every_case
def test_no_rule_has_a_wildcard(case):
    for one in objects(*case):
        for rule in one.get("rules", ()):
            assert "*" not in str(rule)


def test_the_image():
    for pod in pod_specs(objects(*flags("image"))):
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        for one in pod["containers"]:
            assert one["image"] == f"registry.example/gpu-scaler@{DIGEST}"
            assert one["imagePullPolicy"] == "Always"


def test_an_image_that_the_nodes_have_is_not_pulled_from_a_registry():
    for pod in pod_specs(objects(*flags("local-image"))):
        for one in pod["containers"]:
            assert one["image"].startswith("gpu-scaler:")
            assert one["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(
    ("case", "image", "secrets"),
    [
        ("registry", "registry.example/team/gpu-scaler:0.1.0", ["registry", "second"]),
        ("global", "mirror.example:5000/gpu-scaler:0.1.0", ["mirror"]),
    ],
)
def test_the_registry_is_apart_from_the_repository(case, image, secrets):
    for pod in pod_specs(objects(*flags(case))):
        assert [one["name"] for one in pod["imagePullSecrets"]] == secrets
        assert {one["image"] for one in pod["containers"]} == {image}


def identities(found):
    return {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found
    }


def test_another_release_with_a_name_of_its_own_shares_no_object():
    elsewhere = ("--namespace=team-a-scaler", "--set=exporter.namespace=team-a-gpus")
    other = objects(*flags("names"), *elsewhere)
    assert not identities(objects(*flags("metrics-api"))) & identities(other)
    assert all(one["metadata"]["labels"]["team"] == "a" for one in other)


def test_a_name_of_its_own_and_common_labels_change_no_selector():
    def selectors(case):
        return [
            (one["kind"], one["spec"].get("selector") or one["spec"].get("podSelector"))
            for one in objects(*flags(case))
            if one["kind"] in ("Deployment", "DaemonSet", "Service", "NetworkPolicy")
        ]

    assert selectors("names")
    for _, selector in selectors("names"):
        assert (selector.get("matchLabels") or selector).keys() == {"app.kubernetes.io/name"}


def test_names_begin_with_the_release_and_the_override():
    names = {one["metadata"]["name"] for one in objects(*flags("name"))}
    assert {"gpu-scaler-gpus", "gpu-scaler-gpus-exporter", "gpu-scaler-gpus-metrics-api"} <= names
    kept = {"gpu-exporter", "gpu-metrics-api"}
    assert names & kept == {"gpu-exporter"}  # the namespace, a value of its own


def test_a_new_chart_alone_restarts_no_pod():
    for one in objects():
        if "template" in one.get("spec", {}):
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert not [name for name in labels if "version" in name or "chart" in name]


def test_accounts_have_the_name_and_the_annotations_that_they_are_given():
    found = objects(*flags("accounts"))
    for name in ("scaling", "exporting"):
        assert only(found, "ServiceAccount", name)["metadata"]["annotations"] == {"note": "ours"}
    assert {pod["serviceAccountName"] for pod in pod_specs(found)} == {"scaling", "exporting"}
    assert not [
        one for one in objects(*flags("accounts-of-others")) if one["kind"] == "ServiceAccount"
    ]


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
    ("case", "missing"),
    [("exporter-only", "Deployment"), ("scaler-only", "DaemonSet"), ("sidecar", "Deployment")],
)
def test_one_without_the_other(case, missing):
    kinds = {one["kind"] for one in objects(*flags(case))}
    assert missing not in kinds
    assert kinds & {"Deployment", "DaemonSet"}


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


@every_case
def test_a_service_leads_to_ports_and_pods_that_there_are(case):
    found = objects(*case)
    pods = [
        (one["metadata"]["namespace"], one["spec"]["template"])
        for one in found
        if "template" in one.get("spec", {})
    ]
    for service in (one for one in found if one["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        (template,) = (
            template
            for namespace, template in pods
            if namespace == service["metadata"]["namespace"]
            and selector <= template["metadata"]["labels"].items()
        )
        ports = [port for one in template["spec"]["containers"] for port in one["ports"]]
        numbers = {value for port in ports for value in (port["name"], port["containerPort"])}
        assert {one["targetPort"] for one in service["spec"]["ports"]} <= numbers


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


def test_gke_gets_its_quota_for_critical_pods():
    quota = only(objects(*ALL["gke"]), "ResourceQuota", "gpu-exporter")["spec"]
    assert quota["scopeSelector"]["matchExpressions"][0]["values"] == [
        exporter_pod(*ALL["gke"])["priorityClassName"]
    ]


def test_the_namespace_of_the_release_can_be_rendered_for_kubectl():
    labels = only(objects("--set=createNamespace=true"), "Namespace", NAMESPACE)["metadata"][
        "labels"
    ]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
