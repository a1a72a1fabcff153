# SPDX-License-Identifier: Apache-2.0
"""Install, upgrade, uninstall: what is made, what outlives a change, and that nothing is left."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.chart import CHART, IMAGE
from tests.cluster.helm.conftest import settled, until_left
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.helm.releasing import Cluster
    from tests.running import ScalerProcess

pytestmark = pytest.mark.needs("helm")
GROUP = "custom.metrics.k8s.io"
API_SERVICES = {f"APIService - {version}.{GROUP}" for version in ("v1beta1", "v1beta2")}
METRICS_API = "scaler.metricsApi.enabled=true"
NAMESPACE_OF_THE_RELEASE = {
    "Namespace - gpu-scaler",
    "ServiceAccount gpu-scaler default",
    "ConfigMap gpu-scaler kube-root-ca.crt",
}


def holder(cluster: Cluster, namespace: str = "gpu-scaler") -> str:
    lease = cluster.get("lease", "gpu-scaler", namespace)
    return str(lease.get("spec", {}).get("holderIdentity", ""))


def may(cluster: Cluster, question: str, account: str = "gpu-scaler:gpu-scaler") -> bool:
    done = cluster.plane.kubectl(
        *("auth", "can-i", *question.split(), f"--as=system:serviceaccount:{account}")
    )
    return done.stdout.strip() == "yes"


async def until_it_leads(cluster: Cluster, identity: str, namespace: str = "gpu-scaler") -> None:
    await until(
        lambda: holder(cluster, namespace) == identity,
        what=f"{identity} holds the Lease",
    )


async def until_registered(cluster: Cluster) -> None:
    await until(lambda: cluster.objects() >= API_SERVICES, what="the APIServices")


@contextmanager
def gpu_node(cluster: Cluster, name: str, labels: dict[str, str]) -> Iterator[None]:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    cluster.plane.apply(json.dumps(node))
    try:
        yield
    finally:
        cluster.plane.request("DELETE", f"/api/v1/nodes/{name}")


async def test_nothing_is_left_behind(cluster):
    before = await settled(cluster)
    cluster.install(
        METRICS_API,
        *(f"{name}.enabled=true" for name in ("admissionPolicy", "dashboards", "scaler.service")),
    )
    made = cluster.objects() - before
    assert made >= {
        "ValidatingAdmissionPolicyBinding - gpu-scaler-annotations",
        "ConfigMap gpu-scaler gpu-scaler-dashboard-cluster",
        "Service gpu-scaler gpu-scaler",
        "Lease gpu-scaler gpu-scaler",
        "ConfigMap gpu-scaler gpu-scaler-zeros",
        "Secret gpu-scaler gpu-metrics-api",
    }
    async with cluster.scaler(cluster.pod("deployment", "gpu-scaler"), "one") as scaler:
        await until_it_leads(cluster, "one")
        await until_registered(cluster)
        assert cluster.get("secret", "gpu-metrics-api")["data"]
        # The worst end: nobody is left to clear up, and the APIServices lead to nobody.
        scaler.process.kill()
    cluster.uninstall()
    await until_left(cluster, before | NAMESPACE_OF_THE_RELEASE)
    cluster.plane.kubectl("delete", "namespace", "gpu-scaler", "--wait=false")
    await until_left(cluster, before)


async def test_nothing_is_left_behind_while_the_scaler_still_runs(cluster):
    before = await settled(cluster)
    cluster.install(METRICS_API)
    async with cluster.scaler(cluster.pod("deployment", "gpu-scaler"), "one"):
        await until_it_leads(cluster, "one")
        await until_registered(cluster)
        cluster.uninstall()
        await until_left(cluster, before | NAMESPACE_OF_THE_RELEASE)
    assert cluster.objects() == before | NAMESPACE_OF_THE_RELEASE


async def test_what_the_scaler_wrote_outlives_upgrades(cluster):
    cluster.install(METRICS_API)
    async with cluster.scaler(cluster.pod("deployment", "gpu-scaler"), "one"):
        await until_it_leads(cluster, "one")
        await until_registered(cluster)
        certificate = cluster.get("secret", "gpu-metrics-api")["data"]
        api_service = cluster.get("apiservice", f"v1beta2.{GROUP}")["metadata"]["uid"]
        cluster.plane.kubectl(
            *("--namespace=gpu-scaler", "annotate", "lease", "gpu-scaler", "gpu-scaler/paused=true")
        )

        zeros = cluster.plane.kubectl(
            *("--namespace=gpu-scaler", "patch", "configmap", "gpu-scaler-zeros"),
            *("--type=merge", '--patch={"data":{"uid":"default/web"}}'),
            kubeconfig=cluster.plane.kubeconfig_for("gpu-scaler/gpu-scaler"),
        )
        assert zeros.returncode == 0, zeros.stderr

        cluster.upgrade(
            *(METRICS_API, "scaler.replicas=3", "scaler.resources.limits.memory=1Gi"),
            *("scaler.kinds={deployments.apps,statefulsets.apps}", "exporter.dra=true"),
        )

        assert holder(cluster) == "one"
        lease = cluster.get("lease", "gpu-scaler")
        assert lease["metadata"]["annotations"]["gpu-scaler/paused"] == "true"
        assert cluster.get("configmap", "gpu-scaler-zeros")["data"] == {"uid": "default/web"}
        assert cluster.get("secret", "gpu-metrics-api")["data"] == certificate
        assert cluster.get("apiservice", f"v1beta2.{GROUP}")["metadata"]["uid"] == api_service
    deployment = cluster.get("deployment", "gpu-scaler")["spec"]
    assert deployment["replicas"] == 3
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert may(cluster, "patch statefulsets.apps --subresource=scale --namespace=default")
    assert may(cluster, "list resourceslices.resource.k8s.io", "gpu-exporter:gpu-exporter")


async def test_the_metrics_api_goes_and_comes_with_its_value(cluster):
    cluster.install(METRICS_API)
    async with cluster.scaler(cluster.pod("deployment", "gpu-scaler"), "one"):
        await until_registered(cluster)
        cluster.upgrade("scaler.metricsApi.enabled=false")
        await until(
            lambda: not cluster.objects() & API_SERVICES,
            what="the APIServices have gone with their owner",
        )
        assert not may(cluster, f"delete apiservices/v1beta1.{GROUP}")
    assert cluster.helm("rollback", "gpu-scaler", "1", "--namespace=gpu-scaler").returncode == 0
    async with cluster.scaler(cluster.pod("deployment", "gpu-scaler"), "two"):
        await until_registered(cluster)


async def test_from_all_namespaces_to_some_and_back(cluster):
    for name in ("team-a", "team-b"):
        cluster.plane.kubectl("create", "namespace", name)
    try:
        cluster.install()
        assert may(cluster, "list pods --all-namespaces")
        cluster.upgrade("scaler.namespaces={team-a}")
        assert not may(cluster, "list pods --all-namespaces")
        for question in ("list pods", "patch deployments.apps --subresource=scale"):
            assert may(cluster, f"{question} --namespace=team-a")
            assert not may(cluster, f"{question} --namespace=team-b")
        assert may(cluster, "list pods --namespace=gpu-exporter")
        async with cluster.scaler(cluster.pod("deployment", "gpu-scaler"), "one") as scaler:
            await until_it_leads(cluster, "one")
            await until(lambda: _is_ready(scaler), what="it is ready")
        cluster.upgrade("--reset-values")
        assert may(cluster, "list pods --all-namespaces")
        assert "Role team-a gpu-scaler" not in cluster.objects()
    finally:
        for name in ("team-a", "team-b"):
            cluster.plane.kubectl("delete", "namespace", name, "--wait=false")


async def test_beside_the_exporters_one_acts_and_the_others_wait(cluster):
    cluster.install("scaler.mode=sidecar")
    assert not [one for one in cluster.objects() if one.startswith("Deployment gpu-")]
    pod = cluster.pod("daemonset", "gpu-exporter", "gpu-exporter")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(cluster.scaler(pod, "one"))
        await until_it_leads(cluster, "one", "gpu-exporter")
        two = await stack.enter_async_context(cluster.scaler(pod, "two"))
        await until(lambda: _is_ready(two), what="the second one is ready")
        assert not (await two.document("/api/v1/decisions"))["leading"]
        one.process.terminate()
        await until_it_leads(cluster, "two", "gpu-exporter")
    # Its rights go with the mode.
    account = "gpu-exporter:gpu-exporter"
    assert may(cluster, "patch deployments.apps --subresource=scale", account)
    cluster.upgrade("scaler.mode=deployment")
    assert not may(cluster, "patch deployments.apps --subresource=scale", account)
    assert "Lease gpu-exporter gpu-scaler" not in cluster.objects()
    assert "Deployment gpu-scaler gpu-scaler" in cluster.objects()


@pytest.mark.parametrize(
    ("preset", "labels"),
    [
        ("gpu-operator", {"nvidia.com/gpu.present": "true"}),
        ("gke", {"cloud.google.com/gke-accelerator": "nvidia-l4"}),
        ("eks", {"eks.amazonaws.com/instance-gpu-manufacturer": "nvidia"}),
        ("eks", {"karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia"}),
        ("eks", {"k8s.amazonaws.com/accelerator": "nvidia-tesla-t4"}),
        ("bare-driver", {"feature.node.kubernetes.io/pci-0302_10de.present": "true"}),
    ],
)
async def test_nodes_with_gpus_get_an_exporter_and_others_none(cluster, preset, labels):
    if preset == "gpu-operator":
        runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "nvidia"}
        cluster.plane.apply(json.dumps({**runtime, "metadata": {"name": "nvidia"}}))
    try:
        cluster.install(f"--values={CHART / 'presets' / f'{preset}.yaml'}")
        with gpu_node(cluster, "with-gpus", labels), gpu_node(cluster, "without", {}):
            await until(lambda: _wanted(cluster) == 1, what="one exporter is wanted")
            pods = cluster.plane.request("GET", "/api/v1/namespaces/gpu-exporter/pods")["items"]
            assert len(pods) == 1
            assert "with-gpus" in str(pods[0]["spec"]["affinity"])
            assert pods[0]["spec"]["priorityClassName"] == "system-node-critical"
        cluster.uninstall()
    finally:
        if preset == "gpu-operator":
            cluster.plane.kubectl("delete", "runtimeclass", "nvidia")


def test_what_helm_says_in_the_end(cluster):
    output = cluster.install()
    assert "kubectl -n gpu-exporter get daemonset gpu-exporter" in output
    assert "enforce=restricted" in output
    for command in _commands(output):
        done = cluster.plane.kubectl(*command.split()[1:])
        assert done.returncode == 0, done.stderr
    assert "kubectl label namespace" not in cluster.upgrade()


def test_a_second_release_is_refused(cluster):
    cluster.install()
    flags = ("--namespace=another", "--create-namespace", f"--set={IMAGE}")
    done = cluster.helm("install", "another", CHART, *flags)
    assert done.returncode != 0
    assert "invalid ownership metadata" in done.stderr
    cluster.plane.kubectl("delete", "namespace", "another", "--wait=false")


async def _is_ready(scaler: ScalerProcess) -> bool:
    return await scaler.text("/readyz") == "ok\n"


def _wanted(cluster: Cluster) -> int:
    status = cluster.get("daemonset", "gpu-exporter", "gpu-exporter")["status"]
    return int(status.get("desiredNumberScheduled", 0))


def _commands(text: str) -> list[str]:
    """The commands for kubectl that need no pod that runs and no name of one's own."""
    lines = (line.strip() for line in text.splitlines())
    return [
        line
        for line in lines
        if line.startswith("kubectl") and "NAMESPACE" not in line and " exec " not in line
    ]
