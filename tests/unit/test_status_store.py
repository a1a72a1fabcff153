# SPDX-License-Identifier: Apache-2.0
"""What the scaler remembers for people: events counted, bounded, and forgotten with their owner."""

from __future__ import annotations

from scaler.decision.model import Decision, Outcome, Reason
from scaler.model import ObjectRef
from scaler.reporting.status_store import MAX_EVENTS, LoopReport, RecordedEvent, StatusStore


def ref(name: str = "web") -> ObjectRef:
    return ObjectRef(namespace="default", name=name)


def recorded_event(at: float, message: str = "New size: 2", *, name: str = "web") -> RecordedEvent:
    return RecordedEvent(
        ref=ref(name),
        warning=False,
        reason="SuccessfulRescale",
        message=message,
        first_unix_seconds=at,
        last_unix_seconds=at,
    )


def report(at: float = 0.0) -> LoopReport:
    return LoopReport(ended_unix_seconds=at, succeeded=1, failed=0, max_age_seconds=0.5)


def decision(name: str = "web") -> Decision:
    return Decision(
        ref=ref(name),
        current_replicas=1,
        desired_replicas=1,
        outcome=Outcome.UNCHANGED,
        reason=Reason.DESIRED_WITHIN_RANGE,
        message="",
        at_seconds=0.0,
    )


def test_the_same_news_is_counted_and_other_news_begins_anew():
    store = StatusStore()
    for at, message in ((1, "New size: 2"), (5, "New size: 2"), (9, "New size: 3")):
        store.add_event(recorded_event(at, message))
    first, second = store.events[ref()]
    assert (first.count, first.first_unix_seconds, first.last_unix_seconds) == (2, 1, 5)
    assert (second.count, second.message) == (1, "New size: 3")
    assert list(store.latest_events) == [first, second]


def test_it_keeps_the_newest_of_each_and_of_all():
    store = StatusStore()
    for at in range(3 * MAX_EVENTS):
        store.add_event(recorded_event(at, f"New size: {at}", name="a" if at % 3 else "b"))
    assert [len(store.events[ref(name)]) for name in "ab"] == [MAX_EVENTS, MAX_EVENTS]
    assert store.events[ref("a")][-1].message == f"New size: {3 * MAX_EVENTS - 1}"
    assert [one.last_unix_seconds for one in store.latest_events] == [
        *range(2 * MAX_EVENTS, 3 * MAX_EVENTS)
    ]


def test_what_is_not_decided_for_any_more_is_forgotten():
    store = StatusStore()
    store.record([decision("a"), decision("b")], report(1.0))
    store.add_event(recorded_event(1, name="a"))
    store.record([decision("b")], report(2.0))
    for by_ref in (store.records, store.decision_runs, store.loads):
        assert list(by_ref) == [ref("b")]
    assert store.events == {}


def test_another_leader_starts_from_nothing():
    store = StatusStore()
    store.record([decision()], report())
    store.add_event(recorded_event(1))
    store.clear()
    assert (store.records, store.decision_runs, store.loads, store.events) == ({}, {}, {}, {})
    assert (list(store.latest_events), store.report) == ([], None)
