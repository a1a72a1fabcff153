# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while Prometheus is read: what was read is simulated and printed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from aiohttp import web

from tests.serving import serving

if TYPE_CHECKING:
    from pathlib import Path


class SlowPast:
    """Answers the first chunk of a series, and never the next one."""

    def __init__(self) -> None:
        self.hangs = asyncio.Event()
        self.chunks = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        is_values = "nvidia_gpu_duty_cycle" in str(form["query"]) and "start" in form
        if is_values and self.chunks:
            self.hangs.set()
            await asyncio.Event().wait()
        rows = []
        if is_values:
            self.chunks += 1
            begun, ended = float(str(form["start"])), float(str(form["end"]))
            labels = {"namespace_name": "prod", "pod_name": "web-7d9f8c6b5-bcdfg", "uuid": "GPU-1"}
            times = range(int(begun), int(ended) + 1, int(float(str(form["step"]))))
            rows.append({"metric": labels, "values": [[time, "50"] for time in times]})
        kind = "matrix" if "start" in form else "vector"
        return web.json_response(
            {"status": "success", "data": {"resultType": kind, "result": rows}}
        )


async def test_ctrl_c_prints_what_was_read():
    past = SlowPast()
    async with serving(past.handle) as url, asyncio.timeout(120):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "simulate", "prod/web", f"--prometheus.url={url}"),
            *("--since=1d", "--kubeconfig=/nowhere", "--prometheus.metrics=gpu-exporter"),
            *("--targets=50", "-o", "json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await past.hangs.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    (web_,) = json.loads(out)["simulations"]
    assert web_["recorded_seconds"] == 240 * 15
    assert web_["results"][0]["policy"] == "as-it-was"


async def test_ctrl_c_ends_a_wait_for_a_file(tmp_path: Path):
    pipe = tmp_path / "load.csv"
    os.mkfifo(pipe)
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "simulate", "--csv", str(pipe)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        # It opens as soon as the other end does.
        with await asyncio.to_thread(pipe.open, "w"):
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert out == b""
