# SPDX-License-Identifier: Apache-2.0
"""Reads the GPUs, here or over HTTP, and prints them once or until Ctrl-C."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.top.page import TopError, read_page
from exporter.top.rows import node_gpus
from exporter.top.text import gpu_table, notes
from toolkit.http_credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType

    from exporter.cli.config import TopConfig
    from exporter.top.rows import NodeGpus

_CLEAR: Final = "\x1b[H\x1b[2J"


async def show(config: TopConfig, binding: ModuleType | None) -> bool:
    """Print the table; return whether there were readings.

    With `watch`, print it again every `--nvml.interval`, until cancelled. `binding` is None only
    with a URL.
    """
    async with _reader(config, binding) as read:
        while True:
            answered = await _print(read, clears=config.watch and sys.stdout.isatty())
            if not config.watch:
                return answered
            await asyncio.sleep(config.exporter.nvml_interval_seconds)


@asynccontextmanager
async def _reader(
    config: TopConfig, binding: ModuleType | None
) -> AsyncIterator[Callable[[], Awaitable[NodeGpus]]]:
    if config.url:
        yield partial(read_page, config.url, Credentials(config.access))
    else:
        assert binding is not None
        async with _node(config, binding) as read:
            yield read


@asynccontextmanager
async def _node(
    config: TopConfig, binding: ModuleType
) -> AsyncIterator[Callable[[], Awaitable[NodeGpus]]]:
    # Whoever reads another node does not pay for its imports.
    from exporter.app import ONCE_INTERVAL_SECONDS, node_metrics  # noqa: PLC0415

    exporter = config.exporter
    if not config.watch:
        # A duty cycle may need a second cycle, which somebody waits for.
        exporter = replace(exporter, nvml_interval_seconds=ONCE_INTERVAL_SECONDS)
    async with node_metrics(exporter, binding) as reading:

        async def read() -> NodeGpus:
            found = await reading()
            if found.problem is not None:
                msg = f"NVML did not answer: {found.problem}"
                raise TopError(msg)
            return node_gpus(found.metrics)

        yield read


async def _print(read: Callable[[], Awaitable[NodeGpus]], *, clears: bool) -> bool:
    problems: list[str]
    table = ""
    try:
        node = await read()
    except TopError as error:
        problems, answered = [str(error)], False
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        table = gpu_table(node, width=width)
        problems, answered = list(notes(node)), True
    # Cleared only now: the last table stays while the next one is read.
    sys.stdout.write(f"{_CLEAR if clears else ''}{table}")
    sys.stdout.flush()
    for one in problems:
        sys.stderr.write(f"gpu-exporter: {one}\n")
    return answered
