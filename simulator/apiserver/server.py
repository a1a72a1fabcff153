# SPDX-License-Identifier: Apache-2.0
"""The embedded API as a running server: store, controllers and HTTP under one context manager."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from aiohttp import web

from simulator.apiserver.controllers import Controllers
from simulator.apiserver.faults import Faults, middleware
from simulator.apiserver.routes import Routes
from simulator.apiserver.store import HISTORY_LIMIT, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from simulator.apiserver.resources import Resource

MAX_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running embedded API."""

    store: Store
    faults: Faults
    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def write_kubeconfig(self, path: str | Path) -> Path:
        """Write the kubeconfig to `path` and return it."""
        path = Path(path)
        path.write_text(kubeconfig_text(self.url), encoding="utf-8")
        return path

    def compact(self) -> None:
        """Forget the history: old resourceVersions are answered with 410 from now on."""
        self.store.compact()


def kubeconfig_text(url: str) -> str:
    """Return a kubeconfig whose current context is the embedded API at `url`."""
    name = "gpu-demo"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": url}}],
            "contexts": [
                {
                    "name": name,
                    "context": {"cluster": name, "user": name, "namespace": "default"},
                }
            ],
            "users": [{"name": name, "user": {}}],
        },
        sort_keys=False,
    )


@asynccontextmanager
async def running_apiserver(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    extra_resources: Sequence[Resource] = (),
    history_limit: int = HISTORY_LIMIT,
    bookmark_interval_seconds: float = 10.0,
    controls: bool = True,
) -> AsyncIterator[ApiServer]:
    """Run the embedded API on `host`; port 0 takes any free one.

    Without `controls` objects stay as they are written: no controller follows them.
    """
    store = Store(extra_resources=extra_resources, history_limit=history_limit)
    faults = Faults()
    routes = Routes(store, faults, bookmark_interval_seconds=bookmark_interval_seconds)
    app = web.Application(middlewares=[middleware(faults)], client_max_size=MAX_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", routes.handle)
    # Watches of clients that went away are cancelled rather than kept until their next write.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=512)
    try:
        await web.SockSite(runner, listener).start()
        controllers = [asyncio.create_task(Controllers(store).run())] if controls else []
        try:
            yield ApiServer(store, faults, host, listener.getsockname()[1])
        finally:
            for task in controllers:
                task.cancel()
            await asyncio.gather(*controllers, return_exceptions=True)
    finally:
        faults.clear()
        faults.drop_watches()
        await runner.cleanup()
        listener.close()
