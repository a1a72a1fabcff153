# SPDX-License-Identifier: Apache-2.0
""" "What if" over a real socket: answers, refusals, and one replay at a time."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import urlencode

import aiohttp
import pytest

from scaler.budgets import BEHAVIOR_BYTES
from scaler.model import DeploymentState
from scaler.web import page
from scaler.web.replay_runner import ReplayBusyError, ReplayRunner
from tests.statuspage import Scene, decision, ref, status_page
from tests.waiting import until

NOW = 1_800_000_000.0
PATH = "/api/v1/deployments/default/web/what-if"


@pytest.fixture
def scene():
    scene = Scene()
    for step in range(120):
        scene.decide(decision(replicas=4, duty_percent=20 + step % 60), at=NOW + 30 * step)
    annotations = {
        "gpu-scaler/enabled": "true",
        "gpu-scaler/max-replicas": "10",
        "gpu-scaler/target-duty-cycle": "40",
    }
    scene.deployments = (
        DeploymentState(ref=ref("web"), uid="u", annotations=annotations, spec_replicas=4, pods=()),
    )
    return scene


async def asked(url: str, **params: str):
    address = f"{url}{PATH}?{urlencode({'metric': 'duty_cycle'} | params)}"
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        return answer.status, await answer.json()


async def test_it_answers_with_every_curve(scene):
    async with status_page(scene) as url:
        status, found = await asked(url, target="60", seconds="3600")
    assert status == 200
    assert [one["name"] for one in found["results"]] == [
        "as it was",
        "settings in force",
        "what if",
    ]
    assert found["results"][2]["gpu_hours"] < found["results"][1]["gpu_hours"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"target": "95"}, "gpu-scaler/target-duty-cycle: "),
        ({"behavior": "scaleDown: [1"}, "gpu-scaler/behavior: "),
        ({"behavior": "é%\n" * (BEHAVIOR_BYTES // 4)}, "gpu-scaler/behavior: "),
        ({"metric": "x"}, "metric: 'x' is not one of"),
        ({"metric": "requests"}, "no value of requests"),
        ({"seconds": "0"}, "seconds: '0' is not"),
    ],
)
async def test_what_is_wrong_is_said(scene, params, expected):
    async with status_page(scene) as url:
        status, found = await asked(url, **params)
    assert (status, list(found)) == (400, ["problems"])
    assert found["problems"][0].startswith(expected)


async def test_it_cannot_write(scene):
    async with status_page(scene) as url, aiohttp.ClientSession() as session:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            async with session.request(method, f"{url}{PATH}") as answer:
                assert answer.status == 405


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)]
)
async def test_another_site_cannot_ask(scene, site, status):
    async with (
        status_page(scene) as url,
        aiohttp.ClientSession(headers={"Sec-Fetch-Site": site}) as session,
        session.get(f"{url}{PATH}?metric=duty_cycle") as answer,
    ):
        assert answer.status == status


async def test_one_replay_runs_at_a_time_and_others_are_told(scene, monkeypatch):
    begun, release = threading.Event(), threading.Event()

    def slow(*_: object):
        begun.set()
        release.wait(60)
        raise TimeoutError

    monkeypatch.setattr(page, "what_if", slow)
    async with status_page(scene) as url, asyncio.TaskGroup() as group:
        first = group.create_task(asked(url))
        try:
            await until(begun.is_set, what="the first replay")
            status, busy = await asked(url)
        finally:
            release.set()
    assert (status, busy["problems"]) == (
        503,
        ["the scaler computes for another viewer; try again"],
    )
    status, late = first.result()
    assert status == 503
    assert "takes more than" in late["problems"][0]


async def test_a_caller_that_goes_away_keeps_its_place_until_the_replay_ends():
    runner, release = ReplayRunner(), threading.Event()
    gone = asyncio.ensure_future(runner.run(lambda _: release.wait(60)))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(ReplayBusyError):
        await runner.run(lambda _: None)
    release.set()

    async def free() -> bool:
        try:
            return await runner.run(lambda _: True)
        except ReplayBusyError:
            return False

    await until(free, what="a free runner")


async def test_work_is_told_to_stop_at_the_end_of_its_budget():
    assert await ReplayRunner(budget_seconds=-1.0).run(lambda should_stop: should_stop())
    assert not await ReplayRunner().run(lambda should_stop: should_stop())
