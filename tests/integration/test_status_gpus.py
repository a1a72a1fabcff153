# SPDX-License-Identifier: Apache-2.0
"""The status server's map of GPUs: who is read, while who looks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from scaler.web import gpu_reader
from tests.statuspage import Scene, status_page
from tests.waiting import until

if TYPE_CHECKING:
    import aiohttp


async def asked_for_gpus(client: aiohttp.ClientSession, url: str, query: str = ""):
    async with client.get(f"{url}/api/v1/gpus{query}") as answer:
        return json.loads(await answer.read())


async def test_gpus_are_read_only_while_somebody_looks(scene, client, monkeypatch):
    monkeypatch.setattr(gpu_reader, "WATCHED_SECONDS", 3600)
    monkeypatch.setattr(gpu_reader, "KEPT_SECONDS", 0.5)
    monkeypatch.setattr(gpu_reader, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(gpu_reader, "SLICE_SECONDS", 0.05)
    reader = scene.reader()
    task = asyncio.create_task(reader.run())
    try:
        await asyncio.sleep(0)
        assert scene.asked == []
        reader.ask()
        assert reader.nodes == {"node-1": None}
        await until(lambda: reader.nodes.get("node-1") is not None)
        assert [list(wanted) for wanted in scene.asked[:1]] == [["node-1"]]
        # Nobody asks any more: first reading ends, then what was read is forgotten.
        monkeypatch.setattr(gpu_reader, "WATCHED_SECONDS", 0)
        await until(lambda: reader.nodes == {})
        rounds = len(scene.asked)
        reader.ask()
        await until(lambda: len(scene.asked) > rounds)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nodes_that_went_are_gone_and_those_that_fail_say_why(scene, client):
    scene.samples["node-2"] = []
    scene.failed_nodes = {"node-3": "the exporter of node node-3 did not answer within 2 s"}
    async with status_page(scene) as url:

        async def read() -> bool:
            return bool((await asked_for_gpus(client, url))["read"] == 3)

        await until(read)
        rows = {row["node"]: row for row in (await asked_for_gpus(client, url))["rows"]}
        assert len(rows["node-1"]["gpus"]) == 8
        assert rows["node-2"]["problem"] == "the exporter of node node-2 reports no GPU"
        assert rows["node-3"]["problem"] == scene.failed_nodes["node-3"]
        del scene.samples["node-2"]

        async def gone() -> bool:
            return bool((await asked_for_gpus(client, url))["nodes"] == 2)

        await until(gone)


async def test_a_reader_that_fails_says_so_and_goes_on(scene, client, caplog, monkeypatch):
    async def broken(*_: object):
        raise RuntimeError("broken")

    async def problem(url: str) -> object:
        return (await asked_for_gpus(client, url))["problem"]

    with monkeypatch.context() as patched:
        patched.setattr(Scene, "read_gpus", broken)
        async with status_page(scene) as url:

            async def is_reported() -> bool:
                return await problem(url) == "reading failed: RuntimeError: broken"

            await until(is_reported)
            patched.undo()

            async def works() -> bool:
                return await problem(url) is None

            await until(works)
    (logged,) = [one for one in caplog.records if one.exc_info]
    assert "GPU map" in logged.__dict__["party"]
