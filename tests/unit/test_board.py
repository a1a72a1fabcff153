"""What the scaler remembers for people: events counted, bounded, and forgotten with their owner."""

from __future__ import annotations

from scaler.decision.model import Decision, Outcome, Reason
from scaler.model import ObjectRef
from scaler.reporting.status_store import MAX_TOLD, Board, LoopReport, Told


def ref(name: str = "web") -> ObjectRef:
    return ObjectRef(namespace="default", name=name)


def told(at: float, message: str = "New size: 2", *, name: str = "web") -> Told:
    return Told(
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
    board = Board()
    for at, message in ((1, "New size: 2"), (5, "New size: 2"), (9, "New size: 3")):
        board.tell(told(at, message))
    first, second = board.told[ref()]
    assert (first.count, first.first_unix_seconds, first.last_unix_seconds) == (2, 1, 5)
    assert (second.count, second.message) == (1, "New size: 3")
    assert list(board.latest) == [first, second]


def test_it_keeps_the_newest_of_each_and_of_all():
    board = Board()
    for at in range(3 * MAX_TOLD):
        board.tell(told(at, f"New size: {at}", name="a" if at % 3 else "b"))
    assert [len(board.told[ref(name)]) for name in "ab"] == [MAX_TOLD, MAX_TOLD]
    assert board.told[ref("a")][-1].message == f"New size: {3 * MAX_TOLD - 1}"
    assert [one.last_unix_seconds for one in board.latest] == [*range(2 * MAX_TOLD, 3 * MAX_TOLD)]


def test_what_is_not_decided_for_any_more_is_forgotten():
    board = Board()
    board.record([decision("a"), decision("b")], report(1.0))
    board.tell(told(1, name="a"))
    board.record([decision("b")], report(2.0))
    for by_ref in (board.records, board.episodes, board.replicas):
        assert list(by_ref) == [ref("b")]
    assert board.told == {}
    assert board.replicas[ref("b")].until_unix_seconds == 2.0


def test_another_leader_starts_from_nothing():
    board = Board()
    board.record([decision()], report())
    board.tell(told(1))
    board.forget()
    assert (board.records, board.episodes, board.replicas, board.told) == ({}, {}, {}, {})
    assert (list(board.latest), board.report) == ([], None)
