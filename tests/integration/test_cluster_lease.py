# SPDX-License-Identifier: Apache-2.0
"""Leader election over a real HTTP API: one leader at a time, whatever happens to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from scaler.kube.client import KubeClient
from scaler.kube.lease import STOP_ANNOTATION, LeaseElection
from simulator.apiserver import running_apiserver
from tests.waiting import until

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
DURATIONS = {
    "lease_duration_seconds": 15.0,
    "renew_deadline_seconds": 10.0,
    "retry_period_seconds": 2.0,
}


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


def candidate(client, identity, clock, **durations):
    return LeaseElection(
        client,
        namespace="default",
        name="scaler",
        identity=identity,
        clock=clock,
        **{**DURATIONS, **durations},
    )


@asynccontextmanager
async def two_candidates():
    """Yield the API and two candidates whose clocks have nothing in common but their pace."""
    async with (
        running_apiserver() as api,
        KubeClient(api.url) as one,
        KubeClient(api.url) as two,
    ):
        clocks = Clock(1000.0), Clock(77.0)
        yield api, candidate(one, "a", clocks[0]), candidate(two, "b", clocks[1]), clocks


def advance(clocks, seconds):
    for clock in clocks:
        clock.now += seconds


async def test_one_gets_it_and_keeps_it():
    async with two_candidates() as (_, a, b, clocks):
        assert await a.try_once()
        for _ in range(20):
            assert not await b.try_once()
            advance(clocks, 2)
            assert await a.try_once()
            assert a.is_leader(clocks[0].now)
            assert not b.is_leader(clocks[1].now)
        assert b.leader() == "a"


async def test_a_look_just_before_acting_sees_another_holder_and_a_stop():
    async with two_candidates() as (_, a, b, clocks):
        assert await a.try_once()
        assert await a.confirm() is None
        await a._client.patch(a._path, {"metadata": {"annotations": {STOP_ANNOTATION: "true"}}})
        assert "all scaling is stopped" in str(await a.confirm())
        await a._client.patch(a._path, {"metadata": {"annotations": {STOP_ANNOTATION: None}}})
        assert not await b.try_once()
        advance(clocks, 9)
        assert a.is_leader(clocks[0].now)
        # Its own clock lagged behind, and another one has begun.
        clocks[1].now += 10
        assert await b.try_once()
        assert await a.confirm() == "b holds the Lease"


async def test_a_silent_leader_stops_before_another_begins():
    async with two_candidates() as (_, a, b, clocks):
        assert await a.try_once()
        together = 0
        took_over_after = None
        for second in range(40):  # a is frozen: it renews nothing any more
            await b.try_once()
            leading = a.is_leader(clocks[0].now), b.is_leader(clocks[1].now)
            together += all(leading)
            if leading[1] and took_over_after is None:
                took_over_after = second
                assert not leading[0]
            advance(clocks, 1)
        assert together == 0
        assert took_over_after == 15
        # It wakes up, tries to go on as if nothing had happened, and learns better.
        assert not await a.try_once()
        assert not a.is_leader(clocks[0].now)


async def test_ages_count_from_when_a_change_was_seen_not_from_the_holders_clock():
    async with two_candidates() as (api, a, b, clocks):
        await a.try_once()
        path = f"{LEASES}/scaler"
        async with KubeClient(api.url) as client:
            # The holder's wall clock is years behind: that makes nobody's Lease old.
            await client.patch(path, {"spec": {"renewTime": "2001-01-01T00:00:00.000000Z"}})
        assert not await b.try_once()
        advance(clocks, 14)
        assert not await b.try_once()
        advance(clocks, 1)
        assert await b.try_once()


async def test_an_annotation_is_no_renewal():
    async with two_candidates() as (api, a, b, clocks):
        await a.try_once()
        await b.try_once()
        async with KubeClient(api.url) as client:
            for second in range(15):
                body = {"metadata": {"annotations": {"seen": str(second)}}}
                await client.patch(f"{LEASES}/scaler", body)
                advance(clocks, 1)
                taken = await b.try_once()
        assert taken


async def test_the_right_to_act_counts_from_when_the_renewal_was_sent():
    async with two_candidates() as (api, a, _, clocks):
        await a.try_once()
        advance(clocks, 5)
        api.faults.delay_seconds = 0.2
        renewal = asyncio.create_task(a.try_once())
        await asyncio.sleep(0)
        clocks[0].now += 4  # the answer takes that long
        assert await renewal
        sent = clocks[0].now - 4
        assert a.is_leader(sent + 9.9)
        assert not a.is_leader(sent + 10)


async def test_a_request_that_hangs_does_not_prolong_anything():
    async with two_candidates() as (api, a, _, clocks):
        await a.try_once()
        api.faults.delay_seconds = 3600
        renewal = asyncio.create_task(a.try_once())
        await asyncio.sleep(0)
        assert a.is_leader(clocks[0].now + 9.9)
        assert not a.is_leader(clocks[0].now + 10)
        renewal.cancel()
        await asyncio.wait([renewal])


async def test_an_api_that_fails_costs_the_lead_at_the_deadline_only(caplog):
    async with two_candidates() as (api, a, _, clocks):
        await a.try_once()
        api.faults.error_status = 500
        for _ in range(9):
            advance(clocks, 1)
            assert await a.try_once()
        advance(clocks, 1)
        assert not await a.try_once()
        api.faults.clear()
        assert await a.try_once()
    warned = [r for r in caplog.records if r.message == "Cannot read or renew the Lease"]
    assert len(warned) == 1


async def test_a_release_hands_over_at_once():
    async with two_candidates() as (api, a, b, clocks):
        await a.try_once()
        assert not await b.try_once()
        await a.release()
        assert not a.is_leader(clocks[0].now)
        assert await b.try_once()
        async with KubeClient(api.url) as client:
            spec = (await client.get(f"{LEASES}/scaler"))["spec"]
        assert spec["holderIdentity"] == "b"
        assert spec["leaseTransitions"] == 1
        assert spec["leaseDurationSeconds"] == 15


async def test_a_renewal_whose_answer_was_lost_does_not_prevent_the_release():
    async with two_candidates() as (api, a, b, _):
        await a.try_once()
        async with KubeClient(api.url) as client:
            # The server took it, but the candidate was cancelled before it heard so.
            await client.patch(f"{LEASES}/scaler", {"metadata": {"annotations": {"x": "y"}}})
        await a.release()
        assert await b.try_once()


async def test_one_that_does_not_lead_releases_nothing():
    async with two_candidates() as (api, a, b, _):
        await a.try_once()
        await b.try_once()
        await b.release()
        async with KubeClient(api.url) as client:
            assert (await client.get(f"{LEASES}/scaler"))["spec"]["holderIdentity"] == "a"


async def test_two_that_see_an_old_lease_at_the_same_moment():
    async with two_candidates() as (_, a, b, clocks):
        await a.try_once()
        await a.release()
        for _ in range(20):
            won = await asyncio.gather(a.try_once(), b.try_once())
            assert sum(won) == 1
            await (a if won[0] else b).release()
            advance(clocks, 1)


async def test_run_takes_over_and_stops_cleanly():
    quick = {
        "lease_duration_seconds": 6.0,
        "renew_deadline_seconds": 4.0,
        "retry_period_seconds": 0.05,
    }
    loop = asyncio.get_running_loop()
    async with running_apiserver() as api, KubeClient(api.url) as one, KubeClient(api.url) as two:
        a = candidate(one, "a", loop.time, **quick)
        b = candidate(two, "b", loop.time, **quick)
        running = asyncio.create_task(a.run())
        await until(lambda: a.is_leader(loop.time()))
        other = asyncio.create_task(b.run())
        await until(lambda: b.leader() == "a")
        assert not b.is_leader(loop.time())
        running.cancel()  # frozen: no release
        await until(lambda: b.is_leader(loop.time()), what="b took over")
        assert not a.is_leader(loop.time())
        other.cancel()
        await asyncio.wait([running, other])


@pytest.mark.parametrize(
    "durations",
    [
        pytest.param({"renew_deadline_seconds": 15.0}, id="deadline not below duration"),
        pytest.param({"retry_period_seconds": 10.0}, id="retry not below deadline"),
    ],
)
async def test_durations_that_would_let_two_lead(durations):
    with pytest.raises(ValueError, match="retry period < renew deadline < lease duration"):
        candidate(KubeClient("http://api"), "a", Clock(0.0), **durations)


async def test_the_holder_says_where_its_page_is_and_keeps_what_others_wrote():
    async with two_candidates() as (_, a, b, clocks):
        a.page = lambda: ("https", 9446)
        await a.try_once()
        await a._client.patch(a._path, {"metadata": {"annotations": {"theirs": "kept"}}})
        await a.try_once()
        lease = await a._client.get(a._path)
        assert lease["metadata"]["annotations"] == {
            "gpu-scaler/status-page": "https:a:9446",
            "theirs": "kept",
        }
        a.page = lambda: None
        b.page = lambda: ("http", 1234)
        await b.try_once()
        advance(clocks, 60)
        await b.try_once()
        lease = await a._client.get(a._path)
        assert lease["metadata"]["annotations"]["gpu-scaler/status-page"] == "http:b:1234"
