# SPDX-License-Identifier: Apache-2.0
"""The map of GPUs in a real browser."""

from __future__ import annotations

import pytest

from scaler.readings.devices import MEMORY_TOTAL, MEMORY_USED, POWER_USAGE, TEMPERATURE
from tests.browser.axe import violations
from tests.browser.scenes import keep, opened, some_nodes, usual
from tests.statuspage import Scene
from tests.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_the_map_shows_each_gpu_with_its_pod(browser):
    scene = usual()
    scene.samples = some_nodes(2)
    scene.failed_nodes = {"gpu-node-9": "the exporter of node gpu-node-9 gave no answer"}
    async with opened(browser, scene, "#/gpus") as page:
        await page.see("document.querySelectorAll('.gpus li').length === 16")
        await keep(page, "map")
        cells = [" ".join(text.split()) for text in await page.texts(".gpus li")]
        assert cells[1].startswith("13 %")
        assert cells[7] == "0 % free"
        assert await page.text(".map tbody tr:nth-child(3) .trouble") == (
            "the exporter of node gpu-node-9 gave no answer"
        )
        shades = [" ".join(text.split()) for text in await page.texts(".shades li")]
        counts = {label: int(number) for label, _, number in (t.rpartition(" ") for t in shades)}
        assert sum(counts.values()) == 16
        assert counts["Free"] == 4
        assert "12 of 16 GPUs held. 2 of 3 nodes read, 1 failed." in await page.text(".progress")
        listed = [name for role, name in await page.accessible() if role == "StaticText"]
        assert "web-5d8f6c7b" not in "".join(listed) or "default/" in listed
        await page.evaluate("document.querySelector('.bar > button').click()")
        assert "NVIDIA H100 80GB HBM3, GPU-gpu-node-0000-0" in (await page.texts(".gpus li"))[0]


async def test_details_are_read_of_the_nodes_on_screen(browser):
    scene = usual()
    scene.samples = some_nodes(60)
    scene.details = {
        family: [one._replace(value=value) for some in scene.samples.values() for one in some]
        for family, value in (
            (MEMORY_USED, 47.25 * 2**30),
            (MEMORY_TOTAL, 80 * 2**30),
            (POWER_USAGE, 350_400.0),
            (TEMPERATURE, 61.0),
        )
    }
    expected = "47.3 of 80.0 GiB, 350 W, 61 °C"
    async with opened(browser, scene, "#/gpus", height=600) as page:
        await page.see("document.querySelector('.gpus li .readings:not(:empty)') !== null")
        title = await page.evaluate("document.querySelector('.gpus li').title")
        assert " ".join(title.split()) == f"NVIDIA H100 80GB HBM3, GPU-gpu-node-0000-0 {expected}"
        assert expected not in (await page.texts(".gpus li"))[0]
        await page.evaluate("document.querySelector('.bar > button').click()")
        assert expected in " ".join((await page.texts(".gpus li"))[0].split())
        await keep(page, "map-details")
        assert await violations(page) == []
        read = {node for nodes in scene.detailed for node in nodes}
        assert 0 < len(read) <= 24
        assert "gpu-node-0040" not in read
        await page.evaluate("document.querySelector('[data-node=gpu-node-0040]').scrollIntoView()")
        await page.see(
            "document.querySelector('[data-node=gpu-node-0040] .readings:not(:empty)') !== null"
        )
        assert max(len(nodes) for nodes in scene.detailed) <= 24


async def test_five_thousand_nodes_are_read_bit_by_bit_and_shown_by_pages(browser):
    scene = Scene()
    scene.decide()
    scene.samples = some_nodes(5000)
    async with opened(browser, scene, "#/gpus") as page:
        await page.see("document.querySelectorAll('.map tbody tr').length === 50")
        await keep(page, "5000-nodes")
        assert await page.text(".pager span") == "1 to 50 of 5,000 nodes"
        assert "of 5,000 read so far" in await page.text(".progress")
        assert max(len(wanted) for wanted in scene.asked) == 100
        assert await page.evaluate("document.querySelectorAll('*').length") < 5000
        before = page.received_bytes
        asked = sum("/gpus" in request for request in page.requests)
        await until(lambda: sum("/gpus" in r for r in page.requests) >= asked + 2)
        assert page.received_bytes - before < 60_000
        await page.evaluate("location.hash = '#/gpus?search=gpu-node-0042'")
        await page.see("document.querySelectorAll('.map tbody tr').length === 1")


async def test_what_is_read_already_is_not_waited_for(browser, monkeypatch):
    # Otherwise the page asks as often as the loop decides, every 5 s at least.
    monkeypatch.setattr("tests.statuspage.LOOP_SECONDS", 60.0)
    scene = usual()
    scene.samples = some_nodes(2)
    async with opened(browser, scene, "#/gpus") as page:
        await page.see("document.querySelectorAll('.gpus li').length === 16")
        asked = await page.evaluate(
            "performance.getEntriesByType('resource').filter(({name}) => name.includes('api/'))"
            ".map(({startTime}) => startTime)"
        )
        assert asked[1] - asked[0] < 4000


async def test_the_map_from_prometheus_says_what_is_missing(browser):
    scene = Scene(source="prometheus")
    scene.samples = some_nodes(2)
    async with opened(browser, scene, "#/gpus") as page:
        await page.see("document.querySelectorAll('.gpus li').length === 16")
        scene.failed_families = {"nvidia_gpu_duty_cycle": "Prometheus did not answer within 5 s"}
        await page.see("document.querySelector('.trouble').innerText.includes('within 5 s')")
        # What was read last stays, with its age.
        assert len(await page.texts(".gpus li")) == 16
