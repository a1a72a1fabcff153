# SPDX-License-Identifier: Apache-2.0
"""Crowds at the scaler's status server while it scales: nobody else waits for them."""

from __future__ import annotations

import asyncio
import resource

import aiohttp
import pytest

from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, deployment
from tests.waiting import until

# prlimit, and all of 127.0.0.0/8 on loopback.
pytestmark = pytest.mark.needs("linux")

ASK = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def crowd():
    """Connect again and again from one address; returns how many connections were made."""
    held: list[asyncio.StreamWriter] = []

    async def come(port: int, sent: bytes) -> int:
        for _ in range(150):
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=("127.0.0.2", 0), limit=1024
                )
            except OSError:
                continue
            writer.write(sent)
            held.append(writer)
        return len(held)

    yield come
    for one in held:
        one.transport.abort()


@pytest.mark.parametrize(
    ("files", "sent"),
    [
        pytest.param(64, b"", id="few files, silent connections"),
        pytest.param(1024, ASK * 800, id="requests in one piece, unread"),
    ],
)
async def test_a_crowd_keeps_out_neither_scaling_nor_probes_and_fills_no_log(
    cluster, crowd, files, sent
):
    await cluster.client.post(DEPLOYMENTS, deployment())
    await cluster.ready(1)
    async with running_scaler(cluster.kubeconfig) as scaler:
        resource.prlimit(scaler.process.pid, resource.RLIMIT_NOFILE, (files, files))
        port = int(scaler.url.rpartition(":")[2])
        assert await crowd(port, sent) > files / 8
        before = len(scaler.log)
        cluster.load(80)
        await cluster.ready(2)
        for _ in range(3):
            async with aiohttp.ClientSession() as session:

                async def is_healthy(session=session) -> bool:
                    try:
                        async with session.get(f"{scaler.url}/healthz") as answer:
                            return bool(answer.status == 200)
                    except aiohttp.ClientError:
                        return False

                await until(is_healthy, what="/healthz")
        records = [line for line in scaler.log if "onnections" in line]
        assert len(records) <= 2, records
        assert not any("Traceback" in line for line in scaler.log)
        assert len(scaler.log) - before < 20, scaler.log[before:]
    assert await until(lambda: scaler.process.returncode is not None)


FEW_FILES = """\
import resource, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
from scaler.__main__ import main
sys.exit(main())
"""


async def test_a_low_soft_limit_of_open_files_does_not_limit_the_number_of_exporters(cluster):
    async with running_scaler(cluster.kubeconfig, program=("-c", FEW_FILES)) as scaler:
        soft, hard = resource.prlimit(scaler.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
