# SPDX-License-Identifier: Apache-2.0
"""An aiohttp server of fixed bytes: what latency the machine and the library have without us.

`python -m benchmarks.plainserver FILE [gzip]` prints its URL.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import hdrs, web


def main() -> None:
    """Serve until killed."""
    asyncio.run(_serve(Path(sys.argv[1]).read_bytes(), coding="".join(sys.argv[2:])))


async def _serve(body: bytes, *, coding: str) -> None:
    headers = {hdrs.CONTENT_ENCODING: coding} if coding else {}

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("http://{}:{}".format(*runner.addresses[0]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
