# SPDX-License-Identifier: Apache-2.0
"""The real model servers start, and their pages tell the requests that they have in hand."""

from __future__ import annotations

import pytest

from tests.servers import dynamo, llamacpp
from tests.servers.load import requests_in_flight
from tests.waiting import until

REQUESTS = 7


@pytest.mark.needs("linux")
@pytest.mark.needs("dynamo")
@pytest.mark.parametrize(
    ("engine", "running", "waiting"),
    [
        pytest.param("vllm", "vllm:num_requests_running", "vllm:num_requests_waiting", id="vLLM"),
        pytest.param("sglang", "sglang:num_running_reqs", "sglang:num_queue_reqs", id="SGLang"),
    ],
)
async def test_dynamo_counts_what_runs_and_what_waits(tmp_path, engine, running, waiting):
    async with (
        dynamo.running_frontend(tmp_path) as frontend,
        dynamo.running_worker(frontend, engine=engine, address="127.0.3.1", ranks=2) as worker,
    ):

        async def in_hand():
            return await worker.total(
                "dynamo_component_inflight_requests", dynamo_endpoint="generate"
            )

        async def engines():
            return await worker.total(running), await worker.total(waiting)

        assert await in_hand() == 0
        assert await engines() == (None, None)
        body = dynamo.long_request()
        async with requests_in_flight(frontend.completions, body, count=REQUESTS) as failures:
            run_at_once = 2 * dynamo.RUNNING_PER_RANK
            expected = (run_at_once, REQUESTS - run_at_once)
            await until(lambda: _holds(engines, expected), what=f"{expected}; {failures}")
            assert await in_hand() == REQUESTS
        await until(lambda: _holds(in_hand, 0), what="nothing in hand")
        await until(lambda: _holds(engines, (0, 0)), what="the engines are idle")


@pytest.mark.needs("linux")
@pytest.mark.needs("llamacpp")
async def test_llamacpp_counts_what_runs_and_what_waits(tmp_path):
    async with llamacpp.running_llamacpp(tmp_path, address="127.0.3.2") as server:

        async def counts():
            return (
                await server.total("llamacpp:requests_processing"),
                await server.total("llamacpp:requests_deferred"),
            )

        assert await counts() == (0, 0)
        url, body = llamacpp.completions(server), llamacpp.long_request()
        async with requests_in_flight(url, body, count=REQUESTS) as failures:
            expected = (llamacpp.SLOTS, REQUESTS - llamacpp.SLOTS)
            await until(lambda: _holds(counts, expected), what=f"{expected}; {failures}")
        await until(lambda: _holds(counts, (0, 0)), what="nothing in hand")


async def _holds(ask, expected):
    return await ask() == expected
