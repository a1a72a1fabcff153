# SPDX-License-Identifier: Apache-2.0
"""How much memory `gpu-scaler simulate` takes for a week of a fleet, and for a day of it.

Prometheus is read in chunks, and only the sum of a Deployment's pods stays: a week must not take
much more than a day.
"""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from scaler.model import Metric
from scaler.readings.devices import FAMILIES
from scaler.readings.prometheus.names import PRESETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEPLOYMENTS: Final = 20
PODS: Final = 5
NAMES: Final = PRESETS["gpu-exporter"]
SERIES: Final = NAMES.families[FAMILIES[Metric.DUTY_CYCLE][0]].series[0]
DAY_SECONDS: Final = 86_400


async def peak_megabytes(since: str) -> float:
    """Return the peak memory of the command over this time, from a Prometheus with 100 pods.

    Raises:
        RuntimeError: the command failed.
    """
    async with _prometheus() as url:
        return await asyncio.to_thread(_peak_megabytes, url, since)


def _peak_megabytes(url: str, since: str) -> float:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "scaler", "simulate", "--all", "-o", "csv"),
            *("--prometheus.url", url, "--since", since, "--targets", "50"),
            *("--kubeconfig", os.devnull),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        rows = len(process.stdout.read().splitlines()) - 1
        # The usage of this child alone, which Popen does not give.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or rows != 3 * DEPLOYMENTS:
        raise RuntimeError(f"gpu-scaler simulate ended with {process.returncode} and {rows} rows")
    return usage.ru_maxrss / 1024


@asynccontextmanager
async def _prometheus() -> AsyncIterator[str]:
    """Answer any range of the duty cycle of all pods; nothing else has series."""
    app = web.Application()
    app.router.add_post("/api/v1/query_range", _range)
    app.router.add_post("/api/v1/query", _now)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def _range(request: web.Request) -> web.Response:
    form = await request.post()
    begun, ended, step = (float(str(form[name])) for name in ("start", "end", "step"))
    rows: list[dict[str, object]] = []
    if f"{SERIES}{{" in str(form["query"]):
        times = [begun + step * number for number in range(round((ended - begun) / step) + 1)]
        values = [[time, f"{_percent(time):.1f}"] for time in times]
        rows = [{"metric": labels, "values": values} for labels in _labels()]
    return _answer("matrix", rows)


async def _now(_: web.Request) -> web.Response:
    return _answer("vector", [])


def _answer(kind: str, rows: list[dict[str, object]]) -> web.Response:
    document = {"status": "success", "data": {"resultType": kind, "result": rows}}
    return web.Response(body=orjson.dumps(document), content_type="application/json")


def _percent(unix_seconds: float) -> float:
    return 45 - 40 * math.cos(2 * math.pi * unix_seconds / DAY_SECONDS)


def _labels() -> list[dict[str, str]]:
    pods = [
        f"model-{one}-7d9f8c6b5-bcdf{'bcdfg'[pod]}"
        for one in range(DEPLOYMENTS)
        for pod in range(PODS)
    ]
    return [
        {
            NAMES.namespace_label: "prod",
            NAMES.pod_label: pod,
            NAMES.device_labels[0]: f"GPU-{number}",
        }
        for number, pod in enumerate(pods)
    ]
