# SPDX-License-Identifier: Apache-2.0
"""The nodes of the map, from what a source answers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.gpus import GpuAnswer, GpuSample
from scaler.web import gpu_map, gpu_reader
from scaler.web.gpu_reader import LONG_SAMPLES, GpuReader
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Source:
    """Has one GPU on each of so many nodes."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes

    def need(self, _: Mapping[str, Collection[str]]) -> None:
        """Take the demand."""

    async def read_gpus(self, _: Mapping[str, Collection[str]]) -> GpuAnswer:
        found = [
            GpuSample(f"node-{number}", None, f"GPU-{number}", 0.0, 0.0, 1e9)
            for number in range(self.nodes)
        ]
        return GpuAnswer(samples={DUTY_CYCLE: found})

    async def read_past(self, *_: object, **__: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("nodes", "is_beside"), [(10, False), (LONG_SAMPLES + 1, True)])
async def test_a_long_answer_is_read_beside_the_event_loop(
    nodes: int, is_beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    read = gpu_map.read_nodes

    def noted(*arguments: Any, **named: Any) -> Any:
        threads.append(threading.get_ident())
        return read(*arguments, **named)

    monkeypatch.setattr(gpu_reader, "read_nodes", noted)
    reader = GpuReader(Source(nodes), dict, by_node=False)
    reader.ask()
    running = asyncio.create_task(reader.run())
    await until(lambda: len(reader.nodes) == nodes)
    running.cancel()
    assert (threads[0] != threading.get_ident()) is is_beside
