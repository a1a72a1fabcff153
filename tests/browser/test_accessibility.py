# SPDX-License-Identifier: Apache-2.0
"""The pages under axe-core."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.axe import violations
from tests.browser.scenes import opened, some_nodes, usual
from tests.statuspage import Scene, decision

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

SIZES: dict[str, dict[str, Any]] = {
    "desktop": {},
    "tablet": {"width": 900},
    "phone": {"width": 390, "height": 844, "phone": True},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("address", ["#/", "#/deployment/default/images", "#/gpus", "#/idle"])
async def test_axe_finds_nothing(browser, address, dark, size):
    scene = usual()
    scene.samples = some_nodes(3)
    scene.failed_nodes = {"gpu-node-9": "the exporter of node gpu-node-9 gave no answer"}
    scene.holding = "the watches have lost contact with the Kubernetes API"
    async with opened(browser, scene, address, dark=dark, **SIZES[size]) as page:
        if "gpus" in address:
            await page.see("document.querySelectorAll('.gpus li').length === 24")
        if "idle" in address:
            await page.see("document.querySelectorAll('.idle tbody tr').length > 3")
        assert await violations(page) == []


async def test_axe_would_find_something(browser):
    async with opened(browser, usual()) as page:
        await page.evaluate("document.querySelector('label[for=search]').remove()")
        (found,) = await violations(page)
        assert found.startswith("label: Form elements must have labels: <input")


async def test_nothing_moves_for_those_who_want_it_still(browser):
    scene = Scene()
    scene.decide(decision())
    scene.samples = some_nodes(1)
    moves = "getComputedStyle(document.querySelector('.gpus li')).transitionDuration"
    async with opened(browser, scene, "#/gpus") as page:
        await page.see("document.querySelectorAll('.gpus li').length === 8")
        assert await page.evaluate(moves) == "0.4s"
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        await page.call("Emulation.setEmulatedMedia", features=[still])
        assert await page.evaluate(moves) == "0s"
        assert await page.evaluate("document.getAnimations().length") == 0
