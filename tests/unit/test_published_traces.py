# SPDX-License-Identifier: Apache-2.0
"""The comparison on published load, on tiny traces of its own: what it reads, models and judges."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import publishedtraces, tracecase, traceplans
from benchmarks.modelserver import SLOTS, Pod, Reading, first_pod, servers_of
from benchmarks.tracefiles import PublishedTrace, Request, Window, read_folder, read_trace
from benchmarks.traceparties import (
    Calm,
    ChainParty,
    KnativeParty,
    OurParty,
    target_of,
)
from benchmarks.traceplans import PlanParty, followed, ordered
from benchmarks.tracerun import run
from benchmarks.tracetable import (
    PartyName,
    Row,
    bars,
    calm_bars,
    read_rows,
    within_hours,
    write_rows,
)
from scaler.model import Metric

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.traceparties import Party

REQUESTS_CSV = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:04.5000000,5000,20
2023-11-16 18:17:03.9799600,4808,10
"""
RATES_CSV = "start_seconds,requests_per_second\n600,2.0\n1200,4.5\n"


def _windows(*loads: float) -> PublishedTrace:
    """Windows of 600 s; the highest is 12 busy pods."""
    return PublishedTrace(
        name="windows",
        windows=tuple(Window(600 * n, 600 * (n + 1), load) for n, load in enumerate(loads)),
    )


def _burst(count: int, *, tokens: int = 200, last: float = 60.0) -> PublishedTrace:
    """So many requests of 10 s at once, and a short one at the end."""
    burst = [Request(5.0, 0, tokens)] * count
    return PublishedTrace(name="burst", requests=(*burst, Request(last, 0, 1)))


def test_a_row_a_request_is_read_in_order_of_time(tmp_path):
    path = tmp_path / "code.csv"
    path.write_text(REQUESTS_CSV)
    trace = read_trace(path)
    assert trace.name == "code"
    assert [one[1:] for one in trace.requests] == [(4808, 10), (5000, 20)]
    assert trace.requests[1].at_seconds == pytest.approx(0.52004)


def test_windows_begin_at_zero_and_the_last_is_as_long_as_the_one_before(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text(RATES_CSV)
    assert read_trace(path).windows == (Window(0, 600, 2.0), Window(600, 1200, 4.5))


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "", RATES_CSV[:42], REQUESTS_CSV.splitlines()[0] + "\n"]
)
def test_what_is_no_trace_is_refused_by_its_name(tmp_path: Path, text: str):
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(ValueError, match=r"other\.csv"):
        read_folder(tmp_path)


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_without_traces_it_says_where_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
):
    monkeypatch.setattr(sys, "argv", ["bench-traces", *(f"{tmp_path}/{a}" for a in arguments)])
    with pytest.raises(SystemExit, match="AzurePublicDataset"):
        publishedtraces.main()


@pytest.mark.parametrize(("count", "late_percent"), [(SLOTS, 0), (SLOTS + 2, 100 * 2 / 11)])
def test_what_finds_no_slot_waits_and_is_late(count: int, late_percent: float):
    trace = _burst(count)
    done = run(trace, PlanParty([(0, 1)]), start_seconds=40, first_replicas=1)
    assert done.late_percent == pytest.approx(late_percent)


def test_a_queue_shows_in_the_requests_and_not_in_the_duty_cycle():
    pod, servers = first_pod(0), servers_of(_burst(3 * SLOTS))
    for now in range(15):
        servers.serve(now, [pod])
    reading = servers.reading(15, [pod])
    assert reading.duty_percent == {0: pytest.approx(100)}
    assert reading.in_hand == {0: 2 * SLOTS}


def test_a_removed_pod_ends_what_it_has():
    trace = _burst(2 * SLOTS)
    plan = PlanParty([(0, 2), (8, 1)])
    done = run(trace, plan, start_seconds=0, first_replicas=2)
    assert done.late_percent == 0
    assert done.gpu_hours == pytest.approx((61 + 15) / 3600)


def test_more_than_the_pods_serve_is_late_after_five_seconds():
    # 12 pods of work and 6 pods: half waits for the other half.
    done = run(_windows(1.0), PlanParty([(0, 6)]), start_seconds=0, first_replicas=6)
    # What came in the last 5 s may still be in time.
    assert done.late_percent == pytest.approx(100 * (600 - 2 * 5) / 600, abs=1)


@pytest.mark.parametrize("start_seconds", [40, 120])
@pytest.mark.parametrize("trace", [_burst(40), _windows(1, 9, 0, 3, 10)])
def test_nobody_waits_with_what_the_oracle_orders(trace: PublishedTrace, start_seconds: int):
    needed = servers_of(trace).needed()
    # No time is left to start pods for the first seconds: they are there.
    plan = ordered(needed, start_seconds)
    done = run(trace, PlanParty(plan), start_seconds=start_seconds, first_replicas=plan[0][1])
    assert done.late_percent == 0


@pytest.mark.parametrize(
    ("needed", "plan"),
    [
        ([(0, 100, 1)], [(0, 1)]),
        ([(0, 100, 1), (100, 200, 3), (200, 300, 1)], [(0, 1), (60, 3), (200, 1)]),
        # A pause that is shorter than a start is cheaper to sit out.
        ([(0, 100, 2), (100, 130, 1), (130, 200, 2), (200, 300, 1)], [(0, 2), (200, 1)]),
        ([(0, 100, 2), (100, 150, 1), (150, 200, 2)], [(0, 2), (100, 1), (110, 2), (200, 1)]),
    ],
)
def test_the_oracle_orders_a_start_ahead(
    needed: list[tuple[int, int, int]], plan: list[tuple[int, int]]
):
    assert ordered(needed, 40) == plan


@given(
    counts=st.lists(st.integers(0, 12), min_size=2, max_size=40),
    at=st.integers(1, 39),
    later=st.lists(st.integers(0, 12), max_size=5),
)
@settings(max_examples=30, deadline=None)
def test_one_that_follows_knows_nothing_of_what_comes(counts: list[int], at: int, later: list[int]):
    def plan(load: list[int]) -> list[tuple[int, int]]:
        needed = [(second, second + 1, count) for second, count in enumerate(load)]
        return followed(needed, first=2, share_percent=100, average_seconds=5, hold_seconds=8)

    known = counts[:at]
    of_now = [step for step in plan([*known, *later]) if step[0] < len(known)]
    assert of_now == plan(known)


def test_one_that_follows_holds_the_highest_average():
    needed = [(second, second + 1, 6 if second < 4 else 0) for second in range(20)]
    plan = followed(needed, first=0, share_percent=50, average_seconds=4, hold_seconds=6)
    # Half of 1.5, 3, 4.5 and 6. The mean of second 4 is the last that asks for 3.
    assert plan == [(0, 1), (1, 2), (2, 3), (10, 2), (11, 1)]


def test_an_average_follows_a_burst_more_slowly():
    calm = OurParty(Metric.REQUESTS, 50, Calm(window_seconds=60))
    latest = OurParty(Metric.REQUESTS, 50)
    for now in range(0, 60, 2):
        assert calm.replicas(_reading(now, 4)) == latest.replicas(_reading(now, 4)) == 1
    assert latest.replicas(_reading(60, 12)) == 3
    # (30 * 4 + 12) / 31 is within the tolerance of 4.
    assert calm.replicas(_reading(60, 12)) == 1


def test_a_pod_without_half_a_window_has_no_average():
    calm = OurParty(Metric.REQUESTS, 50, Calm(window_seconds=100))
    young = Pod(number=1, created=-40, ready_from=-40)
    for now in range(0, 20, 2):
        reading = Reading(
            now=now, pods=(first_pod(0), young), duty_percent={}, in_hand={0: 4.0, 1: 400.0}
        )
        # Its 400 requests ask for more only with second 10.
        assert (calm.replicas(reading) > 2) == (now >= 10)
        if now >= 10:
            break


PARTIES: dict[str, Callable[[], Party]] = {
    "ours by duty cycle": lambda: OurParty(Metric.DUTY_CYCLE, 80),
    "ours by requests": lambda: OurParty(Metric.REQUESTS, 80),
    "chain": lambda: ChainParty(Metric.DUTY_CYCLE, 80),
    "Knative": lambda: KnativeParty(80),
}


@pytest.mark.parametrize("name", PARTIES)
@given(loads=st.lists(st.sampled_from([0.5, 1, 3, 8, 9, 12]), min_size=2, max_size=4))
@settings(max_examples=4, deadline=None)
def test_skipping_steady_seconds_changes_nothing(name: str, loads: list[float]):
    trace = _windows(*loads)
    whole, skipped = (
        run(trace, PARTIES[name](), start_seconds=40, first_replicas=2, may_skip=may_skip)
        for may_skip in (False, True)
    )
    assert skipped.steps == whole.steps
    assert skipped.gpu_hours == pytest.approx(whole.gpu_hours)
    assert skipped.late_percent == pytest.approx(whole.late_percent)


def _reading(now: int, *in_hand: float) -> Reading:
    pods = tuple(first_pod(number) for number in range(len(in_hand)))
    shown = dict(enumerate(in_hand))
    duty = {number: min(100.0, 100 * value / SLOTS) for number, value in shown.items()}
    return Reading(now=now, pods=pods, duty_percent=duty, in_hand=shown)


def test_knative_panics_at_twice_its_pods_and_follows_the_stable_window_after_it():
    party = KnativeParty(50)

    def after(seconds: int, in_hand: float, now: int) -> int:
        for _ in range(seconds):
            party.observe(in_hand)
        return party.replicas(_reading(now, in_hand / 2, in_hand / 2))

    assert after(60, 8, 0) == 2
    # The last 6 s ask for 5 pods, twice the two; the minute for 3.
    assert after(6, 20, 6) == 5
    assert after(30, 8, 36) == 5
    assert after(60, 8, 96) == 2


def test_the_chain_counts_a_loading_pod_as_idle_and_one_without_a_sample_as_zero_above():
    loading = Pod(number=1, created=0, ready_from=100)
    pods = (first_pod(0), loading)
    scraped = Reading(now=50, pods=pods, duty_percent={0: 100.0, 1: 0.0}, in_hand={})
    assert ChainParty(Metric.DUTY_CYCLE, 60).replicas(scraped) == 2
    unscraped = Reading(now=50, pods=pods, duty_percent={0: 100.0}, in_hand={})
    assert ChainParty(Metric.DUTY_CYCLE, 60).replicas(unscraped) == 2
    assert ChainParty(Metric.DUTY_CYCLE, 40).replicas(unscraped) == 3


def test_targets_ask_for_the_same_share_of_a_pod():
    assert target_of(Metric.DUTY_CYCLE, 50) == 50_000
    assert target_of(Metric.REQUESTS, 50) == SLOTS * 500


def _row(party: PartyName, gpu_hours: float, late_percent: float, target: int = 70) -> Row:
    return Row(
        trace="t",
        start_seconds=40,
        party=party,
        target_percent=target,
        gpu_hours=gpu_hours,
        late_percent=late_percent,
        changes=1,
        highest=2,
    )


@pytest.mark.parametrize(
    ("duty", "requests", "met"),
    [
        ((102, 1.02), (101, 0.7), (True, True)),
        ((102, 1.03), (101, 0.71), (False, False)),
        ((102.1, 0), (101.1, 0), (False, False)),
    ],
)
def test_late_work_is_compared_at_equal_gpu_hours(
    duty: tuple[float, float], requests: tuple[float, float], met: tuple[bool, bool]
):
    rows = [
        _row(PartyName.CHAIN, 100, 1.0),
        _row(PartyName.DUTY, *duty),
        _row(PartyName.DUTY, 110, 0.0, target=50),
        _row(PartyName.REQUESTS, *requests),
    ]
    assert tuple(bar.is_met for bar in bars(rows)) == met


def test_the_best_in_hindsight_takes_no_more_than_the_chain():
    rows = [
        _row(PartyName.CHAIN, 100, 1.0),
        _row(PartyName.FIXED, 90, 0.4, target=0),
        _row(PartyName.FIXED, 101, 0.3, target=0),
        _row(PartyName.FIXED, 102, 0.0, target=0),
    ]
    assert within_hours(rows, rows[0], PartyName.FIXED) == rows[2]
    assert within_hours(rows, rows[0], PartyName.FOLLOWED) is None


def test_settings_for_bursts_are_judged_where_they_were_run():
    rows = [_row(PartyName.CHAIN, 100, 1.0), _row(PartyName.DUTY, 100, 2.0)]
    assert not calm_bars(rows)
    calm = [_row(PartyName.DUTY_CALM, 102, 1.02), _row(PartyName.REQUESTS_CALM, 101, 0.71)]
    assert [bar.is_met for bar in calm_bars([*rows, *calm])] == [True, False]


def test_between_two_targets_the_one_with_the_chains_gpu_hours_is_found(
    monkeypatch: pytest.MonkeyPatch,
):
    case = tracecase.Case(_burst(3), 40)
    case.rows += [
        _row(PartyName.CHAIN, 100, 1.0),
        _row(PartyName.REQUESTS, 110, 0.0, target=85),
        _row(PartyName.REQUESTS, 95, 0.9, target=90),
    ]

    def add(name: PartyName, target: int) -> None:
        case.rows.append(_row(name, 110 - 3 * (target - 85), 0.5, target=target))

    monkeypatch.setattr(case, "add", add)
    case.narrow(bars)
    # 88 takes 101.
    assert [row.target_percent for row in case.rows[3:]] == [87, 88]
    assert bars(case.rows)[-1].is_met


def test_where_a_bar_is_missed_the_settings_for_bursts_are_tried(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tracecase, "PLACES", 1)
    monkeypatch.setattr(tracecase, "TARGETS", dict.fromkeys(tracecase.TARGETS, (60,)))
    monkeypatch.setattr(traceplans, "FOLLOWED_SHARES_PERCENT", (50,))
    rows, _ = publishedtraces.compare(_burst(200, last=120.0), 120)
    assert not all(bar.is_met for bar in bars(rows))
    assert {row.party for row in rows} == {*PartyName}


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [_row(PartyName.ORACLE, 1.25, 0.125), _row(PartyName.KNATIVE, 2, 0)]
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows


def test_a_trace_of_requests_is_run_from_each_place_on_with_all_of_it():
    trace = _burst(3)
    places = tracecase.from_places(trace)
    assert len(places) == tracecase.PLACES
    assert all(len(place.requests) == len(trace.requests) for place in places)
    assert places[0].requests == trace.requests
    assert places[1].requests != trace.requests
