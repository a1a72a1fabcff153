# SPDX-License-Identifier: Apache-2.0
"""The page of idle GPUs in a real browser."""

from __future__ import annotations

import time

import pytest

from scaler.model import ObjectRef
from scaler.web.idle_gpus import GpuKnowledge
from tests.browser.scenes import keep, opened, usual
from tests.statuspage import Scene, gpu, ref

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]
LAB = ObjectRef("lab", "notebook-0")


def idle_scene() -> Scene:
    """Two GPUs that a notebook holds, one of a pod that works on its other one, two free ones."""
    scene = usual()
    chat = ref("chat-5d8f6c7b9d-x2x4z")
    scene.samples = {
        "node-1": [
            *(gpu("node-1", number, 0, LAB) for number in range(2)),
            gpu("node-1", 2, 0, chat),
            gpu("node-1", 3, 70, chat),
        ],
        "node-2": [gpu("node-2", number, 0) for number in range(2)],
    }
    begun = time.monotonic()
    scene.seen = GpuKnowledge(
        lambda node, uuid: begun - 7200 if uuid in ("GPU-node-1-0", "GPU-node-2-1") else None,
        {LAB: ObjectRef("lab", "notebook", "statefulsets.apps")}.get,
    )
    return scene


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_pods_with_idle_gpus_and_free_gpus_are_listed(browser, dark):
    async with opened(browser, idle_scene(), "#/idle", dark=dark) as page:
        await page.see("document.querySelectorAll('.idle tbody tr').length === 3")
        await keep(page, "idle-dark" if dark else "idle")
        rows = [" ".join(text.split()) for text in await page.texts(".idle tbody tr")]
        assert rows == [
            "lab/notebook-0 statefulsets.apps:notebook 2 2h ago node-1",
            "default/chat-5d8f6c7b9d-x2x4z unknown 1 of 2 just seen node-1",
            "node-2 2 2h ago",
        ]
        assert await page.text(".lead") == "3 of 4 held GPUs idle, in 2 pods; 2 free GPUs."
        await page.evaluate("location.hash = '#/idle?search=notebook'")
        await page.see("document.querySelectorAll('.idle tbody tr').length === 2")


async def test_on_a_phone(browser):
    scene = idle_scene()
    async with opened(browser, scene, "#/idle", width=390, height=844, phone=True) as page:
        await page.see("document.querySelectorAll('.idle tbody tr').length === 3")
        await keep(page, "idle-phone")
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not await page.evaluate(wide)
