"""The replica counts of an hour: what is kept, what is unknown, and how much it can become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.model import Decision, Outcome, Reason
from scaler.model import ObjectRef
from scaler.reporting.replica_history import (
    GAP_SECONDS,
    KEPT_SECONDS,
    MAX_CHANGES,
    ReplicaHistory,
    add_count,
)


def decision(current: int, desired: int | None = None, outcome: Outcome = Outcome.UNCHANGED):
    return Decision(
        ref=ObjectRef(namespace="default", name="web"),
        current_replicas=current,
        desired_replicas=current if desired is None else desired,
        outcome=outcome,
        reason=Reason.DESIRED_WITHIN_RANGE,
        message="",
        at_seconds=0.0,
    )


def kept(*decided: tuple[float, Decision]) -> ReplicaHistory:
    history: ReplicaHistory | None = None
    for at, one in decided:
        history = add_count(history, one, at)
    assert history is not None
    return history


@pytest.mark.parametrize(
    ("decided", "changes"),
    [
        pytest.param([(0, decision(1))], [(0, 1)], id="one"),
        pytest.param([(0, decision(1)), (2, decision(1))], [(0, 1)], id="the same"),
        pytest.param(
            [(0, decision(1, 2, Outcome.SCALED)), (2, decision(2))], [(0, 2)], id="scaled"
        ),
        pytest.param(
            [(0, decision(1, 2, Outcome.DRY_RUN)), (2, decision(1))], [(0, 1)], id="dry run"
        ),
        pytest.param([(0, decision(1)), (2, decision(5))], [(0, 1), (2, 5)], id="by a human"),
        pytest.param(
            [(0, decision(1)), (2 * GAP_SECONDS, decision(1))],
            [(0, 1), (0, None), (2 * GAP_SECONDS, 1)],
            id="a gap is unknown",
        ),
        pytest.param(
            [(at, decision(at // 20)) for at in range(0, int(KEPT_SECONDS) + 100, 20)][-182:],
            [(at, at // 20) for at in range(80, int(KEPT_SECONDS) + 100, 20)],
            id="an hour and what there was at its beginning",
        ),
    ],
)
def test_changes(decided, changes):
    history = kept(*decided)
    assert [tuple(one) for one in history.changes] == changes
    assert history.until_unix_seconds == decided[-1][0]


@given(st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 3)), min_size=1, max_size=400))
def test_it_is_bounded_ordered_and_ends_with_what_there_is(steps):
    now, decided = 0.0, []
    for pause, replicas in steps:
        now += pause
        decided.append((now, decision(replicas)))
    history = kept(*decided)
    times = [change.unix_seconds for change in history.changes]
    assert times == sorted(times)
    assert len(times) <= MAX_CHANGES
    assert history.changes[-1].replicas == decided[-1][1].current_replicas
    assert all(at > now - KEPT_SECONDS for at in times[1:])
