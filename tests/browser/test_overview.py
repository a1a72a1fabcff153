# SPDX-License-Identifier: Apache-2.0
"""The list of Deployments in a real browser: what people see, hear and reach by keyboard."""

from __future__ import annotations

import time

import pytest

from tests.browser.scenes import cells, opened, usual
from tests.statuspage import Scene, decision, refused
from tests.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_each_deployment_is_told_in_words_and_numbers(browser):
    async with opened(browser, usual(), shot="normal") as page:
        assert await page.texts(".deployments tbody a") == [
            *("reranker", "vision", "chat", "embeddings", "images", "speech", "translate")
        ]
        assert await page.evaluate("document.title") == "(2) Deployments · gpu-scaler"
        images = await cells(page, "images")
        assert images["State"].endswith("Scaling up")
        assert images["Against target"] == "Duty cycle 63 % of 40 %"
        assert images["Replicas"] == "3 → 4 1 to 10"
        assert "New size: 4; reason: duty_cycle above target" in images["Why"]
        assert "Event SuccessfulRescale" in images["Why"]
        states = {name: (await cells(page, name))["State"] for name in ("chat", "vision", "speech")}
        assert [state[2:] for state in states.values()] == [
            *("On target", "Invalid annotation", "Waiting for GPUs")
        ]
        assert (await cells(page, "reranker"))["Against target"] == "Duty cycle unknown of 40 %"
        translate = await cells(page, "translate")
        assert translate["Against target"] == (
            "Duty cycle 70 % of 40 % Memory used unknown of 20 GiB"
        )
        chat = "[...document.querySelectorAll('.deployments tbody tr')][2]"
        label = f"{chat}.querySelector('.spark').getAttribute('aria-label')"
        assert await page.evaluate(label) == "Between 2 and 8 replicas over the last 10 min, 8 now"
        assert (await page.texts(".groups button"))[:3] == [
            *("All 7", "Needs attention 2", "At a limit 2")
        ]
        assert "New size: 8" in (await page.text(".events"))
        assert await page.texts(".notice") == []


async def test_a_screen_reader_is_told_the_same(browser):
    async with opened(browser, usual()) as page:
        elements = await page.accessible()
        for landmark in ("banner", "navigation", "main", "contentinfo", "search"):
            assert landmark in {role for role, _ in elements}, landmark
        headings = [name for role, name in elements if role == "heading"]
        assert headings == ["Deployments", "Latest events"]
        columns = [name for role, name in elements if role == "columnheader"]
        assert columns[:6] == [
            *("Deployment", "State", "Against target", "Replicas", "Last hour", "Why")
        ]
        assert ("table", "Deployments") in elements
        assert ("rowheader", "chat default") in elements
        assert ("image", "Between 2 and 8 replicas over the last 10 min, 8 now") in elements
        fields = [pair for pair in elements if pair[0] in ("searchbox", "combobox")]
        assert fields == [
            *(("combobox", "Theme"), ("searchbox", "Find"), ("combobox", "Sort by")),
        ]
        assert all(name for role, name in elements if role in ("link", "button", "heading"))
        assert await page.evaluate("document.documentElement.lang") == "en"


async def test_it_follows_without_reload_and_disturbs_nobody(browser):
    scene = Scene()
    scene.decide(decision("web", duty_percent=20), decision("zoo"))
    async with opened(browser, scene) as page:
        await page.evaluate("window.mark = 1; document.querySelector('.deployments a').focus()")
        await page.evaluate("window.row = document.querySelector('.deployments tbody tr')")
        scene.decide(decision("web", duty_percent=77), refused("vision"), decision("zoo"))
        await page.see("document.querySelector('.numbers b').innerText.startsWith('77')")
        assert await page.evaluate("window.mark") == 1
        assert await page.evaluate("document.activeElement.innerText") == "web"
        assert await page.texts(".deployments tbody a") == ["vision", "web", "zoo"]
        assert await page.evaluate("window.row.isConnected")
        assert await page.text("#told") == "1 Deployment needs attention"
        asked = sum("overview" in request for request in page.requests)
        await until(lambda: sum("overview" in r for r in page.requests) > asked + 1)
        assert await page.text("#told") == "1 Deployment needs attention"


async def test_hundreds_are_shown_by_pages_found_by_name_and_chosen_by_state(browser):
    scene = Scene()
    scene.decide(
        *(
            decision(f"serving-{n:03d}", namespace=f"team-{n % 10}", replicas=n % 9 + 1)
            for n in range(480)
        ),
        *(refused(f"wrong-{n:02d}") for n in range(20)),
    )
    async with opened(browser, scene, shot="500") as page:
        rows = ".deployments tbody tr"
        assert len(await page.texts(rows)) == 50
        assert await page.text(".pager span") == "1 to 50 of 500 Deployments"
        assert await page.texts(".pager button") == ["Previous", "Next"]
        await page.evaluate("document.querySelectorAll('.pager button')[1].focus()")
        await page.press("Enter")
        await page.see("document.querySelector('.pager span').innerText.startsWith('51 to')")
        assert await page.evaluate("document.activeElement.innerText") == "Next"
        await page.evaluate("document.querySelector('#search').focus()")
        await page.type("team-3 serving-40")
        await page.see(f"document.querySelectorAll('{rows}').length === 1")
        assert await page.texts(f"{rows} a") == ["serving-403"]
        assert await page.evaluate("location.hash") == "#/?search=team-3+serving-40"
        assert (await page.texts(".groups button"))[0] == "All 1"
        await page.evaluate("location.hash = '#/?group=attention'")
        await page.see(f"document.querySelectorAll('{rows}').length === 20")
        pressed = "document.querySelector('.groups [aria-pressed=true]').innerText"
        assert await page.evaluate(pressed) == "Needs attention 20"
        await page.evaluate("location.hash = '#/?sort=replicas'")
        await page.see(f"document.querySelectorAll('{rows}').length === 50")
        await page.see("document.querySelector('.deployments .count').innerText === '9'")
        await page.evaluate("location.hash = '#/?search=nobody'")
        await page.see(
            "document.querySelector('.nothing').innerText.includes('No Deployment matches')"
        )


async def test_two_thousand_cost_no_more_than_their_page(browser):
    scene = Scene()
    now = time.time()
    for at in range(5):
        scene.decide(*(decision(f"s-{n:04d}", replicas=at + 1) for n in range(2000)), at=now + at)
    async with opened(browser, scene) as page:
        assert await page.text(".pager span") == "1 to 50 of 2,000 Deployments"
        assert await page.evaluate("document.querySelectorAll('*').length") < 3000
        # Nothing was decided since: what is polled now is that nothing changed.
        asked, before = len(page.requests), page.received_bytes
        await until(lambda: len(page.requests) >= asked + 2)
        assert page.received_bytes - before < 3000
        decided = page.received_bytes
        scene.decide(*(decision(f"s-{n:04d}", replicas=7) for n in range(2000)))
        await page.see("document.querySelector('.deployments .count').innerText === '7'")
        assert page.received_bytes - decided < 30_000


async def test_with_nothing_to_show_it_says_what_to_do(browser):
    scene = Scene()
    scene.decide()
    async with opened(browser, scene, shot="empty") as page:
        assert "No Deployment has opted in" in await page.text(".nothing")
        assert 'gpu-scaler/enabled: "true"' in await page.text(".nothing pre")
        await page.evaluate("location.hash = '#/gpus'")
        await page.see(
            "document.querySelector('main').innerText.includes('No exporter is running')"
        )


async def test_all_is_reached_by_keyboard(browser):
    scene = usual()
    async with opened(browser, scene, shot="keyboard") as page:
        focused = "document.activeElement.innerText || document.activeElement.id"
        reached = []
        for _ in range(15):
            await page.press("Tab")
            reached.append(await page.evaluate(focused))
        assert reached[:4] == ["Skip to content", "Deployments", "GPU map", "Idle GPUs"]
        assert [text.split("\n")[0] for text in reached[4:11]] == [
            *(
                "System",
                "All 7",
                "Needs attention 2",
                "At a limit 2",
                "Changing 1",
                "Steady 1",
                "Not scaling 1",
            )
        ]
        assert [reached[11], *reached[13:]] == ["search", "reranker", "vision"]
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(outline) == "solid"
        await page.evaluate("document.querySelector('.deployments a').focus()")
        await page.press("Enter")
        await page.see("document.querySelector('.standing') !== null")
        # Who follows a link begins at the heading of what it leads to.
        assert await page.evaluate("document.activeElement.tagName") == "H1"
        await page.evaluate("document.querySelector('#skip').focus()")
        await page.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        assert "deployment/default/reranker" in await page.evaluate("location.hash")


async def test_a_namespace_is_chosen_in_the_address_and_kept_on_the_way_back(browser):
    scene = Scene()
    scene.decide(decision("a", namespace="team-1"), decision("b", namespace="team-2"))
    async with opened(browser, scene, "#/") as page:
        await page.evaluate(
            "const list = document.getElementById('namespace'); list.value = 'team-2';"
            "list.dispatchEvent(new Event('change'))"
        )
        await page.see("document.querySelectorAll('.deployments tbody tr').length === 1")
        assert await page.evaluate("location.hash") == "#/?namespace=team-2"
        await page.evaluate("document.querySelector('.deployments tbody a').click()")
        await page.see("document.querySelector('.up a')?.getAttribute('href')")
        await page.evaluate("document.querySelector('.up a').click()")
        await page.see("document.getElementById('namespace')?.value === 'team-2'")
        assert await page.texts(".deployments tbody a") == ["b"]


async def test_an_address_that_is_none_says_so(browser):
    async with opened(browser, usual(), "#/deployments/default/chat") as page:
        assert await page.text("h1") == "No such page"
        assert '"/deployments/default/chat"' in await page.text("main")
        await page.evaluate("document.querySelector('main a').click()")
        await page.see("document.querySelectorAll('.deployments tbody tr').length === 7")
