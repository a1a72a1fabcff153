# SPDX-License-Identifier: Apache-2.0
"""A plain aiohttp client of all exporters of a `benchmarks.bigcluster`: what fetching alone costs.

`python -m benchmarks.bareclient --nodes 5000 --port 1234 --rounds 5` fetches each page once per
round, without reading what is in it, and prints one line of JSON: the rounds' seconds of wall time
and of CPU time. The first round, which opens the connections, is not among them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from typing import Final

import aiohttp

from benchmarks.bigcluster import address

CONNECTIONS: Final = 256
"""As many as the scaler uses at once."""


def main() -> None:
    """Fetch, and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--nodes", "--port", "--rounds"):
        parser.add_argument(flag, type=int, required=True)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    urls = [f"http://{address(node)}:{arguments.port}/metrics" for node in range(arguments.nodes)]
    print(json.dumps(asyncio.run(_rounds(urls, arguments.rounds))))


async def _rounds(urls: list[str], count: int) -> dict[str, list[float]]:
    wall: list[float] = []
    cpu: list[float] = []
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def fetch(url: str) -> None:
            async with session.get(url) as answer:
                await answer.read()

        for _ in range(1 + count):
            begun = time.monotonic(), time.process_time()
            await asyncio.gather(*map(fetch, urls))
            wall.append(time.monotonic() - begun[0])
            cpu.append(time.process_time() - begun[1])
    return {"wall": wall[1:], "cpu": cpu[1:]}


if __name__ == "__main__":
    main()
