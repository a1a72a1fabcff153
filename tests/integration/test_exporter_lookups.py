# SPDX-License-Identifier: Apache-2.0
"""--dra and --pod-labels: what is asked of the Kubernetes API, and what happens without it."""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter.kubeapi.client import ApiClient
from exporter.kubeapi.devices import ClaimedDevices
from exporter.kubeapi.pod_labels import PodLabels
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import SimulatedKubelet
from tests.exporting import PREFIX, exporter
from tests.kubeapi import DRIVER, NODE, Api, pod_metadata, resource_slice
from tests.serving import serving
from tests.waiting import until

SLICES = "/apis/resource.k8s.io/{}/resourceslices"


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    for name in (
        "podresources.client.MIN_INTERVAL_SECONDS",
        "kubeapi.devices.LOOK_SECONDS",
        "kubeapi.devices.AGAIN_SECONDS",
        "kubeapi.pod_labels.LOOK_SECONDS",
        "kubeapi.pod_labels._FIRST_RETRY_SECONDS",
    ):
        monkeypatch.setattr(f"exporter.{name}", 0.02)


@pytest.fixture
async def api(account):
    folder, context = account
    api = Api()
    async with serving(api.handle, tls=context) as url:
        yield api, {"api_url": url, "service_account_folder": str(folder), "node_name": NODE}


@pytest.fixture
async def node():
    # A short path: a socket address holds about a hundred bytes.
    mig = GpuSpec(model="H100", mig_profiles=("1g.10gb",))
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder, SimulatedDriver(["T4", mig]) as gpus:
        async with SimulatedKubelet(gpus, str(Path(folder) / "kubelet.sock")) as kubelet:
            yield gpus, kubelet


async def held_as(reader, expected):
    async def is_so():
        return await reader.pods() == expected

    await until(is_so, what=f"{expected} are shown")


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
async def test_claimed_gpus_and_instances_are_labelled_like_the_rest(node, api, version):
    driver, kubelet = node
    server, settings = api
    (instance,) = (mig.uuid for mig in driver.gpus[1].mig_devices if mig)
    uuids = {"gpu-0": driver.gpus[0].uuid, "gpu-1-mig-19-0": instance}
    slices = [resource_slice(uuids, beta=version == "v1beta1")]
    server.documents[SLICES.format(version)] = {"items": slices}
    kubelet.claim("ns", "one", "main", [(DRIVER, NODE, "gpu-0")])
    kubelet.claim("ns", "two", "main", [(DRIVER, NODE, "gpu-1-mig-19-0"), ("other", NODE, "x")])
    async with exporter(
        driver, pod_resources_socket=kubelet.socket_path, dra=True, **settings
    ) as reader:
        await held_as(
            reader, {driver.gpus[0].uuid: [("one", "exclusive")], instance: [("two", "mig")]}
        )
        assert await reader.value(f"{PREFIX}pod_resources_unmatched_devices") == 0
        kubelet.release("ns", "one")
        await held_as(reader, {instance: [("two", "mig")]})
    asked = server.requests[0]
    assert asked.headers["Authorization"] == "Bearer secret-1"
    assert asked.query["fieldSelector"] == f"spec.driver={DRIVER},spec.nodeName={NODE}"


async def test_a_claim_that_several_pods_share(node, api):
    driver, kubelet = node
    server, settings = api
    uuid = driver.gpus[0].uuid
    server.documents[SLICES.format("v1")] = {"items": [resource_slice({"gpu-0": uuid})]}
    for pod in ("one", "two"):
        kubelet.claim("ns", pod, "main", [(DRIVER, NODE, "gpu-0")])
    async with exporter(
        driver, pod_resources_socket=kubelet.socket_path, dra=True, **settings
    ) as reader:
        await held_as(reader, {uuid: [("one", "share"), ("two", "share")]})


async def test_without_the_lookup_claims_are_unknown_and_the_log_says_how_to_know_them(
    node, caplog
):
    driver, kubelet = node
    kubelet.claim("ns", "one", "main", [(DRIVER, NODE, "gpu-0")])
    async with exporter(driver, pod_resources_socket=kubelet.socket_path) as reader:

        async def unmatched():
            return await reader.value(f"{PREFIX}pod_resources_unmatched_devices") == 1

        await until(unmatched)
        assert await reader.pods() == {}
    assert "--dra looks them up" in caplog.text


async def test_an_api_server_that_refuses_leaves_the_other_pods_and_is_tried_again(node, api):
    driver, kubelet = node
    server, settings = api
    server.status = 403
    uuid = driver.gpus[0].uuid
    server.documents[SLICES.format("v1")] = {"items": [resource_slice({"gpu-0": uuid})]}
    kubelet.claim("ns", "one", "main", [(DRIVER, NODE, "gpu-0")])
    async with exporter(
        driver, pod_resources_socket=kubelet.socket_path, dra=True, **settings
    ) as reader:

        async def counted():
            errors = await reader.values(f"{PREFIX}api_errors_total", "resource")
            return errors.get("resourceslices", 0) >= 2

        await until(counted)
        assert await reader.ready()
        server.status = None
        await held_as(reader, {uuid: [("one", "exclusive")]})
        server.status = 500
        kubelet.claim("ns", "two", "main", [(DRIVER, NODE, "gpu-9")])
        await until(lambda: server.requests[-1].query and server.status == 500)
        await held_as(reader, {uuid: [("one", "exclusive")]})


async def test_without_dns_the_other_pods_are_shown_and_claims_once_it_is_back(
    node, api, monkeypatch
):
    driver, kubelet = node
    server, settings = api
    resolve, is_back = socket.getaddrinfo, False

    def resolve_later(host, *arguments, **options):
        if host != "kubernetes.invalid":
            return resolve(host, *arguments, **options)
        if not is_back:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_later)
    settings["api_url"] = settings["api_url"].replace("127.0.0.1", "kubernetes.invalid")
    held, claimed = driver.gpus[0].uuid, next(mig for mig in driver.gpus[1].mig_devices if mig).uuid
    server.documents[SLICES.format("v1")] = {"items": [resource_slice({"gpu-1": claimed})]}
    kubelet.allocate("ns", "one", "main", "nvidia.com/gpu", 1)
    kubelet.claim("ns", "two", "main", [(DRIVER, NODE, "gpu-1")])
    async with exporter(
        driver, pod_resources_socket=kubelet.socket_path, dra=True, **settings
    ) as reader:

        async def counted():
            errors = await reader.values(f"{PREFIX}api_errors_total", "resource")
            return errors.get("resourceslices", 0) >= 2

        await until(counted)
        await held_as(reader, {held: [("one", "exclusive")]})
        assert await reader.ready()
        is_back = True
        await held_as(reader, {held: [("one", "exclusive")], claimed: [("two", "mig")]})


async def test_an_api_server_that_hangs_keeps_nothing_else_from_going_on(node, api, monkeypatch):
    monkeypatch.setattr("exporter.kubeapi.client.TIMEOUT", aiohttp.ClientTimeout(total=3600))
    driver, kubelet = node
    server, settings = api
    uuid = driver.gpus[0].uuid
    server.documents[SLICES.format("v1")] = {"items": [resource_slice({"gpu-0": uuid})]}
    server.documents["/api/v1/namespaces/ns/pods/one"] = pod_metadata(team="a")
    kubelet.claim("ns", "one", "main", [(DRIVER, NODE, "gpu-0")])
    async with exporter(
        driver,
        pod_resources_socket=kubelet.socket_path,
        dra=True,
        pod_labels="team",
        **settings,
    ) as reader:

        async def labels():
            return await reader.values("nvidia_gpu_pod_labels", "label_team")

        await until(labels)
        server.hangs = True
        kubelet.claim("ns", "two", "main", [(DRIVER, NODE, "gpu-9")])
        kubelet.allocate("ns", "three", "main", "nvidia.com/mig-1g.10gb", 1)
        await until(lambda: server.hung >= 1)
        kubelet.release("ns", "one")

        async def gone():
            return await labels() == {}

        await until(gone)
        assert await reader.ready()


async def test_the_version_that_was_served_is_asked_first_and_told_once(api, account, caplog):
    caplog.set_level("INFO")
    server, settings = api
    client = ApiClient(settings["api_url"], account[0])
    found: list[Any] = []
    devices = ClaimedDevices(
        client, node_name=NODE, unmatched=tuple, publish=found.append, on_error=found.append
    )
    old, new = SLICES.format("v1beta1"), SLICES.format("v1")
    slices = {"items": [resource_slice({"gpu-0": "GPU-a"}, beta=True)]}
    server.documents[old] = slices
    for _ in range(2):
        await devices.refresh()
    del server.documents[old]
    server.documents[new] = slices
    await devices.refresh()
    await client.close()
    beta2 = SLICES.format("v1beta2")
    assert [one.path for one in server.requests] == [new, beta2, old, old, old, new]
    assert found == [{f"{DRIVER}/{NODE}/gpu-0": "GPU-a"}] * 3
    assert caplog.text.count("Listed ResourceSlices") == 1


async def test_pod_labels_of_holders_by_the_allow_list(node, api):
    driver, kubelet = node
    server, settings = api
    path = "/api/v1/namespaces/ns/pods/{}"
    labels = {"app.kubernetes.io/name": "llm", "team": 'a"b', "pod-template-hash": "x"}
    server.documents[path.format("one")] = pod_metadata(**labels)
    server.documents[path.format("idle")] = pod_metadata(team="c")
    kubelet.allocate("ns", "one", "main", "nvidia.com/gpu", 1)
    kubelet.admit("ns", "idle", ["main"])
    async with exporter(
        driver,
        pod_resources_socket=kubelet.socket_path,
        pod_labels=r"team|app\.kubernetes\.io/.*",
        **settings,
    ) as reader:

        async def series():
            return [
                sample.labels
                for sample in await reader.samples()
                if sample.name == "nvidia_gpu_pod_labels"
            ]

        assert await until(series) == [
            {
                "node_name": NODE,
                "pod_name": "one",
                "namespace_name": "ns",
                "label_app_kubernetes_io_name": "llm",
                "label_team": 'a"b',
            }
        ]
        assert {request.path for request in server.requests} == {path.format("one")}
        assert "PartialObjectMetadata" in server.requests[0].headers["Accept"]
        asked = len(server.requests)
        before = await reader.value(f"{PREFIX}cycle_duration_seconds_count")

        async def some_cycles_later():
            return await reader.value(f"{PREFIX}cycle_duration_seconds_count") > before + 5

        await until(some_cycles_later)
        assert len(server.requests) == asked, "what is known is not asked again"
        kubelet.release("ns", "one")

        async def gone():
            return not await series()

        await until(gone)


async def test_labels_that_cannot_be_read_are_tried_again(node, api, caplog):
    driver, kubelet = node
    server, settings = api
    server.status = 403
    server.documents["/api/v1/namespaces/ns/pods/one"] = pod_metadata(team="a")
    kubelet.allocate("ns", "one", "main", "nvidia.com/gpu", 1)
    async with exporter(
        driver, pod_resources_socket=kubelet.socket_path, pod_labels="team", **settings
    ) as reader:

        async def refused():
            errors = await reader.values(f"{PREFIX}api_errors_total", "resource")
            return errors.get("pods", 0) >= 2

        await until(refused)
        assert caplog.text.count("Cannot read pod labels") == 1
        server.status = None

        async def read():
            return await reader.values("nvidia_gpu_pod_labels", "label_team") == {"a": 1.0}

        await until(read)
        server.status = 403
        await until(read)


class Unexpected(ApiClient):
    """Fails by what is no ApiError as long as it is told to."""

    fails = True

    async def get(self, path, **_):
        if self.fails:
            raise KeyError(path)
        return pod_metadata(team="a")


async def test_nothing_unexpected_ends_the_lookups(account, caplog):
    caplog.set_level("INFO")
    folder, _ = account
    errors: list[str] = []
    client = Unexpected("http://127.0.0.1", folder)
    labels = PodLabels(
        client,
        allowed=re.compile(".*"),
        node_name=NODE,
        holders=lambda: {("ns", "one")},
        on_error=errors.append,
    )
    devices = ClaimedDevices(
        client,
        node_name=NODE,
        unmatched=lambda: {f"{DRIVER}/{NODE}/gpu-0"},
        publish=lambda _: None,
        on_error=errors.append,
    )
    loops = [asyncio.create_task(one.run()) for one in (labels, devices)]
    await until(lambda: errors.count("pods") >= 2 and errors.count("resourceslices") >= 2)
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [KeyError] * 2
    client.fails = False
    await until(lambda: list(labels.collect()))
    await until(lambda: "Listed ResourceSlices" in caplog.text)
    for loop in loops:
        loop.cancel()
    await asyncio.wait(loops)
