# SPDX-License-Identifier: Apache-2.0
"""daemonset/simulated.yaml and docs/quickstart.md on the real control plane and scheduler.

No container is there to run the simulator and the scaler in: both run as processes, under the
service accounts and with the commands of their manifests.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from scaler.kube.errors import NotFound
from simulator.scenario import NAME_SERVING
from tests.cluster.chain.access import allow, disallow
from tests.cluster.chain.prometheus import running_prometheus, shipped_jobs
from tests.cluster.conftest import ROOT
from tests.pages.reading import read_through, run
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, LEASE
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane
    from tests.pages.markdown import Block
    from tests.pages.reading import Reading

pytestmark = pytest.mark.needs("kube-scheduler")

MANIFEST: Final = ROOT / "daemonset" / "simulated.yaml"
NODES: Final = ("simulated-gpu-1", "simulated-gpu-2")
EXPORTERS: Final = "/api/v1/namespaces/gpu-exporter/pods"
TOLERATES_EVERYTHING: Final = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere, namespace: kube-system}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers: [{name: main, image: "example.com/everywhere:1"}]
"""


def documents() -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(MANIFEST.read_text())]


class Cluster:
    """The control plane as a reader of the page has it, and the simulator's process."""

    def __init__(self, plane: ControlPlane, client: KubeClient, folder: Path) -> None:
        self.plane = plane
        self.client = client
        self._folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "kubectl").symlink_to(plane.tool("kubectl"))
        shutil.copytree(ROOT / "daemonset", folder / "daemonset")
        self._environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "KUBECONFIG": str(plane.admin),
        }

    async def run(self, *blocks: Block) -> str:
        """Run blocks, each command of which must succeed; return what was printed."""
        return "".join(
            [
                await asyncio.to_thread(run, block, self._folder, self._environment)
                for block in blocks
            ]
        )

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the simulator as its pod would; it must end by itself when asked to."""
        (deployment,) = (
            one
            for one in documents()
            if one["metadata"]["name"] == "gpu-simulator" and one["kind"] == "Deployment"
        )
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        program, *flags = container["command"]
        assert program == "gpu-simulator"
        kubeconfig = await asyncio.to_thread(
            self.plane.kubeconfig_for, "gpu-exporter/gpu-simulator"
        )
        log = self.plane.logs / "gpu-simulator.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "simulator.virtual_nodes", *flags),
                *(f"--kubeconfig={kubeconfig}", "--first-port=0"),
                env={**os.environ, "POD_IP": "127.0.0.1"},
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(60):
                await process.wait()

    def log(self) -> str:
        return (self.plane.logs / "gpu-simulator.log").read_text()

    async def objects(self) -> set[str]:
        """What there is of the simulated nodes."""
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        listed = [
            f"{path.rpartition('/')[2]}/{one['metadata']['name']}"
            for path in ("/api/v1/nodes", EXPORTERS, leases)
            for one in (await self.client.list_(path))["items"]
        ]
        return {name for name in listed if "simulated-gpu" in name}


WHOLE: Final = {
    f"{kind}/{prefix}{node}"
    for kind, prefix in (("nodes", ""), ("pods", "gpu-exporter-"), ("leases", ""))
    for node in NODES
}
"""What there is while the nodes run."""


@pytest.fixture(scope="module")
def scheduled(installed: ControlPlane) -> Iterator[ControlPlane]:
    with installed.scheduling():
        yield installed


@pytest.fixture
async def cluster(
    scheduled: ControlPlane, admin: KubeClient, tmp_path: Path
) -> AsyncIterator[Cluster]:
    cluster = Cluster(scheduled, admin, tmp_path)
    try:
        yield cluster
    finally:
        for what in (
            ("-f", MANIFEST),
            ("deployments", "--all", "--namespace=gpu-scaler"),
            ("daemonsets", "--all", "--namespace=gpu-exporter"),
        ):
            await asyncio.to_thread(scheduled.kubectl, "delete", "--ignore-not-found", *what)
        await until(lambda: _gone(cluster), deadline_seconds=90, what="all nodes are gone")


async def _gone(cluster: Cluster) -> bool:
    return not await cluster.objects()


async def unscheduled(client: KubeClient, namespace: str) -> list[str]:
    """Why the pods of a namespace that have no node have none."""
    pods = (await client.list_(f"/api/v1/namespaces/{namespace}/pods"))["items"]
    return [
        condition["message"]
        for pod in pods
        if not pod["spec"].get("nodeName")
        for condition in pod["status"].get("conditions", ())
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]


async def uids(client: KubeClient, path: str) -> set[str]:
    """Those of the simulated nodes' objects in a collection."""
    listed = (await client.list_(path))["items"]
    return {one["metadata"]["uid"] for one in listed if "simulated-gpu" in one["metadata"]["name"]}


async def test_the_quickstart(cluster: Cluster, admin: KubeClient):
    with read_through("docs/quickstart.md") as page:
        await _follow(page, cluster, admin)


async def _follow(page: Reading, cluster: Cluster, admin: KubeClient) -> None:
    plane = cluster.plane
    first, second = page.take("2. ")
    await cluster.run(first)
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, "gpu-scaler/gpu-scaler")
    async with cluster.simulator(), running_scaler(kubeconfig, "--interval=2s") as scaler:
        await cluster.run(second)
        printed = await cluster.run(*page.take("3. "))
        for line in (
            r"simulated-gpu-\d .* NVIDIA-H100-80GB-HBM3 +8",
            r"gpu-exporter-simulated-gpu-\d +1/1 +Running .*",
            rf"{NAME_SERVING}-\S+ +1/1 +Running .*",
        ):
            count = len(re.findall(f"^{line}$", printed, re.M))
            assert count == (1 if NAME_SERVING in line else 2), printed

        # Nobody else's pods come to the nodes, and the exporter's DaemonSet wants none there.
        for namespace in ("gpu-scaler", "gpu-exporter"):
            looked_at = functools.partial(unscheduled, admin, namespace)
            (message, *_) = await until(
                looked_at, what=f"the scheduler saw the pods of {namespace}"
            )
            assert "2 node(s) had untolerated taint" in message
        path = "/apis/apps/v1/namespaces/gpu-exporter/daemonsets/gpu-exporter"
        assert (await admin.get(path))["status"]["desiredNumberScheduled"] == 0

        await cluster.run(*page.take("4. "))
        decision = await scaler.decision("default", NAME_SERVING)
        assert decision["metrics"][0]["metric"] == "duty_cycle"
        printed = await cluster.run(*page.take("6. "))
        assert "New size: 2; reason: duty_cycle above target" in printed
        assert "reason: All metrics below target" in printed

        assert await cluster.objects() == WHOLE
        await cluster.run(*page.take("7. "))
        await until(lambda: _gone(cluster), what="the nodes go with the rest")
        pods = "/api/v1/namespaces/default/pods"

        async def empty() -> bool:
            return not (await admin.list_(pods))["items"]

        await until(empty, what="the Deployments' pods are gone")
    with contextlib.suppress(NotFound):
        await admin.delete(LEASE)


async def test_nodes_are_taken_up_again_and_removed_at_the_end(cluster: Cluster, admin: KubeClient):
    await asyncio.to_thread(cluster.plane.apply, MANIFEST)

    async def joined() -> bool:
        return await cluster.objects() == WHOLE

    async def serves() -> bool:
        status = (await admin.get(f"{DEPLOYMENTS}/{NAME_SERVING}"))["status"]
        return bool(status.get("readyReplicas"))

    async with cluster.simulator() as process:
        await until(joined, what="the nodes join")
        await until(serves, what="the pod is ready")
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await cluster.objects() == WHOLE
    nodes, exporters = await uids(admin, "/api/v1/nodes"), await uids(admin, EXPORTERS)
    async with cluster.simulator():

        async def again() -> bool:
            return await joined() and not exporters & await uids(admin, EXPORTERS)

        await until(again, what="the exporters are published again")
        assert await uids(admin, "/api/v1/nodes") == nodes
        await until(serves, what="the pod is still ready")
    assert await cluster.objects() == set()


@pytest.mark.needs("prometheus")
async def test_prometheus_scrapes_the_exporters(cluster: Cluster, tmp_path: Path):
    await asyncio.to_thread(cluster.plane.apply, MANIFEST)
    await asyncio.to_thread(allow, cluster.plane)
    folder = tmp_path / "prometheus-of-guests"
    folder.mkdir()
    try:
        async with (
            cluster.simulator(),
            running_prometheus(
                cluster.plane, folder, jobs=shipped_jobs(), scrape_interval="1s"
            ) as prometheus,
        ):

            async def counts() -> bool:
                series = await prometheus.query("nvidia_gpu_num_devices")
                return {
                    one["metric"]["node_name"]: one["value"][1] for one in series
                } == dict.fromkeys(NODES, "8")

            await until(counts, what="both nodes' GPUs are in Prometheus")
            held = 'count by (pod_name) (nvidia_gpu_duty_cycle{namespace_name="default"})'

            async def is_held() -> bool:
                (*series,) = await prometheus.query(held)
                return any(one["metric"]["pod_name"].startswith(NAME_SERVING) for one in series)

            await until(is_held, what="a GPU is labelled with its pod")
    finally:
        await asyncio.to_thread(disallow, cluster.plane)


async def test_a_pod_that_it_has_no_right_to_is_left_alone(cluster: Cluster, admin: KubeClient):
    await asyncio.to_thread(cluster.plane.apply, MANIFEST)
    await asyncio.to_thread(cluster.plane.apply, TOLERATES_EVERYTHING)
    path = "/apis/apps/v1/namespaces/kube-system/daemonsets/everywhere"

    async def pods() -> list[dict[str, Any]]:
        listed = (await admin.list_("/api/v1/namespaces/kube-system/pods"))["items"]
        return [one for one in listed if one["spec"].get("nodeName") in NODES]

    async with cluster.simulator() as process:
        expected = r"A pod on a simulated node is left alone.* pod=kube-system/everywhere-"
        await until(
            lambda: len(re.findall(expected, cluster.log())) == 2,
            what="the simulator says so",
        )
        assert {one["status"]["phase"] for one in await pods()} == {"Pending"}
        assert process.returncode is None
        await admin.delete(path)
    assert await cluster.objects() == set()


def test_the_sample_is_the_demos():
    from simulator.scenario import press_deployment, serving_deployment

    samples = {one["metadata"]["name"]: one for one in documents() if one["kind"] == "Deployment"}
    for wanted in (press_deployment(), serving_deployment()):
        shipped = samples[wanted["metadata"]["name"]]
        annotations = shipped["metadata"].get("annotations", {})
        for one in (annotations, wanted["metadata"]["annotations"]):
            if "gpu-scaler/behavior" in one:
                one["gpu-scaler/behavior"] = yaml.safe_load(one["gpu-scaler/behavior"])
        assert annotations == wanted["metadata"]["annotations"]
        pod, other = shipped["spec"]["template"], wanted["spec"]["template"]
        assert pod["metadata"] == other["metadata"]
        assert shipped["spec"]["replicas"] == wanted["spec"]["replicas"]
        assert (
            pod["spec"]["containers"][0].get("resources", {"limits": {}})
            == (other["spec"]["containers"][0]["resources"])
        )
