# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler/window` from the exporters: loading, outages and slow loops, and what is decided."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.model import ExporterEndpoint, Metric, ObjectRef, PodPhase, PodState
from scaler.readings.exporters.reader import ScrapeError
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.source import ReadingRequest
from tests.unit.deployments import WEB, deployment, immediate, policy
from tests.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scaler.decision.model import Decision

START = 10_000.0


class Node:
    """A node's exporter in virtual time, in place of its HTTP, and a slow one on another node."""

    def __init__(self, loop: VirtualLoop, *, interval_seconds: float = 2.0) -> None:
        self.loop = loop
        self.duty: Callable[[float], float | None] = lambda _: 0.0
        self.age_seconds = self.takes_seconds = 0.0
        self.interval_seconds = interval_seconds
        self.measures_every_seconds = 1.0
        self.source = ExporterSource(
            timeout_seconds=20,
            interval_seconds=interval_seconds,
            clock=self.now,
            scraper=self,  # type: ignore[arg-type]
        )

    def now(self) -> float:
        return START + self.loop.time()

    async def text(self, endpoint: ExporterEndpoint, _: object) -> str:
        since_measured = self.loop.time() % self.measures_every_seconds
        value = self.duty(self.loop.time() - since_measured)
        if endpoint.url == "slow":
            await asyncio.sleep(self.takes_seconds)
        lines = [
            f'nvidia_gpu_duty_cycle{{namespace_name="prod",pod_name="web-{n}",uuid="{n}"}} {value}'
            for n in range(20)
        ]
        lines += [
            f"nvidia_gpu_exporter_snapshot_age_seconds {self.age_seconds + since_measured}",
            f"nvidia_gpu_exporter_interval_seconds {self.measures_every_seconds}",
        ]
        if value is None:
            raise ScrapeError("is away")
        return "\n".join(lines)

    def decision(self, *, window: float, count: int, target: int, ready_at: float) -> Decision:
        """What is decided now for pods that were Ready at that second."""
        pods = tuple(
            PodState(
                ref=ObjectRef(namespace="prod", name=f"web-{n}"),
                uid=f"{n}",
                phase=PodPhase.RUNNING,
                deleting=False,
                ready_since_seconds=START + ready_at if self.loop.time() >= ready_at else None,
                node_name="node-1",
            )
            for n in range(count)
        )
        asked = ReadingRequest(
            deployment=WEB, metrics=(Metric.DUTY_CYCLE,), pods=pods, window_seconds=window
        )
        slow = ReadingRequest(
            deployment=ObjectRef(namespace="prod", name="slow"),
            metrics=asked.metrics,
            pods=(replace(pods[0], node_name="slow"),),
            window_seconds=0,
        )
        endpoints = {
            name: ExporterEndpoint(url=name, pod=WEB, ready=True) for name in ("node-1", "slow")
        }
        answer = self.loop.run_until_complete(self.source.read([asked, slow], endpoints))
        rules = policy({Metric.DUTY_CYCLE: target}, behavior=immediate())
        rules = replace(rules, window_seconds=window)
        return decide(deployment(pods), rules, answer.readings[WEB], None, self.now())

    def decisions(
        self, until: float, *, window: float, count: int, target: int, ready_at: float = -1e4
    ) -> Iterator[tuple[float, Decision]]:
        """Each loop's decision with its second."""
        while self.loop.time() <= until:
            yield (
                self.loop.time(),
                self.decision(window=window, count=count, target=target, ready_at=ready_at),
            )
            self.loop.pass_time(self.interval_seconds)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.mark.parametrize("window", [20, 1200])
@pytest.mark.parametrize("loads", [10, 600])
def test_loading_is_not_in_the_window(loop, window, loads):
    node = Node(loop)
    node.duty = lambda at: 80.0 if at >= loads else 0.0
    needed = max(30, window / 2)
    for at, decision in node.decisions(
        loads + needed + 20, window=window, count=8, target=60, ready_at=loads
    ):
        if at >= loads + needed:
            assert decision.desired_replicas == 11, decision.message
        else:
            assert decision.outcome is Outcome.HELD, at
            assert decision.desired_replicas == 8
    if needed > 30:
        assert "half of it is required" in decision.message or decision.proposed == 11


@pytest.mark.parametrize(
    ("window", "away", "is_enough"),
    [
        (600, 520, False),
        (600, 310, False),
        (600, 280, True),
        (60, 40, False),
        (60, 20, True),
        (20, 12, False),
        (1200, 700, False),
        (1200, 500, True),
    ],
)
def test_an_outage_is_no_part_of_the_window(loop, window, away, is_enough):
    """Samples on both sides of an outage are not half of a window."""
    node = Node(loop)
    back = window - 2.0
    node.duty = lambda at: None if back - away <= at < back else 90.0 if at >= back else 0.0
    *_, (at, decision) = node.decisions(window, window=window, count=4, target=60)
    assert at == window
    assert (decision.proposed is not None) is is_enough, decision.message
    if not is_enough:
        assert decision.desired_replicas == 4
        assert f"s of the {window} s window since the pod became Ready" in decision.message


@pytest.mark.parametrize("interval", [1.0, 2.0, 30.0, 120.0])
@pytest.mark.parametrize("takes", [0.0, 0.5, 20.0])
def test_slow_loops_fill_a_window_too(loop, interval, takes):
    node = Node(loop, interval_seconds=interval)
    node.takes_seconds, node.duty = takes, lambda _: 90.0
    decisions = node.decisions(1200, window=600, count=4, target=60)
    *_, (_, decision) = decisions
    assert decision.desired_replicas == 6


@pytest.mark.parametrize("measures_every", [0.1, 16.0, 20.0, 60.0])
@pytest.mark.parametrize("window", [120, 600])
def test_exporters_that_measure_seldom_fill_a_window_too(loop, measures_every, window):
    """As many do as `--nvml.interval` allows; the same snapshot is then read many times."""
    node = Node(loop)
    node.measures_every_seconds, node.duty = measures_every, lambda _: 90.0
    *_, (_, decision) = node.decisions(2 * window, window=window, count=4, target=60)
    assert decision.desired_replicas == 6, decision.message


def test_an_exporter_that_measures_seldom_and_is_away_fills_no_window(loop):
    node = Node(loop)
    node.measures_every_seconds = 60.0
    node.duty = lambda at: None if 120 <= at < 540 else 90.0
    *_, (_, decision) = node.decisions(600, window=600, count=4, target=60)
    assert decision.proposed is None


def test_a_process_that_was_stopped_saw_nothing(loop):
    node = Node(loop)
    *_, (_, decision) = node.decisions(250, window=600, count=4, target=60)
    assert decision.proposed is None
    loop.freeze(340)
    decision = node.decision(window=600, count=4, target=60, ready_at=-1e4)
    assert "only 250 s of the 600 s window" in decision.message
