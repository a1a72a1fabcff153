# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a full vLLM, `full_program.py ADDRESS PORT`: it rejects what it has no place for.

The page is a recorded one of vLLM, with this server's numbers. Requests end with their clients.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Final

from aiohttp import web

RUNNING: Final = 2
WAITING: Final = 1
"""As with vLLM's `--max-num-queued-reqs 1`."""
PAGE: Final = Path(__file__).parents[1] / "fixtures" / "servers" / "vllm-loaded.txt"
_VALUE: Final = re.compile(
    r"^(vllm:(num_requests_running|num_requests_waiting|admission_rejections_total)"
    r"\{(?!.*queued_tokens).*\}) .*$",
    re.MULTILINE,
)


class Full:
    """Counts the requests in hand and those that it rejected."""

    def __init__(self) -> None:
        self.in_hand = 0
        self.rejected = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Keep a request until its client hangs up, or reject it."""
        if self.in_hand == RUNNING + WAITING:
            self.rejected += 1
            raise web.HTTPServiceUnavailable(text="the queue is full")
        self.in_hand += 1
        try:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.Event().wait()
        finally:
            self.in_hand -= 1
        return response

    async def page(self, _: web.Request) -> web.Response:
        """Return the metrics."""
        values = {
            "num_requests_running": min(self.in_hand, RUNNING),
            "num_requests_waiting": max(0, self.in_hand - RUNNING),
            "admission_rejections_total": self.rejected,
        }
        text = _VALUE.sub(lambda line: f"{line[1]} {values[line[2]]}", PAGE.read_text())
        return web.Response(text=text)


def main(address: str, port: str) -> None:
    """Serve until SIGTERM."""
    full = Full()
    app = web.Application()
    app.router.add_get("/metrics", full.page)
    app.router.add_post("/v1/completions", full.complete)
    web.run_app(
        app,
        host=address,
        port=int(port),
        print=None,
        handler_cancellation=True,
        shutdown_timeout=0.2,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
