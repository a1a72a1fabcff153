# SPDX-License-Identifier: Apache-2.0
"""A model server as a process whose page can be read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.processes import GRACE_SECONDS, Processes
from tests.waiting import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A running model server. `url` is what its page and its API, if it has one, are under."""

    process: subprocess.Popen[bytes]
    url: str

    async def page(self, path: str = "/metrics") -> str | None:
        """Return a page, None where the server does not answer 200."""
        try:
            async with (
                aiohttp.ClientSession(timeout=_ANSWER_TIMEOUT) as session,
                session.get(self.url + path) as response,
            ):
                return await response.text() if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def total(self, metric: str, **labels: str) -> float | None:
        """Return the sum over the series with these labels; None where the page has none."""
        families = text_string_to_metric_families(await self.page() or "")
        values = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None


@asynccontextmanager
async def running_server(
    name: str,
    command: Sequence[str | Path],
    *,
    logs: Path,
    url: str,
    ready: str = "/metrics",
    environment: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> AsyncIterator[ServerProcess]:
    """Run a server in a process group of its own while the context lasts.

    It gets SIGTERM then, and SIGKILL after `grace_seconds`.
    It is there when `ready`, a path under `url`, answers 200. Raises AssertionError if it ends
    before that, with the end of its log, or takes too long.
    """
    with Processes(logs) as processes:
        server = ServerProcess(
            process=processes.start(name, command, environment=environment), url=url
        )
        try:
            await until(lambda: _has_ended_or_answers(server, ready), what=f"{url}{ready} answers")
            assert server.process.poll() is None, _end_of(processes.log_file(name))
            yield server
        finally:
            await asyncio.to_thread(processes.stop, name, grace_seconds=grace_seconds)


async def _has_ended_or_answers(server: ServerProcess, path: str) -> bool:
    return server.process.poll() is not None or await server.page(path) is not None


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
