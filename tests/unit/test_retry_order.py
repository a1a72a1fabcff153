# SPDX-License-Identifier: Apache-2.0
"""However many writes hang, the other Deployments go first once those have failed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.controller.leader_election import AlwaysLeader
from scaler.controller.loop import Controller
from scaler.controller.retry_order import ACT_SECONDS, RetryOrder
from scaler.reporting.metrics import ScalerMetrics
from tests.unit.faultysource import WarnedSource
from tests.unit.faultyworld import World
from tests.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.faultyworkloads import Patch

INTERVAL_SECONDS = 2.0
CALL_SECONDS = 4.0
LONGEST_LOOP_SECONDS = 8.0
HANGING = 300
SETTLED_SECONDS = 60.0
ANNOTATIONS = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/max-replicas": "9",
    "gpu-scaler/target-duty-cycle": "40",
}


class Cluster:
    """Many Deployments whose writes hang, and one at the end of the list whose do not."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.patches: list[Patch] = []
        self.began: list[float] = []
        self.world = World(loop, self.patches.append)
        for number in range(HANGING):
            self.world.add(f"hangs-{number:03d}", 1, ANNOTATIONS)
            self.world.workloads[f"hangs-{number:03d}"].patch_fault = "lost"
        self.world.add("well", 1, ANNOTATIONS)
        controller = Controller(
            client=self.world,  # type: ignore[arg-type]
            state=self.world,  # type: ignore[arg-type]
            source=WarnedSource(self.world),
            scale_to_zero=ScaleToZeroStore(self.world, namespace="-", name="-"),  # type: ignore[arg-type]
            events=self,  # type: ignore[arg-type]
            leadership=AlwaysLeader(),
            metrics=ScalerMetrics("test"),
            clock=self.world.monotonic,
        )
        loop.create_task(controller.run(interval_seconds=INTERVAL_SECONDS, stop=asyncio.Event()))
        loop.pass_time(SETTLED_SECONDS)

    def record(self, *_: object, **__: object) -> None:
        """Take no interest in events."""

    def pass_time(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            self.loop.pass_time(0.5)
            if not self.began or self.began[-1] != self.world.loop_began_seconds:
                self.began.append(self.world.loop_began_seconds)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    logging.disable()
    loop = VirtualLoop()
    try:
        yield Cluster(loop)
    finally:
        loop.end()
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("hanging", "loops"),
    [
        pytest.param(1, 1, id="one"),
        pytest.param(90, 1, id="many"),
        pytest.param(HANGING, 4, id="very many, none of which has failed before"),
    ],
)
def test_it_waits_little_when_others_begin_to_hang_with_it(cluster, hanging, loops):
    names = [f"hangs-{number:03d}" for number in range(hanging)]
    for name in (*names, "well"):
        cluster.world.workloads[name].load_percent = 300
    begun = cluster.world.loops
    cluster.pass_time(60)
    first = cluster.patches[0]
    assert first.workload == "well"
    assert first.loop <= begun + 1 + loops


def test_it_goes_first_once_the_others_have_failed(cluster):
    world = cluster.world
    for name, workload in world.workloads.items():
        workload.load_percent = 0 if name == "well" else 300
    cluster.pass_time(60)
    assert cluster.patches == []
    world.workloads["well"].load_percent = 300
    stepped = cluster.loop.time()
    cluster.pass_time(60)
    # Within the loop under way and the first writes of the next.
    assert ACT_SECONDS + CALL_SECONDS <= LONGEST_LOOP_SECONDS
    assert cluster.patches[0].at_seconds <= stepped + LONGEST_LOOP_SECONDS + 1
    gaps = [later - began for began, later in zip(cluster.began, cluster.began[1:], strict=False)]
    assert max(gaps) <= LONGEST_LOOP_SECONDS


def test_every_one_that_hangs_is_tried_again(cluster):
    for workload in cluster.world.workloads.values():
        workload.load_percent = 300
    cluster.pass_time(60)
    for workload in cluster.world.workloads.values():
        workload.patch_fault = "none"
    cluster.pass_time(30)
    assert {patch.workload for patch in cluster.patches} == {*cluster.world.workloads}


def test_what_failed_last_comes_last():
    order = RetryOrder()
    order.note("a", failed=True, now_seconds=2.0)
    order.note("b", failed=True, now_seconds=1.0)
    order.note("d", failed=True, now_seconds=0.0)
    order.note("d", failed=False, now_seconds=3.0)
    assert sorted("abcd", key=order.rank) == ["c", "d", "b", "a"]
    order.keep_only({"c"})
    assert sorted("abcd", key=order.rank) == ["a", "b", "c", "d"]
