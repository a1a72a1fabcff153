# SPDX-License-Identifier: Apache-2.0
"""HPAs, `kubectl` and the API server on the scaler's own metrics API."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from simulator.scenario import NAME_SERVING
from tests.cluster.api_services import API_SERVICES
from tests.cluster.conftest import ROOT
from tests.cluster.hpa import (
    PODS_METRIC,
    ServingUnderHpa,
    namespace_is_gone,
    object_metric,
    serving_under_hpa,
)
from tests.cluster.metricsapi import installing
from tests.cluster.metricsapi.installing import API, direct
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.metricsapi.conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="package")
NAMESPACE = "api-serving"
OBJECT_MEAN = object_metric("duty_cycle_current", {"type": "Value", "value": "40"})
PAGE = ROOT / "docs" / "metrics-api.md"


@pytest_asyncio.fixture(loop_scope="package")
async def serving(served: Served) -> AsyncIterator[ServingUnderHpa]:
    async with serving_under_hpa(served.client, served.nodes, NAMESPACE) as serving:
        yield serving


async def test_the_same_hpa_scales_out_and_in_without_prometheus(served, serving):
    targets: list[str] = []
    watching = asyncio.create_task(_watch_targets(served, targets))
    await until(lambda: "0/40" in targets, what="0/40 is shown")
    await serving.scales_out_and_in()
    watching.cancel()
    shown = [match for text in targets if (match := re.fullmatch(r"(\d+)(m?)/40", text))]
    percent = [int(match[1]) / (1000 if match[2] else 1) for match in shown]
    assert max(percent) > 40
    assert percent[-1] < 40
    # The one that answers is not the one that would act.
    assert (await served.follower.document("/api/v1/decisions"))["leading"] is False
    assert 'code="200"' in await served.follower.text("/metrics")


@pytest.mark.parametrize(
    "metric",
    [
        pytest.param(OBJECT_MEAN, id="mean"),
        pytest.param(
            object_metric("duty_cycle_sum_current", {"type": "AverageValue", "averageValue": "40"}),
            id="sum",
        ),
        pytest.param(
            object_metric("DCGM_FI_DEV_GPU_UTIL", {"type": "Value", "value": "40"}), id="alias"
        ),
    ],
)
async def test_an_hpa_scales_on_its_deployment_as_an_object(served, metric):
    async with serving_under_hpa(served.client, served.nodes, "object-serving", metric) as serving:
        await serving.scales_out_and_in()


async def test_a_workload_is_read_by_kubectl_by_whoever_may(served, serving):
    path = f"{API}/v1beta2/namespaces/{NAMESPACE}/deployments.apps/{NAME_SERVING}"

    async def is_there() -> bool:
        done = await asyncio.to_thread(
            served.plane.kubectl, "get", "--raw", f"{path}/duty_cycle_sum_current"
        )
        if done.returncode:
            return False
        (item,) = json.loads(done.stdout)["items"]
        return bool(item["describedObject"]["kind"] == "Deployment")

    await until(is_there, what="the Deployment has a value")
    done = await asyncio.to_thread(
        served.plane.kubectl,
        *("get", "--raw", path.replace(NAME_SERVING, "*") + "/duty_cycle_current"),
    )
    assert [one["describedObject"]["name"] for one in json.loads(done.stdout)["items"]] == [
        NAME_SERVING
    ]
    kubeconfig = await asyncio.to_thread(served.plane.kubeconfig_for, "default/default")
    done = await asyncio.to_thread(
        served.plane.kubectl,
        *("get", "--raw", f"{path}/duty_cycle_current"),
        kubeconfig=kubeconfig,
    )
    assert "forbidden" in done.stderr.lower()


async def test_kubectl_reads_what_the_tutorial_asks_for(served, serving):
    async def raw(path: str) -> Any:
        done = await asyncio.to_thread(served.plane.kubectl, "get", "--raw", path)
        return json.loads(done.stdout) if done.returncode == 0 else {"items": done.stderr}

    async def is_there() -> bool:
        path = f"{API}/v1beta1/namespaces/{NAMESPACE}/pods/*/duty_cycle_current"
        return len((await raw(path)).get("items", ())) == 1

    await until(is_there, what="the serving pod has a value")
    for version, name in (("v1beta1", "metricName"), ("v1beta2", "metric")):
        path = f"{API}/{version}/namespaces/{NAMESPACE}/pods/%2A/temperature_celsius_current"
        answer = await raw(path)
        (item,) = answer["items"]
        assert answer["apiVersion"] == f"custom.metrics.k8s.io/{version}"
        assert item["describedObject"]["name"].startswith(NAME_SERVING)
        assert name in item
        assert 33 <= int(item["value"].removesuffix("m")) <= 75_000
    done = await asyncio.to_thread(
        served.plane.kubectl, "get", "--raw", f"{API}/v1beta1/namespaces/x/pods/*/nonsense"
    )
    assert "the server could not find the metric nonsense for pods" in done.stderr


async def test_the_hpas_of_the_page_are_those_that_were_tried(served, serving):
    manifests = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    tried = await served.client.get(f"{serving.hpas}/{NAME_SERVING}")
    for manifest, metric in zip(manifests, (PODS_METRIC, OBJECT_MEAN), strict=True):
        done = await asyncio.to_thread(
            served.plane.kubectl,
            *("create", "--dry-run=server", "--output=json", "--namespace=default", "-f", "-"),
            stdin=manifest,
        )
        assert done.returncode == 0, done.stderr
        spec = json.loads(done.stdout)["spec"]
        for key in ("scaleTargetRef", "minReplicas"):
            assert spec[key] == tried["spec"][key]
        assert spec["metrics"] == [metric]


async def test_the_api_server_discovers_it_both_ways(served):
    group = await served.client.get(API)
    assert group["preferredVersion"]["version"] == "v1beta2"
    listed = await served.client.get(f"{API}/v1beta1")
    names = {one["name"] for one in listed["resources"] if one["namespaced"]}
    assert {"pods/duty_cycle_current", "statefulsets.apps/duty_cycle_sum_current"} <= names
    done = await asyncio.to_thread(
        served.plane.kubectl, "api-resources", "--api-group=custom.metrics.k8s.io", "--cached=false"
    )
    assert done.returncode == 0, done.stderr
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    tls = ssl.create_default_context(cafile=served.plane.files.ca)
    tls.load_cert_chain(served.plane.files.admin.certificate, served.plane.files.admin.key)
    async with (
        aiohttp.ClientSession() as session,
        session.get(served.plane.url + "/apis", headers={"Accept": accept}, ssl=tls) as answer,
    ):
        groups = (await answer.json(content_type=None))["items"]
    (ours,) = (one for one in groups if one["metadata"]["name"] == installing.GROUP)
    assert [one["version"] for one in ours["versions"]] == ["v1beta2", "v1beta1"]
    for version in ours["versions"]:
        assert version["freshness"] == "Current"
        (pods,) = (one for one in version["resources"] if one["resource"] == "pods")
        assert "duty_cycle_current" in {one["subresource"] for one in pods["subresources"]}
        assert "deployments.apps" in {one["resource"] for one in version["resources"]}


async def test_who_may_not_is_told_so(served):
    kubeconfig = await asyncio.to_thread(served.plane.kubeconfig_for, "default/default")
    path = f"{API}/v1beta1/namespaces/default/pods/*/duty_cycle_current"
    done = await asyncio.to_thread(
        served.plane.kubectl, "get", "--raw", path, kubeconfig=kubeconfig
    )
    assert done.returncode != 0
    assert "forbidden" in done.stderr.lower()


async def test_both_replicas_answer_with_one_certificate(served):
    path = f"{API}/v1beta2/nodes/*/memory_total_bytes_current"

    async def answer(port: int) -> Any:
        async with direct(served.plane, port) as replica:
            status, document = await replica.get(path)
            items: Any = document.get("items", ())
            return status, {one["describedObject"]["name"]: one["value"] for one in items}

    first = await answer(served.leader_port)
    assert first == await answer(served.follower_port)
    assert first[0] == 200
    assert first[1].keys() == {"api-1", "api-2"}
    secret = await served.client.get(f"/api/v1/namespaces/gpu-scaler/secrets/{installing.SERVICE}")
    assert {"tls.crt", "tls.key", "ca.crt", "ca.key"} == secret["data"].keys()
    for version in ("v1beta1", "v1beta2"):
        found = await served.client.get(f"{API_SERVICES}/{version}.{installing.GROUP}")
        assert found["spec"]["caBundle"] == secret["data"]["ca.crt"]


async def test_a_replica_that_was_never_asked_has_the_value_of_a_workload_at_once(served, serving):
    """As after a restart or a takeover: whether it leads or has been asked before is all one."""
    path = f"{API}/v1beta2/namespaces/{NAMESPACE}/deployments.apps/{NAME_SERVING}"

    async def answer(port: int, metric: str) -> Any:
        async with direct(served.plane, port) as replica:
            return await replica.get(f"{path}/{metric}")

    async def leader_has_it() -> bool:
        status, _ = await answer(served.leader_port, "memory_total_bytes_sum_current")
        return bool(status == 200)

    await until(leader_has_it, what="the Deployment has a value")
    documents = []
    for port in (served.leader_port, served.follower_port):
        status, document = await answer(port, "memory_total_bytes_sum_current")
        assert status == 200, document
        documents.append([(one["describedObject"], one["value"]) for one in document["items"]])
    assert documents[0] == documents[1]


async def test_a_namespace_can_be_deleted_while_it_is_served(served):
    await served.client.post("/api/v1/namespaces", {"metadata": {"name": "to-go"}})
    await served.client.delete("/api/v1/namespaces/to-go")
    await until(
        lambda: namespace_is_gone(served.client, "to-go"),
        what="the namespace has gone",
    )


async def test_the_scaler_has_the_rights_that_it_uses_and_no_others_refused(served):
    refused = [
        event
        for event in await asyncio.to_thread(served.requests)
        if event["responseStatus"]["code"] == 403
        and served.plane.was_ready(event)
        # What an ended test's scaler wanted to write into a namespace that goes with the test.
        and "is being terminated" not in event["responseStatus"].get("message", "")
    ]
    assert [event["requestURI"] for event in refused] == []


async def _watch_targets(served: Served, targets: list[str]) -> None:
    """Note what `kubectl get hpa` shows under TARGETS, each change once."""
    while True:
        done = await asyncio.to_thread(
            served.plane.kubectl, "get", "hpa", "--no-headers", f"--namespace={NAMESPACE}"
        )
        words = done.stdout.split()
        shown = next((word for word in words if word.endswith("/40")), "")
        if shown and (not targets or targets[-1] != shown):
            targets.append(shown)
        await asyncio.sleep(0.3)
