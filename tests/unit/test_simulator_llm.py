# SPDX-License-Identifier: Apache-2.0
"""The demo's model servers: where requests go, and what ends each chapter of their story."""

from __future__ import annotations

import pytest

from scaler.model import Metric
from scaler.readings.servers.page import read_server_page
from simulator.demo_script import Sight, row
from simulator.llm_script import CHAPTERS, llm_story
from simulator.llm_servers import ServerLoad, loads


@pytest.mark.parametrize(
    ("requests", "slots", "in_hand"),
    [
        (3, {}, {}),
        (0, {"a": 2}, {"a": (0, 0)}),
        (1, {"a": 2, "b": 2}, {"a": (1, 0), "b": (0, 0)}),
        (7, {"a": 2, "b": 6}, {"a": (2, 2), "b": (3, 0)}),
    ],
)
def test_requests_are_spread_and_wait_for_slots(requests, slots, in_hand):
    found = loads(requests, slots)
    assert {name: (one.running, one.waiting) for name, one in found.items()} == in_hand


def test_a_server_is_read_as_vllm():
    body = ServerLoad(running=4, waiting=3).page().encode()
    read = read_server_page(body, server=None, pod_metric=None, before=None, at_seconds=0)
    assert read.server == "vllm"
    assert read.values[Metric.REQUESTS] == 7
    assert read.values[Metric.REQUESTS_WAITING] == 3
    assert read.values[Metric.KV_CACHE_PERCENT] == pytest.approx(60)


def seen(value: float | None, busy: float, replicas: int, *, ready: int | None = None) -> Sight:
    return Sight(
        at_seconds=1,
        load=1,
        value=value,
        busy_percent=busy,
        ready_replicas=replicas if ready is None else ready,
        wanted_replicas=replicas,
        desired_replicas=replicas,
        reason="DesiredWithinRange",
        message="enough",
    )


@pytest.mark.parametrize(
    ("chapter", "sight", "reached"),
    [
        pytest.param(0, seen(0, 0, 1), True, id="idle"),
        pytest.param(0, seen(None, 0, 1), False, id="no value is not idle"),
        pytest.param(1, seen(1, 100, 1), True, id="one request, a busy GPU and one pod"),
        pytest.param(1, seen(0.5, 100, 2), False, id="scaled on the duty cycle"),
        pytest.param(1, seen(1, 0, 1), False, id="the GPU is not busy"),
        pytest.param(2, seen(3.5, 100, 4), True, id="four pods"),
        pytest.param(2, seen(3.5, 100, 4, ready=3), False, id="one is not ready yet"),
        pytest.param(2, seen(7, 100, 2), False, id="too few"),
        pytest.param(3, seen(3.75, 100, 8), True, id="eight pods"),
        pytest.param(4, seen(0.2, 20, 5), False, id="not yet back"),
        pytest.param(4, seen(1, 100, 1), True, id="back although the GPU is busy"),
    ],
)
def test_what_ends_a_chapter(chapter, sight, reached):
    assert CHAPTERS[chapter].reached(sight) is reached


def test_a_row_shows_the_duty_cycle_beside_the_requests():
    line = row(seen(1, 100, 1), width=None, blocks=False, story=llm_story(8000))
    assert "100%       1.0/4" in line
