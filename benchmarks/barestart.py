# SPDX-License-Identifier: Apache-2.0
"""The least that an exporter in Python imports before its first answer.

`python -m benchmarks.barestart PORT` answers what prometheus-client says of the process.
"""

from __future__ import annotations

import asyncio
import sys

import pynvml
from aiohttp import web
from prometheus_client import generate_latest

LIBRARIES = (pynvml,)
"""Imported because an exporter has to; nothing is asked of it here."""


def main() -> None:
    """Serve until killed."""
    asyncio.run(_serve(int(sys.argv[1])))


async def _serve(port: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest())

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
