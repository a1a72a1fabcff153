# SPDX-License-Identifier: Apache-2.0
"""HTTP: metrics, /healthz, /readyz and a landing page; nothing here waits for NVML."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from exporter import __version__
from exporter.exposition.negotiation import accepts_gzip
from toolkit.listening.limits import Limits
from toolkit.web.server import probe_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.exposition.pages import Exposition
    from exporter.health import Health

LIMITS: Final = Limits(
    # Far more than scrapers have, and far fewer than fit the memory that the DaemonSet is given.
    connections=128,
    # Longer than Prometheus' default interval of a minute, so that no scrape meets the end of its
    # connection.
    idle_seconds=90.0,
    request_bytes=64 * 1024,
    # 20 times what 16 GPUs in 112 MIG instances take, with all collectors.
    unsent_bytes=16 * 1024 * 1024,
)
_LANDING_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>GPU exporter</title></head>
<body>
<h1>GPU exporter</h1>
<p>Version {version}, node {node}: {state}</p>
<ul>
<li><a href="{path}">Metrics</a></li>
<li><a href="/healthz">Health</a></li>
<li><a href="/readyz">Readiness</a></li>
</ul>
</body>
</html>
"""


def application(
    *,
    exposition: Exposition,
    health: Health,
    on_scrape: Callable[[], None],
    telemetry_path: str,
    node_name: str,
) -> web.Application:
    """Return the web application; `on_scrape` is called at each request for metrics."""

    async def metrics(request: web.Request) -> web.Response:
        on_scrape()
        gzip = accepts_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))
        rendered = exposition.render(
            health.fresh_snapshot(),
            accept=",".join(request.headers.getall(hdrs.ACCEPT, [])),
            names=request.query.getall("name[]", []),
            gzip=gzip,
        )
        headers = {hdrs.CONTENT_TYPE: rendered.content_type, hdrs.VARY: "Accept, Accept-Encoding"}
        if gzip:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=rendered.body, headers=headers)

    async def healthz(request: web.Request) -> web.Response:
        return probe_answer(health.dead_reason())

    async def readyz(request: web.Request) -> web.Response:
        return probe_answer(health.unready_reason())

    async def landing_page(request: web.Request) -> web.Response:
        reason = health.unready_reason()
        page = _LANDING_PAGE.format(
            version=html.escape(__version__),
            node=html.escape(node_name),
            state=html.escape(f"not ready: {reason}" if reason else "ready"),
            path=html.escape(telemetry_path),
        )
        return web.Response(text=page, content_type="text/html")

    app = web.Application()
    app.router.add_get(telemetry_path, metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    if telemetry_path != "/":
        app.router.add_get("/", landing_page)
    return app
