# SPDX-License-Identifier: Apache-2.0
"""What holds for every page, in a real browser: contrast, phones, and what others wrote."""

from __future__ import annotations

import time

import pytest

from tests.browser.scenes import keep, opened, some_nodes, usual
from tests.statuspage import Scene, decision, policy, recorded_event, refused, status_page

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

PHONE_WIDTH = 360
HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><b>\"'&amp;\u202e"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("address", ["#/", "#/deployment/default/images", "#/gpus"])
async def test_text_has_enough_contrast(browser, address, dark):
    scene = usual()
    scene.samples = some_nodes(3)
    scene.failed_nodes = {"gpu-node-9": "the exporter of node gpu-node-9 gave no answer"}
    shot = f"{'dark' if dark else 'light'}-{address.split('/')[1] or 'overview'}"
    async with opened(browser, scene, address, shot=shot, dark=dark) as page:
        if "gpus" in address:
            await page.see("document.querySelectorAll('.gpus li').length === 24")
            await keep(page, shot)
        assert await page.low_contrast() == []
        back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(18, 21, 26)") == dark


@pytest.mark.parametrize("address", ["#/", "#/deployment/default/images", "#/gpus"])
async def test_nothing_is_cut_off_on_a_phone(browser, address):
    scene = usual()
    scene.samples = some_nodes(3)
    shot = f"phone-{address.split('/')[1] or 'overview'}"
    async with opened(
        browser, scene, address, shot=shot, width=PHONE_WIDTH, height=740, phone=True
    ) as page:
        if "gpus" in address:
            await page.see("document.querySelectorAll('.gpus li').length === 24")
            await keep(page, shot)
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH
        # What is laid out as cards is still a table to those who hear it.
        roles = {role for role, _ in await page.accessible()}
        assert {"table", "row", "rowheader", "cell"} <= roles


@pytest.mark.parametrize("width", [390, 768, 900, 1100, 1280, 1920])
async def test_reasons_have_room_on_every_screen(browser, width):
    async with opened(browser, usual(), "#/", shot=f"width-{width}", width=width) as page:
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        widths = await page.evaluate(
            "[...document.querySelectorAll('.why .message')].map((one) => one.offsetWidth)"
        )
        assert min(widths) > 240


async def test_what_others_wrote_is_text_and_nothing_else(browser):
    scene = Scene()
    scaling = policy(query=f'sum(up{{a="{HOSTILE}"}})', target_query="5")
    scene.decide(
        decision("web", message=HOSTILE, left_out={"web-1": HOSTILE}),
        decision("other", scaling=scaling),
        refused("vision", HOSTILE),
    )
    scene.status_store.add_event(recorded_event("web", HOSTILE, time.time(), warning=True))
    async with opened(browser, scene, "#/", shot="hostile") as page:
        assert HOSTILE in await page.texts(".message")
        assert HOSTILE in await page.text(".events")
        await page.evaluate("location.hash = '#/deployment/default/web'")
        await page.see("document.querySelector('.counted') !== null")
        assert f"no: {HOSTILE}" in await page.texts(".counted")
        await page.evaluate(
            f"location.hash = '#/deployment/' + encodeURIComponent({HOSTILE!r}) + '/x'"
        )
        await page.see("document.querySelector('.nothing:not([hidden])') !== null")
        assert HOSTILE.split("\u202e", maxsplit=1)[0] in await page.text("h1")
        assert await page.evaluate("document.querySelectorAll('main img').length") == 0
        assert "owned" not in (await page.evaluate("document.title")).split("·")[1]
        page.complaints = [one for one in page.complaints if "status of 404" not in one]


async def test_the_policy_of_the_page_stops_what_is_foreign(browser):
    async with status_page(usual()) as url, browser.page() as page:
        await page.open(f"{url}/")
        refused_by = await page.evaluate(
            "new Promise((seen) => {"
            " document.addEventListener("
            "'securitypolicyviolation', (event) => seen(event.violatedDirective));"
            " const image = new Image(); image.src = 'https://example.com/x.png'; })"
        )
        assert refused_by == "img-src"
        with pytest.raises(AssertionError, match="TrustedHTML"):
            await page.evaluate("document.body.innerHTML = '<b>x</b>'")


async def test_the_reader_chooses_the_colors(browser):
    light, dark = "rgb(246, 247, 249)", "rgb(18, 21, 26)"

    async def background(page):
        return await page.evaluate("getComputedStyle(document.body).backgroundColor")

    async def choose(page, theme):
        await page.evaluate(f"theme.value = '{theme}'; theme.dispatchEvent(new Event('change'))")

    async with opened(browser, usual(), "#/") as page:
        assert await background(page) == light
        await choose(page, "dark")
        assert await background(page) == dark
        assert await page.low_contrast() == []
        assert await page.evaluate("localStorage.getItem('gpu-scaler-theme')") == "dark"
        await page.reload()
        assert await page.evaluate("theme.value") == "dark"
        assert await background(page) == dark
        await choose(page, "")
        assert await background(page) == light


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("", None),
        (
            "https://grafana.example.com/sub",
            "https://grafana.example.com/sub/d/gpu-scaler"
            "?var-namespace=default&var-deployment=images",
        ),
    ],
)
async def test_a_deployment_links_to_its_dashboard(browser, url, link):
    scene = usual()
    scene.grafana_url = url
    async with opened(browser, scene, "#/deployment/default/images") as page:
        await page.see("document.querySelector('.figures div') !== null")
        found = await page.evaluate(
            "[...document.querySelectorAll('main a')].filter((a) => a.checkVisibility()"
            " && a.textContent.includes('Grafana')).map((a) => a.href)"
        )
        assert found == ([] if link is None else [link])
