# SPDX-License-Identifier: Apache-2.0
"""Which decisions of a Deployment are reported."""

from __future__ import annotations

from typing import cast

import pytest

from scaler.decision.model import Decision, Outcome, Reason
from scaler.model import ObjectRef
from scaler.reporting.event_deduplication import HOLD_SECONDS, OngoingOutcome, deduplicate

HELD, UNCHANGED, SCALED = Outcome.HELD, Outcome.UNCHANGED, Outcome.SCALED
PRIORITY, DRAIN = Reason.HIGHER_PRIORITY_WAITS, Reason.WAITING_FOR_IDLE_PODS
REFUSED, FAILED, DRY_RUN = Outcome.REFUSED, Outcome.FAILED, Outcome.DRY_RUN


def decision(at: float, outcome: Outcome, reason: str = "R", message: str = "m", desired: int = 1):
    return Decision(
        ref=ObjectRef(namespace="default", name="web"),
        current_replicas=1,
        desired_replicas=desired,
        outcome=outcome,
        reason=cast("Reason", reason),
        message=message,
        at_seconds=at,
    )


def reported_at(*decisions: Decision) -> list[float]:
    """When a decision was reported."""
    ongoing: OngoingOutcome | None = None
    moments = []
    for one in decisions:
        ongoing, is_new = deduplicate(ongoing, one)
        if is_new:
            moments.append(one.at_seconds)
    return moments


@pytest.mark.parametrize(
    ("decisions", "moments"),
    [
        pytest.param([(0, UNCHANGED), (2, UNCHANGED)], [], id="nothing happens"),
        pytest.param([(0, SCALED), (2, SCALED)], [0, 2], id="every change"),
        pytest.param([(0, HELD), (14, HELD)], [], id="a hold that is not long yet"),
        pytest.param(
            [(0, UNCHANGED, PRIORITY), (15, UNCHANGED, PRIORITY), (17, UNCHANGED, PRIORITY)],
            [15],
            id="a wait for another Deployment's GPUs, once it lasts",
        ),
        pytest.param(
            [(0, UNCHANGED, DRAIN), (15, UNCHANGED, DRAIN), (17, UNCHANGED, DRAIN)],
            [15],
            id="a wait for idle pods, once it lasts",
        ),
        pytest.param([(0, HELD), (15, HELD), (17, HELD), (99, HELD)], [15], id="a hold, once"),
        pytest.param(
            [(0, HELD), (10, UNCHANGED), (12, HELD), (20, HELD)], [], id="a hold that ended between"
        ),
        pytest.param(
            [(0, HELD, "A"), (10, HELD, "B"), (15, HELD, "B"), (17, HELD, "B")],
            [15],
            id="a hold whose reason changes has begun with the first",
        ),
        pytest.param(
            [(0, HELD, "A"), (15, HELD, "A"), (17, HELD, "B"), (19, HELD, "B")],
            [15, 17],
            id="a new reason of a long hold",
        ),
        pytest.param(
            [(0, HELD, "A", "age 1"), (15, HELD, "A", "age 2"), (17, HELD, "A", "age 3")],
            [15],
            id="a hold whose message has ages in it",
        ),
        pytest.param([(0, FAILED), (2, FAILED)], [0], id="a failure at once, and once"),
        pytest.param([(0, FAILED), (2, UNCHANGED), (4, FAILED)], [0, 4], id="a failure again"),
        pytest.param(
            [(0, REFUSED, "R", "one"), (2, REFUSED, "R", "one"), (4, REFUSED, "R", "two")],
            [0, 4],
            id="a wrong annotation once per change",
        ),
        pytest.param(
            [(0, DRY_RUN, "R", "m", 2), (2, DRY_RUN, "R", "n", 2), (4, DRY_RUN, "R", "m", 3)],
            [0, 4],
            id="a dry run when another count is wanted",
        ),
        pytest.param(
            [(0, HELD), (15, REFUSED), (16, HELD)], [15], id="a hold after something else"
        ),
    ],
)
def test_what_is_told(decisions, moments):
    assert reported_at(*(decision(*one) for one in decisions)) == moments


def test_a_hold_is_told_when_it_has_lasted_whatever_the_interval():
    assert reported_at(*(decision(0.2 * n, HELD) for n in range(100))) == [HOLD_SECONDS]
