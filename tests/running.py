# SPDX-License-Identifier: Apache-2.0
"""The scaler as a process against some Kubernetes API, as its users run it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.cluster.processes import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

START_SECONDS = 60.0
END_SECONDS = 60.0
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=30.0)


@dataclass(slots=True)
class ScalerProcess:
    """A running `gpu-scaler run`; `log` grows while it runs."""

    process: asyncio.subprocess.Process
    url: str
    log: list[str] = field(default_factory=list)

    async def decision(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the last decision on a Deployment, empty where there is none."""
        document = await self.document(f"/api/v1/decisions/{namespace}/{name}")
        decision: dict[str, Any] = document.get("decision", {})
        return decision

    async def document(self, path: str) -> dict[str, Any]:
        """Return a JSON answer, empty where the process does not answer."""
        answer = await self.text(path)
        document: dict[str, Any] = json.loads(answer or "{}")
        return document

    async def text(self, path: str) -> str:
        """Return an answer as text, empty where the process does not answer."""
        try:
            async with (
                aiohttp.ClientSession(timeout=ANSWER_TIMEOUT) as session,
                session.get(self.url + path) as response,
            ):
                return await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return ""


@asynccontextmanager
async def running_scaler(
    kubeconfig: Path, *flags: str, program: Sequence[str] = ("-m", "scaler")
) -> AsyncIterator[ScalerProcess]:
    """Run the scaler with `flags` while the context lasts; it must end by itself after SIGTERM.

    `program` is what Python is to run in the place of the scaler.
    """
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [*program, "run", f"--kubeconfig={kubeconfig}", "--interval=200ms"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        f"--web.listen-address={address}",
        *flags,
        stderr=asyncio.subprocess.PIPE,
    )
    scaler = ScalerProcess(process, f"http://{address}")
    reading = asyncio.create_task(_read_log(scaler))
    try:
        await until(
            lambda: _has_started_or_ended(scaler),
            deadline_seconds=START_SECONDS,
            what="the scaler starts",
        )
        assert process.returncode is None, "".join(scaler.log)
        yield scaler
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
        await reading


async def _has_started_or_ended(scaler: ScalerProcess) -> bool:
    return scaler.process.returncode is not None or await scaler.text("/healthz") != ""


async def _read_log(scaler: ScalerProcess) -> None:
    assert scaler.process.stderr is not None
    async for line in scaler.process.stderr:
        scaler.log.append(line.decode())


async def run_program(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Run `gpu-scaler ARGUMENTS` to its end and return exit status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "scaler"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
