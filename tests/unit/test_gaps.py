# SPDX-License-Identifier: Apache-2.0
"""Time that counts: waits of our own do, time in which nobody looked does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.controller.loop import Controller
from scaler.controller.loop_clock import suspended_seconds
from scaler.kube.errors import Unreachable, from_status
from tests.unit.controllerworld import NOW, ZEROS, World, deployment
from tests.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaler.model import MetricReading
    from scaler.readings.source import SourceAnswer

INTERVAL_SECONDS = 2.0
WINDOW_SECONDS = 60.0
WINDOW = '{"scaleDown": {"stabilizationWindowSeconds": 60}}'


class Life(World):
    """The world in virtual time, where what is waited for takes as long as `waits` says.

    `web` has 6 replicas of which it needs 1 once the load is gone, and may go down after 60 s.
    `busy` wants more in each loop, which the API server refuses.
    """

    def __init__(self, loop: VirtualLoop, *, behavior: str = WINDOW) -> None:
        needs_zeros = {"min_replicas": "0", "query": "q", "target_query": "1"}
        super().__init__(
            deployment(replicas=6, behavior=behavior),
            deployment("busy", replicas=1, behavior=behavior, **needs_zeros),
            duty_percent=40,
        )
        self.loop = loop
        self.answers_queries, self.query_total = True, 5
        self.zeros_failure = Unreachable(request="-", status=None, reason="-", message="away")
        self.waits: dict[str, float] = {}
        self.jumped_seconds = self.suspended_seconds = 0.0
        self.known = True
        self.controller = Controller(
            client=self,  # type: ignore[arg-type]
            state=self,  # type: ignore[arg-type]
            source=self,
            events=self,  # type: ignore[arg-type]
            leadership=self,
            metrics=self.metrics,
            scale_to_zero=ScaleToZeroStore(self, namespace="gpu-scaler", name="zeros"),  # type: ignore[arg-type]
            clock=self.clock,
            suspended=lambda: self.suspended_seconds,
        )

    def clock(self) -> float:
        return 9 * NOW + self.loop.time() + self.jumped_seconds

    def start(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.loop.create_task(
            self.controller.run(interval_seconds=interval_seconds, stop=asyncio.Event())
        )
        self.loop.pass_time(100)
        assert self.replicas["web"] == 6

    def is_leader(self, now_seconds: float) -> bool:
        return self.leads

    async def confirm(self) -> str | None:
        await asyncio.sleep(self.waits.get("look", 0))
        return await super().confirm()

    async def read(self, requests: Any, endpoints: object) -> SourceAnswer:
        await asyncio.sleep(self.waits.get("read", 0))
        answer = await super().read(requests, endpoints)
        return replace(
            answer,
            readings={
                name: {metric: self._now_read(one) for metric, one in by_metric.items()}
                if isinstance(by_metric, dict)
                else by_metric
                for name, by_metric in answer.readings.items()
            },
        )

    def _now_read(self, reading: MetricReading) -> MetricReading:
        values = {
            pod: replace(value, sampled_seconds=self.clock())
            for pod, value in reading.values.items()
        }
        return replace(reading, values=values, problem=None if self.known else "away")

    async def get(self, path: str, **more: object) -> dict[str, Any]:
        await asyncio.sleep(self.waits.get("zeros" if path == ZEROS else "act", 0))
        return await super().get(path, **more)

    async def patch(self, path: str, body: dict[str, Any], **more: object) -> dict[str, Any]:
        if "/busy/" in path:
            raise from_status(request="PATCH", status=403, body={"reason": "Forbidden"})
        answer = await super().patch(path, body, **more)
        self.states = (deployment(replicas=self.replicas["web"], behavior=WINDOW), self.states[1])
        return answer

    def seconds_until_down(self, within: float = 600.0) -> float:
        """Return how long low values last from now on until the count goes down."""
        self.duty_percent, self.known, self.fresh = 0, True, True
        begun = self.loop.time()
        while self.replicas["web"] == 6 and self.loop.time() < begun + within:
            self.loop.pass_time(0.5)
        assert self.replicas["web"] == 1
        return self.loop.time() - begun


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.end()


@pytest.mark.parametrize("stage", ["read", "zeros", "look", "act"])
@pytest.mark.parametrize("seconds", [1.0, 20.0, 90.0])
def test_time_that_we_wait_ourselves_counts(loop, stage, seconds):
    life = Life(loop)
    life.waits[stage] = seconds
    life.start()
    assert life.seconds_until_down() <= WINDOW_SECONDS + 3 * (seconds + INTERVAL_SECONDS) + 1


def test_a_lone_loop_that_waits_sees_no_gap():
    class Slow(World):
        async def read(self, requests: Any, endpoints: object) -> SourceAnswer:
            self.now += 20
            return await super().read(requests, endpoints)

    world = Slow(deployment(replicas=6, behavior=WINDOW), duty_percent=0)
    for _ in range(4):
        assert world.patched == []
        asyncio.run(world.controller.cycle())
        world.now += INTERVAL_SECONDS
    assert world.patched == [("web", 1)]


@pytest.mark.parametrize("interval_seconds", [2.0, 30.0, 300.0])
@pytest.mark.parametrize("window", [1, 60])
def test_a_loop_slower_than_the_window_comes_down(loop, interval_seconds, window):
    life = Life(loop, behavior=f'{{"scaleDown": {{"stabilizationWindowSeconds": {window}}}}}')
    life.start(interval_seconds)
    most = window + 3 * interval_seconds + 1
    assert life.seconds_until_down(within=most) <= most


@pytest.mark.parametrize("stage", ["read", "pause"])
@pytest.mark.parametrize("seconds", [16.0, 58.0, 400.0])
@pytest.mark.parametrize("low_seconds", [0.0, 57.0])
@pytest.mark.parametrize(
    "kind", ["stopped", "jump", "back", "suspended", "no contact", "no values"]
)
def test_after_time_in_which_nobody_looked_the_whole_window_passes(
    loop, stage, seconds, low_seconds, kind
):
    """A stopped process, a clock that jumps, a suspended machine; a hold is none the better."""
    life = Life(loop)
    life.waits["read"] = 1.5 if stage == "read" else 0.01
    life.start()
    life.duty_percent = 0
    loop.pass_time(low_seconds)
    match kind:
        case "stopped":
            loop.freeze(seconds)
        case "jump":
            life.jumped_seconds += seconds
        case "back":
            life.jumped_seconds -= seconds
        case "suspended":
            life.suspended_seconds += seconds
        case "no contact":
            life.fresh = False
            loop.pass_time(seconds)
        case "no values":
            life.known = False
            loop.pass_time(seconds)
    assert life.replicas["web"] == 6
    took = life.seconds_until_down()
    assert WINDOW_SECONDS - 2 * INTERVAL_SECONDS <= took <= WINDOW_SECONDS + 4 * INTERVAL_SECONDS


@pytest.mark.parametrize("kind", ["paused", "wrong annotation", "another autoscaler", "failure"])
@pytest.mark.parametrize("seconds", [3.0, 58.0, 400.0])
def test_a_deployment_that_was_left_alone_keeps_its_count_for_the_whole_window(loop, kind, seconds):
    life = Life(loop)
    life.start()
    life.duty_percent = 0
    web, busy = life.states
    changed = {
        "paused": deployment(replicas=6, behavior=WINDOW, paused="true"),
        "wrong annotation": deployment(replicas=6, behavior="{"),
        "another autoscaler": replace(web, owned_by="ScaledObject a/b"),
    }
    life.states = (changed.get(kind, web), busy)
    life.broken_reading = "web" if kind == "failure" else None
    loop.pass_time(seconds)
    life.states, life.broken_reading = (web, busy), None
    took = life.seconds_until_down()
    assert WINDOW_SECONDS - 2 * INTERVAL_SECONDS <= took <= WINDOW_SECONDS + 2 * INTERVAL_SECONDS


def test_a_suspension_is_what_only_one_of_the_clocks_counts(monkeypatch):
    monkeypatch.setattr("time.CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr("time.clock_gettime", {7: 130.0}.__getitem__)
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    assert suspended_seconds() == 30.0


def test_without_that_clock_nothing_counts_as_a_suspension(monkeypatch):
    monkeypatch.delattr("time.CLOCK_BOOTTIME", raising=False)
    assert suspended_seconds() == 0
