# SPDX-License-Identifier: Apache-2.0
"""What others do to a Deployment between the scaler's read and its write, and to its watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.cluster.annotations.audit import Audit, credential_of
from tests.cluster.annotations.between import Between, running_between
from tests.cluster.annotations.conftest import ACCOUNT
from tests.running import ScalerProcess, running_scaler
from tests.scaled import DEPLOYMENTS, NAME, PATH, Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.controlplane import ControlPlane

SLOWLY_IN = '{"scaleDown": {"stabilizationWindowSeconds": 300}}'
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


Through: TypeAlias = tuple[Between, ScalerProcess, str]


@pytest.fixture
async def through(installed: ControlPlane):
    """A scaler that reaches the API server through a proxy of the test, and its credential."""
    async with running_between(installed) as (between, url):
        kubeconfig = await asyncio.to_thread(installed.kubeconfig_for, ACCOUNT, server=url)
        async with running_scaler(kubeconfig) as scaler:
            yield between, scaler, credential_of(kubeconfig)
            assert scaler.process.returncode is None
    assert not [line for line in scaler.log if "level=error" in line]


@pytest.fixture
def between(through: Through) -> Between:
    return through[0]


@pytest.fixture
def scaler(through: Through) -> ScalerProcess:
    return through[1]


async def _measured(scaler: ScalerProcess, name: str = NAME) -> None:
    async def is_measured() -> bool:
        decision = await scaler.decision("default", name)
        return decision.get("proposed_replicas") is not None

    await until(is_measured, what=f"a decision on values of {name}")


async def _decided_again(scaler: ScalerProcess, times: int) -> None:
    """Wait for `times` more loops."""

    async def loops() -> float:
        metrics = await scaler.text("/metrics")
        line = next(x for x in metrics.splitlines() if "loop_duration_seconds_count" in x)
        return float(line.split()[-1])

    async def enough() -> bool:
        return await loops() >= begin + times

    begin = await loops()
    await until(enough, what=f"{times} loops")


async def test_a_count_that_somebody_writes_at_the_same_moment_stands(
    scaled: Scaled, scaler: ScalerProcess, between: Between, audit: Audit
):
    await scaled.client.post(DEPLOYMENTS, deployment(behavior=SLOWLY_IN))
    await scaled.ready(1)
    await _measured(scaler)
    written = {"spec": {"replicas": 4}}
    between.before_next_scale(PATH, lambda: scaled.client.patch(f"{PATH}/scale", written))
    scaled.load(80)
    await scaled.ready(4)
    await _decided_again(scaler, 5)
    assert await scaled.replicas() == 4
    assert [request.code for request in audit.scale_patches()] == [409]


async def test_a_deployment_that_is_deleted_at_the_same_moment(
    scaled: Scaled, scaler: ScalerProcess, between: Between, audit: Audit
):
    await scaled.client.post(DEPLOYMENTS, deployment())
    await scaled.client.post(DEPLOYMENTS, deployment(name="other"))
    other = f"{DEPLOYMENTS}/other"
    await scaled.ready(1)
    await scaled.ready(1, path=other)
    await _measured(scaler)
    await _measured(scaler, "other")
    between.before_next_scale(PATH, lambda: scaled.client.delete(PATH))
    scaled.load(80)
    await scaled.ready(2, path=other)

    async def is_forgotten() -> bool:
        return not await scaler.decision("default", NAME)

    await until(is_forgotten, what="no decision on the deleted Deployment")
    # How often, is up to the load: its pods are all above the target until there are four.
    assert {request.what for request in audit.rescales()} == {"deployments/scale default/other"}


async def test_a_deployment_that_is_made_anew_at_the_same_moment_is_not_scaled_for_the_old_one(
    scaled: Scaled, scaler: ScalerProcess, between: Between, audit: Audit
):
    async def make_anew() -> None:
        await scaled.client.delete(PATH)
        # Old enough to count when its GPU shows nothing of its last holder's load any more.
        await scaled.client.post(DEPLOYMENTS, deployment(ready_age="2s"))
        scaled.load(0)

    await scaled.client.post(DEPLOYMENTS, deployment())
    await scaled.ready(1)
    await _measured(scaler)
    between.before_next_scale(PATH, make_anew)
    scaled.load(80)
    await until(lambda: any("deleted and created again" in line for line in scaler.log))
    # Its own pod is idle.
    await _measured(scaler)
    await _decided_again(scaler, 5)
    assert await scaled.replicas() == 1
    assert audit.rescales() == []


async def test_a_deployment_that_is_deleted_while_it_scales_out(
    scaled: Scaled, scaler: ScalerProcess
):
    one_by_one = '{"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]}}'
    await scaled.client.post(DEPLOYMENTS, deployment(behavior=one_by_one))
    async with scaled.under_load(100):
        await scaled.ready(3)
        await scaled.client.delete(PATH, body={"propagationPolicy": "Foreground"})

        async def is_gone() -> bool:
            pods = (await scaled.client.list_("/api/v1/namespaces/default/pods"))["items"]
            deployments = (await scaled.client.list_(DEPLOYMENTS))["items"]
            return not deployments and not pods and not await scaler.decision("default", NAME)

        await until(is_gone, what="neither Deployment nor pods nor a decision")
    # The name may be used again, and its history begins again. Its pod counts when its GPU shows
    # nothing of its last holder's load any more.
    await scaled.client.post(DEPLOYMENTS, deployment(ready_age="2s"))
    await scaled.ready(1)
    await _measured(scaler)
    assert await scaled.replicas() == 1


@pytest.fixture
async def uncached(installed: ControlPlane):
    """An API server that remembers no changes itself, so that watches begin at etcd's history."""
    await asyncio.to_thread(installed.restart_apiserver, "--watch-cache=false")
    yield
    await asyncio.to_thread(installed.restart_apiserver)


@pytest.mark.usefixtures("uncached")
async def test_a_history_that_etcd_has_forgotten_is_listed_anew(
    installed: ControlPlane, scaled: Scaled, through: Through, audit: Audit
):
    between, scaler, credential = through

    def lists() -> int:
        return sum(
            request.verb == "list"
            and request.what.startswith("deployments ")
            and request.credential == credential
            for request in audit.requests()
        )

    made = await scaled.client.post(DEPLOYMENTS, deployment())
    await scaled.ready(1)
    await _measured(scaler)
    before = lists()
    for name in ("one", "two", "three"):
        await scaled.client.post(CONFIGMAPS, {"metadata": {"name": f"history-{name}"}})
    await asyncio.to_thread(installed.compact)
    version = made["metadata"]["resourceVersion"]
    watch = f"{DEPLOYMENTS}?watch=1&timeoutSeconds=1&resourceVersion={version}"
    answer = await asyncio.to_thread(installed.request, "GET", watch)
    assert (answer["type"], answer["object"]["code"]) == ("ERROR", 410)
    between.cut()
    await until(lambda: lists() > before, what="Deployments are listed again")
    scaled.load(80)
    await scaled.ready(2)
