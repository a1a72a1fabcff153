# SPDX-License-Identifier: Apache-2.0
"""Simulated model servers: vLLM's page at each pod's address, and the page of a gateway."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE: Final = Path("tests/fixtures/servers/vllm-loaded.txt")
RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
QUEUED: Final = "gateway_requests_waiting"
MOST_RUNNING: Final = 20
"""Requests that one server works on at a time."""


class ModelServers:
    """All pages, on one port of every address of this machine; who is asked goes by the address.

    `requests` are those that a model's server has in hand, `queued` those that wait at the gateway
    for a model without a server.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: Counter[str] = Counter()
        self.queued: Counter[str] = Counter()
        self._models: dict[str, str] = {}
        self._page = PAGE.read_text()

    def add(self, model: str) -> str:
        """Return the address of a new model's server."""
        number = len(self._models)
        address = f"127.3.{number // 250}.{number % 250 + 1}"
        self._models[address] = model
        self.queued[model] = 0
        return address

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with the page of the address that was asked."""
        assert request.transport is not None
        model = self._models.get(request.transport.get_extra_info("sockname")[0])
        text = self._gateway_page() if model is None else self._server_page(model)
        return web.Response(text=text)

    def _server_page(self, model: str) -> str:
        in_hand = self.requests[model]
        running = min(in_hand, MOST_RUNNING)
        values = {RUNNING: running, WAITING: in_hand - running}
        return re.sub(
            rf"^({RUNNING}|{WAITING})(\{{.*\}}) .*$",
            lambda found: f"{found[1]}{found[2]} {values[found[1]]}",
            self._page,
            flags=re.MULTILINE,
        )

    def _gateway_page(self) -> str:
        lines = [f'{QUEUED}{{model="{model}"}} {count}' for model, count in self.queued.items()]
        return "\n".join([f"# TYPE {QUEUED} gauge", *lines, ""])


@asynccontextmanager
async def running_model_servers() -> AsyncIterator[ModelServers]:
    """Serve the pages while the context lasts."""
    servers = ModelServers()
    app = web.Application()
    app.router.add_get("/metrics", servers.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", 0).start()
        servers.port = runner.addresses[0][1]
        yield servers
    finally:
        await runner.cleanup()
