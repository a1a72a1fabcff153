# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler idle` over the past of a real Prometheus."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.pages.reading import read_through, run
from tests.recorded_prometheus import recorded_prometheus, scraped
from tests.running import run_program
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.cluster.chain.prometheus import Prometheus

pytestmark = [
    pytest.mark.needs("prometheus"),
    pytest.mark.needs("promtool"),
    pytest.mark.asyncio(loop_scope="module"),
]
SCRAPE = 15
HOURS = 4
WEB, OTHER = "web-7d9f8c6b5-x2x4z", "notebook-0"


def ours(gpu: int, pod: str = "", namespace: str = "") -> str:
    return (
        f'uuid="GPU-{gpu}",name="NVIDIA H100 80GB HBM3",node_name="node-1",minor_number="{gpu}",'
        f'namespace_name="{namespace}",pod_name="{pod}",container_name="{"c" if pod else ""}"'
    )


points = partial(scraped, hours=HOURS, scrape_seconds=SCRAPE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Four hours: an idle GPU, one with an hour without readings, a shared and a free one."""
    now = time.time() // 60 * 60
    busy = [*points(now, 80, 0, 1), *points(now, 0, 2, 4)]
    past: dict[str, dict[str, Iterable[tuple[float, float]]]] = {
        "nvidia_gpu_duty_cycle": {
            ours(0, WEB, "prod"): points(now, 0),
            ours(1, WEB, "prod"): busy,
            ours(2, WEB, "prod"): points(now, 3),
            ours(2, OTHER, "lab"): points(now, 3),
            ours(3): points(now, 0),
            ours(4): points(now, 300),
        },
        "DCGM_FI_DEV_GPU_UTIL": {
            'Hostname="n",UUID="GPU-9",pod="exporter-1",namespace="monitoring",'
            'exported_namespace="prod",exported_pod="web-1"': points(now, 50)
        },
        "other": {'pod="x"': points(now, 1)},
    }
    async with recorded_prometheus(tmp_path_factory.mktemp("past"), past) as running:
        yield running


async def idle(prometheus: Prometheus, *flags: str) -> tuple[int, str, str]:
    status, out, err = await run_program(
        *("idle", f"--prometheus.url={prometheus.url}", f"--since={HOURS}h"),
        *("--kubeconfig=/nowhere", *flags),
    )
    return status, out, err


async def test_hours_by_pod_as_json(prometheus: Prometheus) -> None:
    status, out, _ = await idle(prometheus, "-o", "json", "--price", "H100=2")
    assert status == 0
    document: dict[str, Any] = json.loads(out)
    (web, notebook) = document["pods"]
    assert (web["workload"], web["kind"]) == ("web", "deployments.apps")
    assert web["held_hours"] == pytest.approx(4 + 3 + 2, abs=0.1)
    assert web["idle_hours"] == pytest.approx(4 + 2, abs=0.1)
    assert web["under_threshold_hours"] == pytest.approx(4 + 2 + 2, abs=0.1)
    assert web["unknown_hours"] == pytest.approx(1, abs=0.1)
    assert web["longest_idle_seconds"] == pytest.approx(4 * 3600, abs=120)
    assert web["idle_cost"] == pytest.approx(2 * web["idle_hours"])
    assert not web["never_used"]
    assert (notebook["workload"], notebook["idle_hours"]) == (None, 0)
    (free,) = document["free_gpus"]
    assert (free["gpu"], free["node"]) == ("GPU-3", "node-1")
    assert free["free_hours"] == pytest.approx(4, abs=0.1)
    # Its duty cycles are impossible.
    assert [note for note in document["notes"] if "GPU-4" in note]


async def test_tables_and_csv_name_the_same_pods(prometheus: Prometheus) -> None:
    _, table, _ = await idle(prometheus, "-n", "prod")
    assert "web" in table
    assert "GPU-3" in table
    assert "notebook" not in table
    _, wide, _ = await idle(prometheus, "-o", "wide")
    assert WEB in wide
    _, text, _ = await idle(prometheus, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["pod"] or row["gpu"] for row in rows] == [WEB, OTHER, "GPU-3"]


async def test_pictures_load_nothing(prometheus: Prometheus, tmp_path: Path) -> None:
    for name, begin in (("idle.svg", "<svg"), ("idle.html", "<!DOCTYPE html>")):
        file = tmp_path / name
        status, out, _ = await idle(prometheus, f"--plot={file}")
        text = file.read_text()
        assert (status, text.startswith(begin), "web" in out) == (0, True, True)
        assert "held and idle" in text
        assert not re.search(r'(?:src|href)="', text)
    status, out, err = await idle(prometheus, f"--plot={tmp_path}/none/idle.svg")
    assert (status, out) == (1, "")
    assert "--plot" in err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--prometheus.metrics=dcgm"], "--prometheus.metrics dcgm-exported"),
        (['--prometheus.matcher=job="elsewhere"'], "--prometheus.matcher"),
        (["--prometheus.device-labels=gpu_id"], "uuid"),
    ],
)
async def test_without_series_it_says_what_is_there(
    prometheus: Prometheus, flags: list[str], expected: str
) -> None:
    status, out, err = await idle(prometheus, *flags)
    assert (status, out) == (1, "")
    assert expected in err


async def test_what_the_page_says(prometheus: Prometheus, tmp_path: Path) -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "KUBECONFIG": "/nowhere"}
    with read_through("docs/idle.md") as reading:
        for block in reading.take():
            here = block.text.replace("http://localhost:9090", prometheus.url)
            out = await asyncio.to_thread(run, replace(block, text=here), tmp_path, environment)
            assert WEB in out


async def test_without_pods_it_says_which_labels_there_are(prometheus: Prometheus) -> None:
    status, out, _ = await idle(prometheus, "--prometheus.pod-label=pod")
    assert status == 0
    assert "pod_name" in out


async def test_without_permission_it_names_the_flags_of_credentials() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, text="denied")

    async with serving(refuse) as url:
        status, _, err = await run_program("idle", f"--prometheus.url={url}".rstrip("/"))
    assert status == 1
    assert "403" in err
    assert "--prometheus.bearer-token-file" in err


async def test_a_server_that_does_not_answer_is_named() -> None:
    status, _, err = await run_program("idle", "--prometheus.url=http://127.0.0.1:1")
    assert status == 1
    assert "127.0.0.1:1" in err
