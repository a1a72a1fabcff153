# SPDX-License-Identifier: Apache-2.0
"""Whether a leader's loops end: what /readyz goes by."""

from __future__ import annotations

import pytest

from scaler.controller import policies
from scaler.controller.loop_health import no_loop_begun_because, no_loop_ended_because
from scaler.decision.model import Outcome
from scaler.policy.parse import parse_policy
from tests.unit.controllerworld import NOW, World, deployment


@pytest.mark.parametrize(
    ("now", "leading", "ended", "interval", "read", "silent"),
    [
        pytest.param(100.0, None, 0.0, 2, 2, None, id="another replica leads"),
        pytest.param(130.0, 100.0, None, 2, 2, None, id="its first loop may take its time"),
        pytest.param(131.0, 100.0, None, 2, 2, 31, id="none has ended since it leads"),
        pytest.param(150.0, 100.0, 125.0, 2, 2, None, id="loops end"),
        pytest.param(156.0, 100.0, 125.0, 2, 2, 31, id="they end no more"),
        pytest.param(120.0, 100.0, 20.0, 2, 2, None, id="the last one was in an earlier lead"),
        pytest.param(131.0, 100.0, 20.0, 2, 2, 31, id="and none has ended in this one"),
        pytest.param(160.0, 100.0, None, 20, 2, None, id="rare loops"),
        pytest.param(161.0, 100.0, None, 20, 2, 61, id="rare loops that do not end"),
        pytest.param(190.0, 100.0, None, 2, 30, None, id="a source that may take 30 s"),
    ],
)
def test_when_no_loop_has_ended(now, leading, ended, interval, read, silent):
    reason = no_loop_ended_because(
        now,
        leading_since_seconds=leading,
        last_loop_seconds=ended,
        interval_seconds=interval,
        read_seconds=read,
    )
    expected = None if silent is None else f"no loop has finished for {silent} s; see the log"
    assert reason == expected


async def test_a_loop_that_fails_does_not_count_as_ended():
    world = World(deployment())
    ours = world.controller

    async def broken(*_: object) -> None:
        raise OverflowError("not foreseen")

    world.read = broken  # type: ignore[assignment]
    with pytest.raises(OverflowError):
        await ours.cycle()
    assert (ours.leading_since_seconds, ours.last_loop_seconds) == (NOW, None)

    world.leads = False
    await ours.cycle()
    assert ours.leading_since_seconds is None


async def test_what_cannot_be_told_of_one_deployment_costs_no_other(monkeypatch):
    world = World(deployment(), deployment("llm"))
    reason = world.controller._notifier.notify

    def notify(about, decision):
        if about.ref.name == "llm":
            raise ZeroDivisionError("not foreseen")
        reason(about, decision)

    monkeypatch.setattr(world.controller._notifier, "notify", notify)
    await world.controller.cycle()
    assert ("web", 2) in world.patched
    assert world.controller.last_loop_seconds == NOW
    assert world.outcome("llm")[1] == "InternalError"


async def test_annotations_that_break_the_parser_cost_no_other(monkeypatch):
    world = World(deployment(), deployment("llm"))

    def parse(annotations, *, namespace, **rest):
        if annotations.get("gpu-scaler/ready-age") == "7s":
            raise ZeroDivisionError("not foreseen")
        return parse_policy(annotations, namespace=namespace, **rest)

    world.states[1].annotations["gpu-scaler/ready-age"] = "7s"  # type: ignore[index]
    monkeypatch.setattr(policies, "parse_policy", parse)
    await world.controller.cycle()
    assert ("web", 2) in world.patched
    assert world.outcome("llm") == (Outcome.REFUSED, "InvalidAnnotation")


@pytest.mark.parametrize(
    ("last", "interval", "read", "is_stuck"),
    [
        pytest.param(None, 2, 2, False, id="not begun yet"),
        pytest.param(59, 2, 2, False, id="a slow loop"),
        pytest.param(61, 2, 2, True, id="stuck"),
        pytest.param(130, 120, 2, False, id="not due yet"),
        pytest.param(361, 120, 2, True, id="overdue"),
        pytest.param(90, 2, 45, False, id="an exporter hangs"),
        pytest.param(136, 2, 45, True, id="for longer than it may"),
    ],
)
def test_a_loop_that_waits_is_not_stuck(last, interval, read, is_stuck):
    reason = no_loop_begun_because(
        1000,
        last_tick_seconds=None if last is None else 1000 - last,
        interval_seconds=interval,
        read_seconds=read,
    )
    assert (reason is not None) is is_stuck
    if is_stuck:
        assert reason == f"no loop has started for {last} s"
