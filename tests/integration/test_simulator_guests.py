# SPDX-License-Identifier: Apache-2.0
"""gpu-simulator's nodes beside those of a real cluster, on the embedded API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scaler.kube.client import KubeClient
from scaler.kube.errors import Forbidden, NotFound
from simulator.apiserver import running_apiserver
from simulator.nodes import NodeSpec, Site, running_nodes
from simulator.virtual_nodes import EXPORTER_CONFIG, main
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWNER = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "name": "gpu-simulator",
    "uid": "1-2-3",
}


@pytest.fixture
async def client() -> AsyncIterator[KubeClient]:
    async with running_apiserver() as api, KubeClient(api.url) as client:
        yield client


async def test_a_guest_keeps_out_of_the_way(client):
    spec = NodeSpec(name="guest", gpus=("T4",), guest=True)
    async with running_nodes(
        client, [spec], exporter_config=EXPORTER_CONFIG, schedules=False, site=Site(owner=OWNER)
    ):
        node = await client.get("/api/v1/nodes/guest")
        exporter = await client.get("/api/v1/namespaces/gpu-exporter/pods/gpu-exporter-guest")
    (taint,) = node["spec"]["taints"]
    assert (taint["key"], taint["effect"]) == ("simulator/node", "NoSchedule")
    labels = node["metadata"]["labels"]
    assert labels["simulator/node"] == "true"
    assert labels["nvidia.com/gpu.product"] == "Tesla-T4"
    assert not labels.keys() & {"kubernetes.io/os", "nvidia.com/gpu.present"}
    assert {one["type"] for one in node["status"]["addresses"]} == {"Hostname"}
    for thing in (node, exporter):
        assert thing["metadata"]["ownerReferences"] == [OWNER]


async def test_a_pod_that_may_not_be_touched_does_not_end_the_node(client, caplog):
    refused: set[str] = set()
    patch = client.patch

    async def without_right(path, body, **options):
        if "/namespaces/theirs/" in path:
            refused.add(path)
            raise Forbidden(request=path, status=403, reason="Forbidden", message="no right")
        return await patch(path, body, **options)

    client.patch = without_right
    await client.post("/api/v1/namespaces", {"metadata": {"name": "theirs"}})
    pods = "/api/v1/namespaces/theirs/pods"
    async with running_nodes(client, [NodeSpec(name="guest", guest=True)], schedules=False):
        spec = {"nodeName": "guest", "containers": [{"name": "main", "image": "i"}]}
        await client.post(pods, {"metadata": {"name": "daemon"}, "spec": spec})
        await until(lambda: "is left alone" in caplog.text, what="the simulator says so")
        assert refused == {f"{pods}/daemon/status"}
        # The node still runs what it may.
        ours = "/api/v1/namespaces/default/pods"
        await client.post(ours, {"metadata": {"name": "ours"}, "spec": spec})

        async def runs() -> bool:
            return bool((await client.get(f"{ours}/ours"))["status"].get("phase") == "Running")

        await until(runs, what="a pod after it")
    with pytest.raises(NotFound):
        await client.get("/api/v1/nodes/guest")


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        pytest.param("--nodes=0", "'0' is not a whole number from 1 to 100", id="no node"),
        pytest.param("--gpus=many", "'many' is not a whole number from 1 to 100", id="no number"),
        pytest.param("--model=Z9", "'Z9' is not one of A10", id="no model"),
    ],
)
def test_wrong_usage(capsys, flag, complaint):
    assert main([flag]) == 2
    assert complaint in capsys.readouterr().err


def test_a_cluster_that_is_not_there(capsys, tmp_path):
    assert main([f"--kubeconfig={tmp_path / 'none'}"]) == 1
    assert capsys.readouterr().err.startswith("gpu-simulator: ")
