# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's HTTP server on a random model of half a megabyte, made when it starts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.cluster import tools
from tests.cluster.processes import GRACE_SECONDS, free_ports
from tests.servers.process import ServerProcess, running_server
from tests.waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SLOTS: Final = 2
"""How many requests it runs at once; more wait."""
_PROGRAM: Final = Path(__file__).with_name("llamacpp_program.py")


def long_request() -> dict[str, Any]:
    """Return a request that stays in hand for some seconds once it runs."""
    return {"prompt": "hello", "max_tokens": 4000, "ignore_eos": True, "stream": True}


def completions(server: ServerProcess) -> str:
    """Return the URL that takes requests."""
    return f"{server.url}/v1/completions"


@asynccontextmanager
async def running_llamacpp(
    folder: Path,
    *,
    address: str = "127.0.0.1",
    port: int | None = None,
    metrics: bool = True,
    drains: bool = False,
) -> AsyncIterator[ServerProcess]:
    """Run it at `address`, with its model and log in `folder`; `metrics` is its `--metrics`.

    With `drains` it finishes its requests when the context ends.
    """
    port = free_ports(1)[0] if port is None else port
    options = [address, str(port), str(SLOTS), *(["--metrics"] if metrics else [])]
    options += ["--drain"] if drains else []
    async with running_server(
        f"llamacpp-{address}-{port}",
        [tools.path_of("llamacpp"), _PROGRAM, *options],
        logs=folder,
        url=f"http://{address}:{port}",
        ready="/health",
        grace_seconds=DEADLINE_SECONDS if drains else GRACE_SECONDS,
    ) as server:
        yield server
