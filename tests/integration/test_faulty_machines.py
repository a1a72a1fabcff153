# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to the machine of the scaler, a Deployment that works is never scaled down.

Each test takes something away under steady load, and asks afterwards for the way up and down.
Nothing is stabilized: a single value that is wrong would show at once.
"""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cryptography import x509

from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.apiserver.resources import DEPLOYMENTS as STORED
from simulator.apiserver.resources import Resource
from simulator.apiserver.server import kubeconfig_text
from tests import faultymachine
from tests.answering import Answers
from tests.cluster.processes import free_ports
from tests.embedded import Cluster, running_cluster
from tests.running import ScalerProcess, running_scaler
from tests.scaled import DEPLOYMENTS, LEASE, NAME, PATH, deployment
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

DAY_SECONDS = 86_400
LEASE_FLAGS = ("--lease-duration=3s", "--renew-deadline=2s", "--retry-period=300ms")
AT_ONCE = (
    '{"scaleUp": {"policies": [{"type": "Pods", "value": 8, "periodSeconds": 1}]},'
    ' "scaleDown": {"stabilizationWindowSeconds": 0}}'
)
SIZE, MOST, LEAST = 4, 8, 2
TARGET, STEADY, BUSY = "40", 40.0, 90.0
LARGE_TEXT = "x" * (8 * 1024 * 1024)


@dataclass
class Bed:
    """A Deployment whose GPUs are at its target, and every count that was ever written to it."""

    cluster: Cluster
    seen_revision: int
    percent: float = STEADY
    seen: list[int] = field(default_factory=list)

    async def keep_load(self) -> None:
        while True:
            self.cluster.load(self.percent)
            await asyncio.sleep(0.05)

    async def is_at_its_target(self) -> bool:
        host, port = self.cluster.nodes.nodes["gpu-node-1"].exporter_address
        url = f"http://{host}:{port}/metrics?name[]=nvidia_gpu_duty_cycle"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            page = await answer.text()
        return len(re.findall(rf'pod_name="{NAME}-.* {TARGET}\.0$', page, re.M)) == SIZE

    def counts(self) -> list[int]:
        """Return every count that was written so far, in order."""
        store = self.cluster.api.store
        for change in store.log(STORED).since(self.seen_revision):
            count = change.thing["spec"]["replicas"]
            if change.thing["metadata"]["name"] == NAME and count not in self.seen[-1:]:
                self.seen.append(count)
        self.seen_revision = store.revision
        return self.seen

    def make_watchers_list_anew(self) -> None:
        self.counts()
        self.cluster.api.compact()
        self.cluster.api.faults.drop_watches()

    async def is_at(self, count: int) -> bool:
        return await self.cluster.replicas() == count

    async def goes_up_and_down(self) -> None:
        """Scale it up and down again, and show that nothing went down before."""
        self.percent = BUSY
        await self.cluster.ready(MOST)
        assert self.counts() == sorted(self.counts())
        self.percent = 0.0
        await until(lambda: self.is_at(LEAST), what="it is scaled down")


@pytest.fixture
async def bed(tmp_path) -> AsyncIterator[Bed]:
    async with running_cluster(tmp_path) as cluster:
        bed = Bed(cluster, seen_revision=cluster.api.store.revision)
        await cluster.client.post(
            DEPLOYMENTS,
            deployment(
                replicas=SIZE,
                min_replicas=str(LEAST),
                max_replicas=str(MOST),
                target_duty_cycle=TARGET,
                behavior=AT_ONCE,
            ),
        )
        await cluster.ready(SIZE)
        loading = asyncio.create_task(bed.keep_load())
        await until(bed.is_at_its_target, what="its pods are at the target")
        yield bed
        loading.cancel()
        await asyncio.wait([loading])


async def _decides(scaler: ScalerProcess, reason: str) -> bool:
    return bool((await scaler.decision("default", NAME)).get("reason") == reason)


async def _loops(scaler: ScalerProcess) -> int:
    lines = (await scaler.text("/metrics")).splitlines()
    name = "gpu_scaler_loop_duration_seconds_count"
    return next((round(float(one.split()[1])) for one in lines if one.startswith(name)), 0)


async def _decides_on(scaler: ScalerProcess, more: int = 10) -> None:
    """Wait for so many more loops that decided."""
    begun = await _loops(scaler)

    async def came() -> bool:
        return await _loops(scaler) >= begun + more

    await until(came, what=f"{more} more loops")


def _lists_pods(request: web.Request) -> bool:
    return request.path == "/api/v1/pods" and "watch" not in request.query


def _reads_lease(request: web.Request) -> bool:
    return request.method == "GET" and request.path == LEASE


def _renews_lease(request: web.Request) -> bool:
    return request.method == "PUT" and request.path == LEASE


def _scales(request: web.Request) -> bool:
    return request.method == "PATCH" and request.path == f"{PATH}/scale"


@pytest.mark.parametrize(
    ("percent", "asks"),
    [
        pytest.param(STEADY, _lists_pods, id="as it begins"),
        pytest.param(STEADY, _renews_lease, id="as it renews the Lease"),
        pytest.param(BUSY, _reads_lease, id="before it scales"),
        pytest.param(BUSY, _scales, id="as it scales"),
    ],
)
async def test_killed(bed: Bed, percent: float, asks: Callable[[web.Request], bool]):
    killed = asyncio.Event()

    def kill(request: web.Request) -> bool:
        if asks(request) and not killed.is_set():
            process.send_signal(signal.SIGKILL)
            killed.set()
        return False

    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS) as scaler:
        process = scaler.process
        await _decides_on(scaler, more=3)
        bed.percent = percent
        if asks is _lists_pods:
            bed.make_watchers_list_anew()
        bed.cluster.api.faults.applies_to = kill
        await until(killed.is_set, what="it is killed")
        await process.wait()
    bed.cluster.api.faults.clear()
    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS) as scaler:
        await _decides_on(scaler)
        if percent == STEADY:
            assert bed.counts() == [SIZE]
        await bed.goes_up_and_down()


async def test_stopped_until_another_acts(bed: Bed):
    async with running_scaler(bed.cluster.kubeconfig, "--identity=one", *LEASE_FLAGS) as one:
        await until(lambda: _decides(one, "DesiredWithinRange"))
        async with running_scaler(bed.cluster.kubeconfig, "--identity=two", *LEASE_FLAGS) as two:
            one.process.send_signal(signal.SIGSTOP)
            await until(lambda: _decides(two, "DesiredWithinRange"), what="another acts")
            one.process.send_signal(signal.SIGCONT)

            async def has_let_go() -> bool:
                document = await one.document("/api/v1/decisions")
                return document.get("leader") == "two" and document["decisions"] == []

            await until(has_let_go, what="the first one lets go")
            assert bed.counts() == [SIZE]
            await bed.goes_up_and_down()
            text = await one.text("/metrics")
            assert "gpu_scaler_leader 0.0" in text
            assert "gpu_scaler_rescales_total{" not in text


async def test_stopped_alone_while_the_load_ends(bed: Bed):
    """Nobody saw the load end: what was wanted before is kept for the whole window."""
    window_seconds = 3.0
    behavior = AT_ONCE.replace('Seconds": 0', f'Seconds": {window_seconds:g}')
    await bed.cluster.annotate(behavior=behavior)
    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS) as scaler:
        await until(lambda: _decides(scaler, "DesiredWithinRange"))
        scaler.process.send_signal(signal.SIGSTOP)
        bed.percent = 0.0
        stopped = time.monotonic()
        await until(lambda: time.monotonic() > stopped + window_seconds)
        # A renewal that was under way has been taken by now.
        renewed = (await bed.cluster.client.get(LEASE))["spec"]["renewTime"]
        await until(lambda: time.monotonic() > stopped + 2 * window_seconds)
        assert (await bed.cluster.client.get(LEASE))["spec"]["renewTime"] == renewed
        goes_on = time.monotonic()
        scaler.process.send_signal(signal.SIGCONT)
        await until(lambda: bed.is_at(LEAST), what="it is scaled down")
        assert time.monotonic() >= goes_on + window_seconds
        bed.percent = BUSY
        await bed.cluster.ready(MOST)


async def test_the_disk_is_full(bed: Bed):
    program = faultymachine.with_full_disk()
    flags = ("--log.level=debug", *LEASE_FLAGS)
    async with running_scaler(bed.cluster.kubeconfig, *flags, program=program) as scaler:
        await _decides_on(scaler)
        assert bed.counts() == [SIZE]
        await bed.goes_up_and_down()
        assert scaler.process.returncode is None
    assert scaler.log == []


async def test_no_memory_is_left(bed: Bed):
    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS) as scaler:
        await until(lambda: _decides(scaler, "DesiredWithinRange"))
        faultymachine.take_memory(scaler)
        # It is on the watch, and must not be read.
        large = deployment(name="large", replicas=0, paused="true")
        large["metadata"]["annotations"]["example.com/text"] = LARGE_TEXT
        bed.cluster.api.store.create(STORED, "default", large)

        def fails() -> bool:
            return scaler.process.returncode is not None or any(
                "MemoryError" in line or "memory" in line for line in scaler.log
            )

        await until(fails, what="memory is missed")
        await bed.cluster.client.delete(f"{DEPLOYMENTS}/large")
        if scaler.process.returncode is None:
            faultymachine.give_memory(scaler)
    assert bed.counts() == [SIZE]
    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS) as scaler:
        await _decides_on(scaler)
        await bed.goes_up_and_down()


async def test_the_name_of_the_api_server_is_gone(bed: Bed, tmp_path):
    api, gone = bed.cluster.api, tmp_path / "gone"
    kubeconfig = tmp_path / "by-name"
    kubeconfig.write_text(kubeconfig_text(f"http://{faultymachine.HOST}:{api.port}"))
    program = faultymachine.with_names(gone)
    flags = ("--identity=by-name", *LEASE_FLAGS)
    async with running_scaler(kubeconfig, *flags, program=program) as scaler:
        await until(lambda: _decides(scaler, "DesiredWithinRange"))
        gone.touch()
        # Connections that are open need no name.
        api.faults.applies_to = lambda request: request.host.startswith(faultymachine.HOST)
        api.faults.cut_connections = True
        api.faults.drop_watches()

        def is_reported() -> bool:
            return any(f"cannot connect to {faultymachine.HOST}" in line for line in scaler.log)

        await until(is_reported, what="the name is missed")
        api.faults.clear()

        async def has_let_go() -> bool:
            document = await scaler.document("/api/v1/decisions")
            return not document["decisions"]

        await until(has_let_go, what="it does not act")
        gone.unlink()
        await until(lambda: _decides(scaler, "DesiredWithinRange"), what="it acts again")
        assert bed.counts() == [SIZE]
        await bed.goes_up_and_down()


async def test_the_name_of_prometheus_is_gone(bed: Bed, tmp_path):
    answers, gone = Answers(), tmp_path / "gone"
    answers.totals["sum(queue)"] = SIZE * 10.0
    query = {"query": "sum(queue)", "target_query": "10", "target_duty_cycle": None}

    async def answer(request: web.Request) -> web.Response:
        response = await answers.answer(request)
        response.force_close()
        return response

    async with serving(answer) as url:
        name = url.replace("127.0.0.1", faultymachine.HOST)
        flags = ("--source=prometheus", f"--prometheus.url={name}", *LEASE_FLAGS)
        program = faultymachine.with_names(gone)
        await bed.cluster.annotate(**query)
        async with running_scaler(bed.cluster.kubeconfig, *flags, program=program) as scaler:
            await until(lambda: _decides(scaler, "DesiredWithinRange"))
            gone.touch()
            await until(lambda: _decides(scaler, "FailedGetExternalMetric"), what="it is missed")
            answers.totals["sum(queue)"] = 0.0
            await _decides_on(scaler)
            message = (await scaler.decision("default", NAME))["message"]
            assert "name resolution" in message
            assert bed.counts() == [SIZE]
            answers.totals["sum(queue)"] = MOST * 10.0
            gone.unlink()
            await bed.cluster.ready(MOST)
            answers.totals["sum(queue)"] = LEAST * 10.0
            await until(lambda: bed.is_at(LEAST), what="it is scaled down")


@pytest.mark.parametrize("jump", [-DAY_SECONDS, DAY_SECONDS], ids=["back", "ahead"])
async def test_the_wall_clock_jumps_by_a_day(bed: Bed, tmp_path, jump: int):
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    program = faultymachine.with_wall_clock(ahead)
    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS, program=program) as scaler:
        await until(lambda: _decides(scaler, "DesiredWithinRange"))
        ahead.write_text(str(jump))
        # What was listed before the jump is listed again after it.
        bed.make_watchers_list_anew()
        await _decides_on(scaler)
        assert bed.counts() == [SIZE]
        await bed.goes_up_and_down()


@pytest.mark.parametrize("wrong", [-DAY_SECONDS, DAY_SECONDS], ids=["behind", "ahead"])
async def test_pods_that_have_just_begun_are_young_by_a_wrong_wall_clock_too(
    bed: Bed, tmp_path, wrong: int
):
    ahead = tmp_path / "ahead"
    ahead.write_text(str(wrong))
    program = faultymachine.with_wall_clock(ahead)
    bed.percent = 0.0
    await bed.cluster.annotate(ready_age="10m")
    async with running_scaler(bed.cluster.kubeconfig, *LEASE_FLAGS, program=program) as scaler:
        await _decides_on(scaler)
        decision = await scaler.decision("default", NAME)
        left_out = {one["reason"] for one in decision["metrics"][0]["left_out"]}
        assert bed.counts() == [SIZE]
        assert all("less than the ready age" in reason for reason in left_out), left_out
        await bed.cluster.annotate(ready_age="0s")
        await until(lambda: bed.is_at(LEAST), what="it is scaled down")


@pytest.mark.parametrize("wrong", [-DAY_SECONDS, DAY_SECONDS], ids=["behind", "ahead"])
async def test_a_certificate_that_a_wrong_wall_clock_makes_is_valid_at_once(tmp_path, wrong: int):
    ahead = tmp_path / "ahead"
    ahead.write_text(str(wrong))
    program = faultymachine.with_wall_clock(ahead)
    (port,) = free_ports(1)
    flags = ("--metrics-api", f"--metrics-api.listen-address=127.0.0.1:{port}")
    secrets = "/api/v1/namespaces/gpu-scaler/secrets"
    kind = Resource(group="", version="v1", plural="secrets", kind="Secret")
    async with running_apiserver(extra_resources=[kind]) as api, KubeClient(api.url) as client:
        await client.post("/api/v1/namespaces", {"metadata": {"name": "gpu-scaler"}})
        await client.post(secrets, {"metadata": {"name": "gpu-metrics-api"}})

        async def made() -> str:
            secret = await client.get(f"{secrets}/gpu-metrics-api")
            return str((secret.get("data") or {}).get("tls.crt", ""))

        kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
        async with running_scaler(kubeconfig, *flags, program=program):
            encoded = await until(made, what="the certificate is made")
    certificate = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    now = datetime.now(UTC)
    assert now - timedelta(hours=2) < certificate.not_valid_before_utc < now
    assert timedelta(days=89) < certificate.not_valid_after_utc - now < timedelta(days=91)
