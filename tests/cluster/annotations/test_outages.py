# SPDX-License-Identifier: Apache-2.0
"""The API server away under way, and of two scalers the one that acts."""

from __future__ import annotations

import asyncio
import gc
import signal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.cluster.annotations.audit import Audit, Request, credential_of
from tests.cluster.annotations.conftest import ACCOUNT
from tests.running import ScalerProcess, running_scaler
from tests.scaled import DEPLOYMENTS, NAME, Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane

MOST = 6
ONE_IN_THREE_SECONDS = (
    '{"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 3}]},'
    ' "scaleDown": {"stabilizationWindowSeconds": 300}}'
)
LEASE_SECONDS = 6.0
LEASE_FLAGS = ("--lease-duration=6s", "--renew-deadline=4s", "--retry-period=1s")


def _growing():
    """A Deployment that grows by one pod at a time for as long as all its pods are busy."""
    return deployment(max_replicas=str(MOST), behavior=ONE_IN_THREE_SECONDS)


def _assert_grown_one_by_one(audit: Audit) -> None:
    sizes = [1, *(request.replicas for request in audit.rescales())]
    assert sizes == [*range(1, MOST + 1)]


# asyncio forgets to close a connection whose TLS handshake the server breaks off.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_an_api_server_that_is_away_until_nobody_leads(
    installed: ControlPlane, scaled: Scaled, kubeconfig: Path, audit: Audit
):
    await scaled.client.post(DEPLOYMENTS, _growing())
    await scaled.ready(1)
    async with running_scaler(kubeconfig) as scaler, scaled.under_load(100):
        await scaled.ready(3)
        await asyncio.to_thread(installed.stop_apiserver)
        try:
            # The Lease cannot be renewed: whoever does not know who leads does not act.
            await until(lambda: _has_let_go(scaler), what="nobody leads")
        finally:
            await asyncio.to_thread(installed.start_apiserver)
        await until(lambda: _has_size(scaled, MOST), what=f"size {MOST}")
        # The controller manager backs off for longer than we do; later tests need it as well.
        await scaled.ready(MOST, deadline_seconds=180)
        assert scaler.process.returncode is None
    _assert_grown_one_by_one(audit)
    assert not [line for line in scaler.log if "level=error" in line]
    # Found now, no later test is blamed for it.
    gc.collect()


async def _has_size(scaled: Scaled, count: int) -> bool:
    return await scaled.replicas() == count


async def _has_let_go(scaler: ScalerProcess) -> bool:
    document = await scaler.document("/api/v1/decisions")
    return document.get("decisions") == []


@pytest.fixture
async def two(installed: ControlPlane):
    """Two scalers by the credentials under which the audit log knows them."""
    files = [await asyncio.to_thread(installed.kubeconfig_for, ACCOUNT) for _ in range(2)]
    async with (
        running_scaler(files[0], "--identity=one", *LEASE_FLAGS) as one,
        running_scaler(files[1], "--identity=two", *LEASE_FLAGS) as another,
    ):
        yield {credential_of(files[0]): one, credential_of(files[1]): another}


async def _the_acting(scalers: dict[str, ScalerProcess]) -> str:
    async def acting() -> list[str]:
        return [name for name, one in scalers.items() if await one.decision("default", NAME)]

    found = await until(acting, what="one of them acts")
    assert len(found) == 1
    return found[0]


def _renewals(requests: list[Request]) -> list[Request]:
    return [one for one in requests if one.verb == "update" and one.what.startswith("leases")]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="stopped, and going on when another leads"),
    ],
)
async def test_of_two_scalers_never_both_act(
    scaled: Scaled, two: dict[str, ScalerProcess], audit: Audit, ending: signal.Signals
):
    await scaled.client.post(DEPLOYMENTS, _growing())
    await scaled.ready(1)
    first = await _the_acting(two)
    (second,) = two.keys() - {first}
    async with scaled.under_load(100):
        await scaled.ready(3)
        two[first].process.send_signal(ending)
        await scaled.ready(4)
        if ending == signal.SIGSTOP:
            two[first].process.send_signal(signal.SIGCONT)
            await until(lambda: _has_let_go(two[first]), what="the first lets go")
        await scaled.ready(MOST)

    _assert_grown_one_by_one(audit)
    actors = [request.credential for request in audit.rescales()]
    assert [one for one, other in pairwise(actors) if one != other] == [first]
    assert {*actors} == {first, second}
    renewals = _renewals(audit.requests())
    last = max(one.at for one in renewals if one.credential == first and one.code == 200)
    taken = min(
        one.at
        for one in renewals
        if one.credential == second and one.code == 200 and one.body["spec"]["holderIdentity"]
    )
    assert (taken - last).total_seconds() >= LEASE_SECONDS
    begun = min(one.at for one in audit.rescales() if one.credential == second)
    ended = max(one.at for one in audit.rescales() if one.credential == first)
    assert ended < taken < begun
