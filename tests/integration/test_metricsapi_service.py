# SPDX-License-Identifier: Apache-2.0
"""The whole metrics API while it starts: what its log says, and when."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from scaler.kube.client import KubeClient
from scaler.metricsapi import service
from scaler.metricsapi.certificates import renewed
from scaler.metricsapi.service import MetricsApi
from scaler.metricsapi.settings import MetricsApiSettings
from tests.cluster.certificates import Authority
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class SlowApiServer:
    """Lists no pod, no node and the front proxy, but only once it `may_list`; its watches idle."""

    def __init__(self, front_proxy: str) -> None:
        self.may_list = asyncio.Event()
        self._published = {
            "metadata": {"uid": "1", "name": "extension-apiserver-authentication"},
            "data": {"requestheader-client-ca-file": front_proxy},
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            idle = web.StreamResponse()
            await idle.prepare(request)
            await asyncio.Event().wait()
        await self.may_list.wait()
        items = [self._published] if request.path.endswith("/configmaps") else []
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})


@asynccontextmanager
async def starting(folder: Path, server: SlowApiServer) -> AsyncIterator[MetricsApi]:
    material = renewed(None, hosts=("api.ns.svc",), now=datetime.now(UTC))
    for name, content in material.to_secret().items():
        (folder / name).write_bytes(content)
    settings = MetricsApiSettings(
        listen_host="127.0.0.1",
        listen_port=0,
        cert_file=str(folder / "tls.crt"),
        key_file=str(folder / "tls.key"),
        register=False,
    )
    async with serving(server.handle) as url, KubeClient(url) as client:
        api = MetricsApi(
            client,
            None,  # type: ignore[arg-type]
            settings,
            registry=CollectorRegistry(),
        )
        async with api.serving():
            running = asyncio.create_task(api.run())
            try:
                yield api
            finally:
                running.cancel()


@pytest.fixture
def log(caplog):
    caplog.set_level("INFO")
    return lambda message: [one for one in caplog.records if one.message == message]


@pytest.fixture
async def server(tmp_path):
    return SlowApiServer(Authority(tmp_path, "front-proxy").file.read_text())


async def test_a_start_that_takes_its_time_is_no_trouble(tmp_path, log, server):
    async with starting(tmp_path, server) as api:
        await until(lambda: log("Serving certificate in use"))
        assert api.not_ready_because() is not None
        server.may_list.set()
        await until(lambda: api.not_ready_because() is None)
    assert log("Metrics API is not ready") == []


async def test_a_start_that_does_not_end_is_said(tmp_path, log, server, monkeypatch):
    monkeypatch.setattr(service, "FIRST_LISTS_SECONDS", 0.05)
    monkeypatch.setattr(service, "RETRY_SECONDS", 0.05)
    async with starting(tmp_path, server):
        (record,) = await until(lambda: log("Metrics API is not ready"))
        assert "does not know the API server's CAs" in record.error
        server.may_list.set()
        await until(lambda: log("Metrics API is ready"))
    assert len(log("Metrics API is not ready")) == 1
