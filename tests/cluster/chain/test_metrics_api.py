# SPDX-License-Identifier: Apache-2.0
"""The scaler's own metrics API beside Prometheus Adapter: item by item, on the same data."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from scaler.kube.errors import ApiError
from scaler.metricsapi.names import METRICS, SERVER_FAMILIES
from scaler.quantities import parse_quantity
from tests.cluster.api_services import API_SERVICES
from tests.cluster.chain.running import API, NAMESPACE, Chain
from tests.cluster.metricsapi import installing
from tests.cluster.metricsapi.installing import direct
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.cluster.metricsapi.installing import Direct
    from tests.running import ScalerProcess

    JsonObject = dict[str, Any]

pytestmark = pytest.mark.asyncio(loop_scope="package")

SAME_SECONDS: Final = 180.0
STEP_SECONDS: Final = 5
SERVED: Final = sorted(
    name
    for name, metric in METRICS.items()
    if "container" not in name and metric.family not in SERVER_FAMILIES and not metric.is_sum
)
PODS: Final = f"namespaces/{NAMESPACE}/pods/*"
PLACES: Final = (PODS, "nodes/*", f"namespaces/{NAMESPACE}/metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """The adapter behind the API server, and two scalers, asked directly."""

    chain: Chain
    by_exporters: Direct
    by_prometheus: Direct
    process: ScalerProcess

    async def adapter(self, path: str) -> tuple[int, JsonObject]:
        """Return the adapter's status and document."""
        try:
            return 200, await self.chain.client.get(f"{API}/{path}")
        except ApiError as error:
            return error.status or 0, {"kind": "Status", "message": error.message}


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def running(chain: Chain) -> AsyncIterator[Both]:
    """Beside the adapter, which has the group: the first of the scalers would like to have it."""
    plane = chain.plane
    ports = free_ports(2)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(installing.install, plane)
        stack.push_async_callback(asyncio.to_thread, installing.uninstall, plane)
        kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, installing.ACCOUNT)
        source = ("--source=prometheus", f"--prometheus.url={chain.prometheus.url}")
        processes = [
            await stack.enter_async_context(
                running_scaler(kubeconfig, "--no-leader-elect", *flags, *installing.flags(port))
            )
            for port, flags in zip(ports, ((), source), strict=True)
        ]
        for process in processes:
            await until(
                lambda process=process: installing.is_ready(process),  # type: ignore[misc]
                what="the scaler is ready",
            )
        yield Both(
            chain=chain,
            by_exporters=await stack.enter_async_context(direct(plane, ports[0])),
            by_prometheus=await stack.enter_async_context(direct(plane, ports[1])),
            process=processes[0],
        )


@pytest_asyncio.fixture(loop_scope="package")
async def both(running: Both, busy: Chain) -> Both:
    """The same, with the pods' GPUs at their loads."""
    assert busy is running.chain
    return running


async def test_the_adapters_group_is_not_taken_over(both):
    async def is_reported() -> bool:
        return any("prometheus-adapter" in line for line in both.process.log)

    await until(is_reported, what="the owner is named")
    (line,) = (line for line in both.process.log if "prometheus-adapter" in line)
    assert "Metrics API is not ready" in line
    assert "belongs to the Service monitoring/prometheus-adapter" in line
    assert "gpu-scaler leaves it unchanged" in line
    for version in ("v1beta1", "v1beta2"):
        found = await both.chain.client.get(f"{API_SERVICES}/{version}.{installing.GROUP}")
        assert found["spec"]["service"]["name"] == "prometheus-adapter"


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
@pytest.mark.parametrize("metric", [name for name in SERVED if name.endswith("_current")])
async def test_the_newest_values_are_the_same(both, metric, version):
    for place in PLACES:
        path = f"{version}/{place}/{metric}"
        wanted: JsonObject = {}
        answers: list[JsonObject] = []

        async def are_equal(
            path: str = path, wanted: JsonObject = wanted, answers: list[JsonObject] = answers
        ) -> bool:
            status, document = await both.adapter(path)
            assert status == 200, document
            wanted.clear()
            wanted.update(_items(document))
            answers[:] = [
                _items((await ours.get(f"{API}/{path}"))[1])
                for ours in (both.by_exporters, both.by_prometheus)
            ]
            return bool(wanted) and all(one == wanted for one in answers)

        try:
            await until(are_equal, deadline_seconds=SAME_SECONDS)
        except AssertionError:
            assert [(path, one) for one in answers] == [(path, wanted)] * 2
            raise


@pytest.mark.parametrize("metric", [name for name in SERVED if name.endswith("_over_time")])
async def test_the_averages_of_three_minutes_are_the_same(both, metric):
    """Each counts every 5 s, but not at the same moment of them: one or two samples may differ."""
    family = METRICS[metric].family
    for place, label in zip(PLACES[:2], ("pod_name", "node_name"), strict=True):
        path = f"v1beta1/{place}/{metric}"

        async def are_alike(path: str = path, label: str = label) -> bool:
            begun_seconds = time.monotonic()
            _, theirs = await both.adapter(path)
            _, ours = await both.by_prometheus.get(f"{API}/{path}")
            # Samples that came between the two questions are in one of the means only.
            samples = 2 + (time.monotonic() - begun_seconds) / STEP_SECONDS
            spread = await _spread(both.chain, family, label, samples)
            wanted, found = _values(theirs), _values(ours)
            return (
                bool(wanted)
                and wanted.keys() == found.keys() == spread.keys()
                and all(abs(wanted[name] - found[name]) <= spread[name] + 1 for name in wanted)
            )

        await until(are_alike, deadline_seconds=SAME_SECONDS, what=f"{path} is alike")


async def test_one_object_and_one_gpu_are_the_same(both):
    uuid = sorted(both.chain.nodes.devices_of(NAMESPACE, "two-gpus"))[1]
    await _until_same(both, f"v1beta1/namespaces/{NAMESPACE}/pods/two-gpus/duty_cycle_current")
    items = await _until_same(
        both, f"v1beta2/{PODS}/duty_cycle_current?metricLabelSelector=uuid%3D{uuid}"
    )
    (item,) = items.values()
    assert item["value"] == "61"
    assert item["metric"]["selector"] == {"matchLabels": {"uuid": uuid}}


async def test_our_timestamps_are_the_samples_and_the_adapters_are_its_clock(both):
    path = f"v1beta1/{PODS}/duty_cycle_current"

    async def is_as_of_the_question() -> bool:
        before = _whole_second()
        _, theirs = await both.adapter(path)
        asked = _timestamps(theirs)
        assert all(before <= one <= datetime.now(UTC) for one in asked)
        return bool(asked)

    await until(is_as_of_the_question, what="the adapter has values")
    pods = await both.chain.client.get(f"/api/v1/namespaces/{NAMESPACE}/pods")
    created = datetime.fromisoformat(
        max(one["metadata"]["creationTimestamp"] for one in pods["items"])
    )
    for ours in (both.by_exporters, both.by_prometheus):

        async def are_before_the_question(ours: Direct = ours) -> bool:
            before = _whole_second()
            _, document = await ours.get(f"{API}/{path}")
            sampled = _timestamps(document)
            assert all(created <= one <= datetime.now(UTC) for one in sampled)
            return bool(sampled) and all(one < before for one in sampled)

        await until(are_before_the_question, what="all samples are older than the question")


@pytest.mark.parametrize(
    "path",
    [
        f"v1beta1/{PODS}/nonsense",
        f"v1beta1/namespaces/{NAMESPACE}/pods/nobody/duty_cycle_current",
        f"v1beta1/namespaces/{NAMESPACE}/pods/one-gpu",
        "v1beta1/nodes/chain-1",
        "v1beta1/nodes/nobody/duty_cycle_current",
        "v1beta3/nodes/*/duty_cycle_current",
        f"v1beta1/namespaces/{NAMESPACE}/metrics/nonsense",
    ],
)
async def test_what_is_not_there_is_refused_alike(both, path):
    status, theirs = await both.adapter(path)
    assert status == 404, theirs
    for ours in (both.by_exporters, both.by_prometheus):
        status, document = await ours.get(f"{API}/{path}")
        assert (status, document["kind"], document["reason"]) == (404, "Status", "NotFound")
        # To a version that nobody registered the API server itself gives its answer.
        assert document["message"] == theirs["message"] or path.startswith("v1beta3/")


async def test_a_restarted_scaler_knows_the_last_minutes_from_prometheus(both):
    """What it has read itself spans no time yet at its first answer."""
    plane = both.chain.plane
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, installing.ACCOUNT)
    source = ("--source=prometheus", f"--prometheus.url={both.chain.prometheus.url}")
    (port,) = free_ports(1)
    path = f"{API}/v1beta2/namespaces/{NAMESPACE}/pods/one-gpu/memory_total_bytes_over_time"
    flags = ("--no-leader-elect", *source, *installing.flags(port))
    async with running_scaler(kubeconfig, *flags) as process, direct(plane, port) as replica:
        await until(lambda: installing.is_ready(process))
        status, document = await replica.get(path)
    assert status == 200, document
    (item,) = document["items"]
    assert 5 <= item["windowSeconds"] <= 180
    adapters = await both.chain.values("pods", "memory_total_bytes_over_time")
    assert int(item["value"]) * 1000 == adapters["one-gpu"]


async def test_no_pod_that_is_meant_is_no_value_in_both(both):
    path = f"v1beta1/{PODS}/duty_cycle_current?labelSelector=app%3Dnobody"
    status, theirs = await both.adapter(path)
    assert (status == 200 and theirs["items"] == []) or status == 404
    for ours in (both.by_exporters, both.by_prometheus):
        status, document = await ours.get(f"{API}/{path}")
        assert (status, document["items"]) == (200, [])


async def test_all_names_that_the_adapter_lists_are_ours(both):
    _, theirs = await both.adapter("v1beta1")
    listed = {one["name"] for one in theirs["resources"]}
    assert len(listed) > len(SERVED)
    for ours in (both.by_exporters, both.by_prometheus):
        _, document = await ours.get(f"{API}/v1beta1")
        assert listed <= {one["name"] for one in document["resources"]}


async def _until_same(both: Both, path: str) -> JsonObject:
    """Wait until all three answer the same items, and return them with everything in them."""

    async def same() -> JsonObject:
        _, theirs = await both.adapter(path)
        documents = [
            (await ours.get(f"{API}/{path}"))[1] for ours in (both.by_exporters, both.by_prometheus)
        ]
        wanted = _items(theirs)
        if not wanted or any(_items(one) != wanted for one in documents):
            return {}
        return {item["describedObject"]["name"]: item for item in documents[0]["items"]}

    return await until(same, deadline_seconds=SAME_SECONDS, what=f"{path} is the same")


def _items(document: Mapping[str, Any]) -> JsonObject:
    """What is said of each object, without when it was sampled, values in milli-units."""
    return {
        item["describedObject"]["name"]: {
            **{key: value for key, value in item.items() if key != "timestamp"},
            "value": int(parse_quantity(item["value"]) * 1000),
        }
        for item in document.get("items", ())
    }


def _timestamps(document: Mapping[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(item["timestamp"]) for item in document["items"]]


def _whole_second() -> datetime:
    """Now, as a timestamp in whole seconds tells it."""
    return datetime.now(UTC).replace(microsecond=0)


def _values(document: Mapping[str, Any]) -> dict[str, float]:
    return {
        item["describedObject"]["name"]: float(parse_quantity(item["value"]))
        for item in document.get("items", ())
    }


async def _spread(chain: Chain, family: str, label: str, samples: float) -> dict[str, float]:
    """By name: what so many of the samples of 3 minutes can make out in their mean."""
    matchers = f'{label}!=""' + (f',namespace_name="{NAMESPACE}"' if label == "pod_name" else "")
    value = f"sum by ({label}, uuid, job) ({family}{{{matchers}}})"
    found = await chain.prometheus.query(
        f"max by ({label}) ((max_over_time(({value})[3m:{STEP_SECONDS}s])"
        f" - min_over_time(({value})[3m:{STEP_SECONDS}s]))"
        f" * {samples} / count_over_time(({value})[3m:{STEP_SECONDS}s]))"
    )
    return {one["metric"][label]: float(one["value"][1]) for one in found}
