# SPDX-License-Identifier: Apache-2.0
"""What holds for every case of the chart, its names and its images."""

from __future__ import annotations

import pytest

from tests.chart import objects, only, pod_specs
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
