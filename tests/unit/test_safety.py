# SPDX-License-Identifier: Apache-2.0
"""The safety rules over a simulated hour of random faults, with the real controller and election.

`Auditor` knows the rules on its own, `Hour` what can go wrong.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.auditor import (
    STEPS,
    WORKLOADS,
)
from tests.unit.faultyhour import Hour
from tests.unit.faultyworkloads import NODES

TestAnHourOfFaults = Hour.TestCase
TestAnHourOfFaults.settings = settings(
    max_examples=10,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _faults(fault: str, *nodes: str) -> list[tuple[str, ...]]:
    return [("an_exporter_fails_or_recovers", node, fault) for node in nodes or NODES]


BUSY: list[tuple[Any, ...]] = [("all_loads_change", 1000), ("nothing_happens", 400.0)]
IDLE: list[tuple[Any, ...]] = [("all_loads_change", 0), ("nothing_happens", 400.0)]
JUMPS = [("our_clock_jumps", seconds, 1.0) for seconds in (4000, -300, 350, 16, -16, 3000)]
WRITES = ["slow", "lost", "answer lost", "conflict", "refused"]


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param([("all_loads_change", 3000), *BUSY, *BUSY, *IDLE], id="overload"),
        *(
            pytest.param([*BUSY, *_faults(fault), *IDLE], id=f"all exporters: {fault}")
            for fault in ("down", "silent", "stale", "garbage", "partial", "nan", "huge", "empty")
        ),
        pytest.param([*BUSY, *_faults("stale", NODES[0]), *IDLE], id="one exporter is stale"),
        pytest.param(
            [*BUSY, *(("the_source_warns", name, True) for name in WORKLOADS), *IDLE], id="warned"
        ),
        pytest.param([*BUSY, ("all_loads_change", 0), *JUMPS], id="our clock jumps"),
        pytest.param(
            [*BUSY, ("the_wall_clock_jumps", 9000), *IDLE, ("the_wall_clock_jumps", -9000), *BUSY],
            id="the wall clock jumps",
        ),
        *(
            pytest.param(
                [*(("writes_fail_or_recover", name, fault) for name in WORKLOADS), *BUSY, *IDLE],
                id=f"writes: {fault}",
            )
            for fault in WRITES
        ),
        *(
            pytest.param(
                [
                    ("a_rival_waits_for_the_lease",),
                    ("the_lease_fails_or_recovers", "slow"),
                    ("all_loads_change", 3000),
                    ("the_process_is_frozen", 400.0, pause),
                    *BUSY,
                ],
                id=f"a rival takes the Lease while we are frozen, after {pause} s",
            )
            for pause in (0.0, 1.0, 2.0, 3.0, 4.0)
        ),
        *(
            pytest.param(
                [
                    ("a_rival_waits_for_the_lease",),
                    *(("writes_fail_or_recover", name, "slow") for name in WORKLOADS),
                    ("all_loads_change", 3000),
                    ("the_process_is_frozen", seconds, 4.9),
                    ("the_lease_fails_or_recovers", "lost"),
                    *BUSY,
                ],
                id=f"a rival takes the Lease while writes are slow, frozen for {seconds} s",
            )
            for seconds in (14.0, 30.0)
        ),
        pytest.param(
            [("all_loads_change", 100), ("somebody_stops_all_scaling", True), *BUSY, *IDLE],
            id="stopped",
        ),
        pytest.param(
            [*(("a_human_scales", name, 0) for name in WORKLOADS), *BUSY], id="a human sets 0"
        ),
        pytest.param(
            [*BUSY, *(("a_human_scales", name, 40) for name in WORKLOADS), *IDLE],
            id="a human goes past the maximum",
        ),
        pytest.param(
            [("gpus_run_out_or_come", False), *BUSY, *IDLE, ("gpus_run_out_or_come", True), *BUSY],
            id="no GPU is free",
        ),
        *(
            pytest.param(
                [
                    *BUSY,
                    *(("pods_are_overloaded_or_recover", name, share) for name in WORKLOADS),
                    *BUSY,
                    *IDLE,
                ],
                id=f"{share:.0%} of the pods are overloaded",
            )
            for share in (0.3, 1.0)
        ),
        pytest.param(
            [*BUSY, *(("a_deployment_is_made_anew", name) for name in WORKLOADS), *IDLE],
            id="made again",
        ),
    ],
)
def test_the_rules_hold_where_one_thing_goes_wrong(happens):
    """What chance may leave out of an hour."""
    random.seed(0)  # of the candidates' jitter
    hour = Hour()
    try:
        for name, *arguments in happens:
            getattr(hour, name)(*arguments)
            hour.no_rule_is_broken()
    finally:
        hour.teardown()
