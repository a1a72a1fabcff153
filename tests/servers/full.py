# SPDX-License-Identifier: Apache-2.0
"""Runs the stand-in for a full model server as a process."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers.process import ServerProcess, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PROGRAM: Final = Path(__file__).with_name("full_program.py")


@asynccontextmanager
async def running_full_server(
    folder: Path, *, address: str, port: int
) -> AsyncIterator[ServerProcess]:
    """Run it at `address`, with its log in `folder`."""
    command: list[str | Path] = [sys.executable, _PROGRAM, address, str(port)]
    async with running_server(
        f"full-{address}-{port}", command, logs=folder, url=f"http://{address}:{port}"
    ) as server:
        yield server
