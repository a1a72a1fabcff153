# SPDX-License-Identifier: Apache-2.0
"""The real kubectl against the embedded API."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.nodes import NodeSpec, running_nodes
from tests.cluster import tools
from tests.waiting import until

pytestmark = pytest.mark.needs("kubectl")

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: image:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
"""


class Kubectl:
    """Runs kubectl against one server, with its caches under a folder of the test."""

    def __init__(self, folder, api):
        self._folder = folder
        config = api.write_kubeconfig(folder / "kubeconfig")
        self._options = ["--kubeconfig", str(config), "--cache-dir", str(folder / "cache")]

    def file(self, text):
        path = self._folder / "manifest.yaml"
        path.write_text(text)
        return str(path)

    async def start(self, *arguments):
        return await asyncio.create_subprocess_exec(
            tools.path_of("kubectl"),
            *self._options,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments):
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def error(self, *arguments):
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode != 0, out.decode()
        return err.decode()


@asynccontextmanager
async def web(tmp_path):
    async with running_apiserver() as api:
        kubectl = Kubectl(tmp_path, api)
        assert "created" in await kubectl("apply", "-f", kubectl.file(MANIFEST))
        yield api, kubectl


def columns(text):
    return [line.split() for line in text.splitlines() if line.strip()]


async def test_get(tmp_path):
    async with web(tmp_path) as (_, kubectl):
        [head, row] = columns(await kubectl("get", "deployments"))
        assert head == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
        assert row[:4] == ["web", "0/2", "2", "0"]
        [head, *rows] = columns(await kubectl("get", "pods", "-o", "wide", "-l", "app=web"))
        assert head[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
        assert [row[1:4] for row in rows] == [["0/1", "Pending", "0"]] * 2
        both = await kubectl("get", "deployments,pods", "-o", "name")
        assert both.split()[0] == "deployment.apps/web"
        assert len(both.split()) == 3
        found = json.loads(await kubectl("get", "deployment", "web", "-o", "json"))
        assert found["spec"]["replicas"] == 2
        assert "kind: Deployment" in await kubectl("get", "deploy", "web", "-o", "yaml")


async def test_what_it_cannot_do_says_what_this_server_is(tmp_path):
    async with web(tmp_path) as (_, kubectl):
        for command in (["create", "namespace", "team"], ["create", "secret", "generic", "s"]):
            assert "gpu-scaler's simulator" in await kubectl.error(*command)
        made = await kubectl("create", "namespace", "team", "--dry-run=client", "-o", "yaml")
        assert "created" in await kubectl("create", "-f", kubectl.file(made))
        # kubectl breaks its lines.
        explained = " ".join((await kubectl("explain", "deployment")).split())
        assert "gpu-scaler's simulator" in explained


async def test_server_and_nodes_name_one_version(tmp_path):
    async with web(tmp_path) as (api, kubectl), KubeClient(api.url) as client:
        async with running_nodes(client, [NodeSpec(name="n1")]):
            nodes = json.loads(await kubectl("get", "nodes", "-o", "json"))
        version = json.loads(await kubectl("version", "-o", "json"))["serverVersion"]
    (node,) = nodes["items"]
    assert node["status"]["nodeInfo"]["kubeletVersion"] == version["gitVersion"]
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")


async def test_apply_again(tmp_path):
    async with web(tmp_path) as (_, kubectl):
        assert "unchanged" in await kubectl("apply", "-f", kubectl.file(MANIFEST))
        await kubectl("scale", "deployment/web", "--replicas=3")
        without_b = MANIFEST.replace(', {name: B, value: "2"}', "").replace(
            'value: "1"', 'value: "9"'
        )
        assert "configured" in await kubectl("apply", "-f", kubectl.file(without_b))
        found = json.loads(await kubectl("get", "deployment", "web", "-o", "json"))
        [container] = found["spec"]["template"]["spec"]["containers"]
        assert container["env"] == [{"name": "A", "value": "9"}]


async def test_scale_annotate_describe_delete(tmp_path):
    async with web(tmp_path) as (_, kubectl):
        assert "scaled" in await kubectl("scale", "deployment/web", "--replicas=3")
        await kubectl("annotate", "deployment", "web", "gpu-scaler/enabled=true")
        text = await kubectl("describe", "deployment", "web")
        assert "3 desired" in text
        assert "gpu-scaler/enabled: true" in text
        assert "ScalingReplicaSet" in text
        assert "ScalingReplicaSet" in await kubectl("get", "events")
        assert "deleted" in await kubectl("delete", "deployment", "web")
        assert await kubectl("get", "deployments,pods,replicasets", "-o", "name") == ""


async def test_get_watch_prints_what_changes(tmp_path):
    async with web(tmp_path) as (api, kubectl), KubeClient(api.url) as client:
        process = await kubectl.start("get", "deployments", "--watch")
        try:
            async with asyncio.timeout(60):
                assert (await process.stdout.readline()).split()[0] == b"NAME"
                await process.stdout.readline()
                await until(lambda: api.faults.open_watches)
                path = "/apis/apps/v1/namespaces/default/deployments/web/scale"
                await client.patch(path, {"spec": {"replicas": 5}})
                assert (await process.stdout.readline()).split()[:2] == [b"web", b"0/5"]
        finally:
            process.kill()
            await process.communicate()
