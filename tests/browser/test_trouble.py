# SPDX-License-Identifier: Apache-2.0
"""What the page says in a real browser when something is in the way."""

from __future__ import annotations

import time

import pytest

from scaler.decision.model import Outcome
from tests.browser.scenes import cells, keep, opened, some_nodes, usual
from tests.statuspage import Scene, decision, status_page

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_a_replica_that_does_not_lead_says_who_does_and_links_nothing(browser):
    scene = Scene(leader="gpu-scaler-7d9c-b")
    scene.samples = some_nodes(1)
    async with opened(browser, scene, shot="follower") as page:
        (notice,) = await page.texts(".notice")
        assert "gpu-scaler-7d9c-a, is a standby" in notice
        assert "The leader is gpu-scaler-7d9c-b" in notice
        assert "No Deployment has opted in" not in await page.text("main")
        assert "port-forward pod/gpu-scaler-7d9c-b" in await page.text("main pre")
        links = "[...document.querySelectorAll('main a')].map((one) => one.href)"
        assert await page.evaluate(links) == []
        await page.evaluate("location.hash = '#/gpus'")
        await page.see("document.querySelectorAll('.gpus li').length === 8")
        assert await page.evaluate(links) == []
        scene.leader = None
        await page.see("document.querySelector('.notice').innerText.includes('there is no leader')")
        scene.leader = "gpu-scaler-7d9c-a"
        scene.decide(decision("web"))
        await page.evaluate("location.hash = '#/'")
        await page.see("document.querySelectorAll('.deployments tbody tr').length === 1")
        await page.see("document.querySelector('.notice') === null")


@pytest.mark.parametrize(
    ("change", "expected", "stale"),
    [
        pytest.param(
            {"holding": "the watches have lost contact with the Kubernetes API"},
            "The scaler holds all decisions: the watches have lost contact with the Kubernetes"
            " API.",
            True,
            id="API down",
        ),
        pytest.param(
            {"stopped": "Lease gpu-scaler carries gpu-scaler/paused='true'"},
            "All scaling is stopped: Lease gpu-scaler carries gpu-scaler/paused='true'.",
            False,
            id="stopped by a person",
        ),
        pytest.param(
            {"unready": "the metrics API has no certificate"},
            "The scaler is not ready: the metrics API has no certificate.",
            False,
            id="not ready",
        ),
    ],
)
async def test_what_is_in_the_way_is_said_first(browser, change, expected, stale):
    scene = usual()
    async with opened(browser, scene) as page:
        for name, value in change.items():
            setattr(scene, name, value)
        await page.see("document.querySelector('.notice') !== null")
        (notice,) = await page.texts(".notice")
        assert notice.startswith(expected)
        assert await page.evaluate("document.body.classList.contains('stale')") == stale
        assert await page.low_contrast() == []
        # It is in a live region that was there before.
        assert (
            await page.evaluate("document.querySelector('.notice').parentElement.role") == "status"
        )
        await keep(page, f"notice-{next(iter(change))}")


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        pytest.param(5, "No exporter returned usable values", id="all"),
        pytest.param(2, "2 of 5 exporters returned no usable values", id="some"),
    ],
)
async def test_a_source_that_fails_is_said(browser, failed, expected):
    scene = Scene()
    held = decision(
        outcome=Outcome.HELD,
        reason="FailedGetPodsMetric",
        message="held at 2 replicas: duty_cycle: no exporter answered",
        duty_percent=None,
    )
    scene.decide(held, failed=failed)
    async with opened(browser, scene, shot=f"source-{failed}") as page:
        (notice,) = await page.texts(".notice")
        assert notice.startswith(expected)
        assert (await cells(page, "web"))["State"].endswith("Held")


async def test_decisions_that_are_old_are_not_shown_as_new(browser):
    scene = Scene()
    scene.decide(decision(), at=time.time() - 3 * 3600)
    async with opened(browser, scene, shot="stale") as page:
        (notice,) = await page.texts(".notice")
        assert notice.startswith("The scaler has made no decision for 3h")
        assert await page.text("#pulse") == "Last decision 3h ago"


async def test_a_scaler_that_went_away_is_noticed_and_so_is_its_return(browser):
    scene = usual()
    async with browser.page() as page:
        async with status_page(scene) as url:
            await page.open(f"{url}/")
        await page.see("document.querySelector('.notice') !== null")
        notice = await page.text(".notice")
        assert "No connection to the scaler since" in notice
        assert "(connection failed). This page shows the state at" in notice
        assert await page.evaluate("document.body.classList.contains('stale')")
        assert len(await page.texts(".deployments tbody tr")) == 7
        assert await page.low_contrast() == []
        await keep(page, "away")
        async with status_page(scene, port=int(url.rpartition(":")[2])):
            scene.decide(decision("back"))
            await page.see("document.querySelector('.notice') === null")
            await page.see("document.querySelector('.deployments a').innerText === 'back'")


async def test_a_wrong_address_is_said(browser):
    async with opened(browser, usual(), "#/") as page:
        await page.evaluate("location.hash = '#/?group=nonsense'")
        await page.see("document.querySelector('.notice') !== null")
        assert "group: 'nonsense' is not one of attention" in await page.text(".notice")
        await page.evaluate("location.hash = '#/deployment/default/nobody'")
        await page.see("document.querySelector('.nothing:not([hidden])') !== null")
        assert "no decision for Deployment default/nobody" in await page.text(".nothing")
        await page.evaluate("location.hash = '#/'")
        await page.see("document.querySelector('.notice') === null")
        page.complaints = [one for one in page.complaints if "status of 40" not in one]
