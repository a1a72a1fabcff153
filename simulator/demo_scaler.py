# SPDX-License-Identifier: Apache-2.0
"""The real scaler as a process of the demo."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START_DEADLINE_SECONDS: Final = 20
SCALER_END_SECONDS: Final = 6


class DemoError(RuntimeError):
    """The story did not happen; the message says what was awaited and what was seen."""


@asynccontextmanager
async def demo_scaler(kubeconfig: Path, log: Path) -> AsyncIterator[str]:
    """Run the real scaler as a process and yield its URL once it is ready."""
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    command = [
        *(sys.executable, "-m", "scaler", "run"),
        *("--kubeconfig", str(kubeconfig), "--interval", "1s"),
        *("--web.listen-address", url.removeprefix("http://")),
    ]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            await _until_ready(url, process, log)
            yield url
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(SCALER_END_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    end = time.monotonic() + START_DEADLINE_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end and process.returncode is None:
            try:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    text = await asyncio.to_thread(log.read_text)
    msg = f"the scaler was not ready within {START_DEADLINE_SECONDS} s; it said:\n{text[-2000:]}"
    raise DemoError(msg)


def free_port(address: str) -> int:
    """Return a port on which nobody listens at this address."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
