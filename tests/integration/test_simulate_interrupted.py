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


class SlowServers(SlowPast):
    """Answers all of the duty cycle, and nothing of the pods' model servers but that they exist."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        query = str(form["query"])
        if "vllm:num_requests_running" not in query:
            self.chunks = 0
            return await super().handle(request)
        if "start" in form:
            self.hangs.set()
            await asyncio.Event().wait()
        labels = {"namespace": "prod", "pod": "web-7d9f8c6b5-bcdfg"}
        row = {"metric": {**labels, "__name__": "vllm:num_requests_running"}, "value": [0, "1"]}
        data = {"resultType": "vector", "result": [row]}
        return web.json_response({"status": "success", "data": data})


async def test_ctrl_c_does_not_say_that_a_metric_is_missing_which_was_not_read():
    past = SlowServers()
    async with serving(past.handle) as url, asyncio.timeout(120):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "simulate", "prod/web", f"--prometheus.url={url}"),
            *("--since=1h", "--kubeconfig=/nowhere", "-o", "json"),
            *("--annotation=target-duty-cycle=50", "--annotation=target-requests=8"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await past.hangs.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    (web_,) = json.loads(out)["simulations"]
    (note,) = [one for one in web_["notes"] if one.startswith("requests is not simulated")]
    assert "vllm" not in note


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
