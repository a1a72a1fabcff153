# SPDX-License-Identifier: Apache-2.0
"""How long GPUs were held and idle, from series of their duty cycles."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.model import ObjectRef
from scaler.readings.gpus import DutySeries
from scaler.replay.idle import IdleTally
from scaler.replay.idle_documents import idle_csv, idle_json
from scaler.replay.idle_report import ROWS, idle_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.replay.idle_model import IdleReport, IdleRow

BEGUN = 1_000_000.0
HOUR = 3600.0
WEB = ObjectRef("prod", "web")
A, B = ObjectRef("prod", "web-a"), ObjectRef("prod", "web-b")
OTHER = ObjectRef("lab", "notebook-0")
OWNERS = {A: WEB, B: WEB}


def series(
    pod: ObjectRef | None,
    duties: Sequence[float | None],
    uuid: str = "GPU-0",
    *,
    begin: int = 0,
    model: str | None = "H100",
) -> DutySeries:
    points = [
        (BEGUN + (begin + step + 1) * HOUR, duty)
        for step, duty in enumerate(duties)
        if duty is not None
    ]
    return DutySeries("node-1", pod, uuid, model, points)


def report(
    *chunks: Sequence[DutySeries], steps: int = 24, prices: Mapping[str, float] | None = None
) -> IdleReport:
    tally = IdleTally(begun_unix_seconds=BEGUN, step_seconds=HOUR, steps=steps, threshold=5)
    for chunk in chunks:
        tally.add(chunk)
    return tally.report(owner_of=OWNERS.get, price_of=lambda model: (prices or {}).get(model or ""))


def pod_row(found: IdleReport, pod: ObjectRef) -> IdleRow:
    return next(one for one in found.pods if (one.namespace, one.pod) == pod[:2])


@pytest.mark.parametrize(
    ("duties", "held", "idle", "under", "unknown", "longest", "never_used"),
    [
        ([0, 0, 0], 3, 3, 3, 0, 3, True),
        ([50, 0, 0, 3, 0], 5, 3, 4, 0, 2, False),
        ([4.9, 5, 5.1], 3, 0, 1, 0, 0, False),
        # A gap is unknown, and ends the stretch.
        ([0, 0, None, None, 0], 3, 3, 3, 2, 2, True),
        ([None, 7, None], 1, 0, 0, 0, 0, False),
    ],
)
def test_hours_of_a_pod(
    duties: Sequence[float | None],
    held: float,
    idle: float,
    under: float,
    unknown: float,
    longest: float,
    *,
    never_used: bool,
) -> None:
    row = pod_row(report([series(A, duties)]), A)

    hours = (row.held_hours, row.idle_hours, row.under_threshold_hours, row.unknown_hours)
    assert hours == (held, idle, under, unknown)
    assert row.longest_idle_seconds == longest * HOUR
    assert row.never_used is never_used
    assert row.average_gpus == 1


def test_a_stretch_goes_on_from_one_chunk_to_the_next_and_no_step_counts_twice() -> None:
    found = report(
        [series(A, [1, 0, 0])], [series(A, [0, 0, 1], begin=2)], [series(A, [0, 0], begin=1)]
    )

    row = pod_row(found, A)
    assert (row.held_hours, row.idle_hours) == (5, 3)
    assert row.longest_idle_seconds == 3 * HOUR


def test_the_containers_of_a_pod_hold_its_gpu_once() -> None:
    row = pod_row(report([series(A, [0, 0, 9]), series(A, [0, 4, 0])]), A)

    assert (row.average_gpus, row.held_hours, row.idle_hours) == (1, 3, 1)


def test_pods_that_share_a_gpu_have_equal_parts_of_it() -> None:
    # Both hold it for two hours, then B alone.
    found = report([series(A, [0, 0]), series(B, [0, 0, 0, 0])])

    assert pod_row(found, A).idle_hours == 1
    assert pod_row(found, B).idle_hours == 3
    assert found.total is not None
    assert (found.total.average_gpus, found.total.held_hours, found.known_hours) == (1, 4, 4)


def test_a_part_is_idle_only_while_the_whole_gpu_is() -> None:
    found = report([series(A, [0, 0]), series(B, [80, 0])])

    assert pod_row(found, A).idle_hours == 0.5
    assert not pod_row(found, A).never_used


def test_workloads_and_namespaces_add_up_their_pods_and_the_greatest_waste_comes_first() -> None:
    found = report(
        [
            series(A, [9, 0], "GPU-0"),
            series(B, [0, 9], "GPU-1"),
            series(OTHER, [0, 0, 0], "GPU-2"),
        ]
    )

    assert [(one.namespace, one.workload, one.idle_hours) for one in found.workloads] == [
        ("lab", None, 3),
        ("prod", WEB, 2),
    ]
    assert [(one.namespace, one.average_gpus) for one in found.namespaces] == [
        ("lab", 1),
        ("prod", 2),
    ]
    assert [one.pod for one in found.pods if one.never_used] == ["notebook-0"]


def test_the_pods_of_one_namespace_keep_their_parts_of_shared_gpus() -> None:
    tally = IdleTally(begun_unix_seconds=BEGUN, step_seconds=HOUR, steps=24, threshold=5)
    tally.add([series(A, [0, 0]), series(OTHER, [0, 0])])
    found = tally.report(owner_of=OWNERS.get, price_of=lambda _: None, namespace="prod")

    assert [(one.namespace, one.pods, one.idle_hours) for one in found.workloads] == [
        ("prod", 1, 1)
    ]
    assert found.total is not None
    assert found.total.idle_hours == 1


def test_the_cost_decides_the_order_and_is_unknown_without_a_price() -> None:
    chunk = [
        series(A, [0], "GPU-0", model="H100"),
        series(B, [0, 0], "GPU-1", model="T4"),
        series(OTHER, [0, 0, 0], "GPU-2", model="L4"),
    ]

    found = report(chunk, prices={"H100": 2.5, "T4": 0.5})

    assert [(one.pod, one.idle_cost) for one in found.pods] == [
        ("web-a", 2.5),
        ("web-b", 1.0),
        ("notebook-0", None),
    ]
    assert found.total is not None
    assert found.total.idle_cost is None
    assert found.unpriced == ("L4",)


def test_a_gpu_without_any_value_that_counts_is_named() -> None:
    tally = IdleTally(begun_unix_seconds=BEGUN, step_seconds=HOUR, steps=24, threshold=5)
    tally.add([series(A, [0, 0]), series(B, [], "GPU-7"), series(None, [], "GPU-2")])
    assert tally.gpus_without_values() == ["GPU-2", "GPU-7"]
    tally.add([series(B, [0, 0, 0], "GPU-7")])
    assert tally.gpus_without_values() == ["GPU-2"]


def test_gpus_that_nobody_holds() -> None:
    found = report(
        [
            series(None, [0, 0, 0], "GPU-0"),
            # Held for an hour, in which it began to be free.
            series(A, [7], "GPU-1"),
            series(None, [0, 0], "GPU-1"),
            series(None, [0], "GPU-2"),
            series(A, [7, 7], "GPU-2", begin=1),
        ],
        steps=4,
        prices={"H100": 2},
    )

    assert [(one.gpu, one.free_hours, one.free_cost) for one in found.free] == [
        ("GPU-0", 3, 6),
        ("GPU-1", 1, 2),
        ("GPU-2", 1, 2),
    ]
    assert [one.free_since_unix_seconds for one in found.free] == [BEGUN, BEGUN + HOUR, None]
    assert list(found.gpus_free)[:4] == [2, 2, 1, 0]
    assert list(found.held)[:4] == [1, 1, 1, 0]


def test_nothing_read_is_an_empty_report() -> None:
    found = report([])

    assert (found.gpus, found.known_hours, found.total, found.pods) == (0, 0, None, ())


STEPS = 12
PODS = (None, A, B, OTHER)
_duties = st.lists(
    st.none() | st.sampled_from([0.0, 2.0, 50.0]), min_size=STEPS, max_size=STEPS + 4
)
_series = st.builds(
    series, st.sampled_from(PODS), _duties, st.sampled_from(["GPU-0", "GPU-1", "GPU-2"])
)


@settings(max_examples=60)
@given(all_series=st.lists(_series, max_size=8))
def test_idle_hours_are_within_held_hours_and_those_within_the_range(
    all_series: list[DutySeries],
) -> None:
    found = report(all_series, steps=STEPS)

    rows = (*found.pods, *found.workloads, *found.namespaces)
    for row in rows:
        assert 0 <= row.idle_hours <= row.under_threshold_hours <= row.held_hours + 1e-9
        assert row.held_hours <= found.gpus * STEPS + 1e-9
    held = found.total.held_hours if found.total is not None else 0.0
    free = sum(one.free_hours for one in found.free)
    for rows in (found.pods, found.workloads, found.namespaces):
        assert sum(row.held_hours for row in rows) == pytest.approx(held)
    # Each GPU is held, free or unknown, and counted once.
    assert held + free == pytest.approx(found.known_hours)
    assert found.known_hours + found.unknown_hours <= found.gpus * STEPS


@settings(max_examples=40)
@given(all_series=st.lists(_series, max_size=8), hidden=st.integers(0, STEPS - 1))
def test_hiding_a_step_never_adds_idle_or_held_time(
    all_series: list[DutySeries], hidden: int
) -> None:
    time = BEGUN + (hidden + 1) * HOUR
    less = [
        one._replace(points=[point for point in one.points if point[0] != time])
        for one in all_series
    ]

    full, partial = report(all_series, steps=STEPS), report(less, steps=STEPS)

    assert partial.known_hours <= full.known_hours
    for row in partial.pods:
        before = pod_row(full, ObjectRef(row.namespace, row.pod or ""))
        assert row.held_hours <= before.held_hours
        assert row.idle_hours <= before.idle_hours
        assert row.longest_idle_seconds <= before.longest_idle_seconds


@settings(max_examples=40)
@given(all_series=st.lists(_series, max_size=6), cut=st.integers(1, STEPS - 1))
def test_chunks_give_the_same_report_as_one(all_series: list[DutySeries], cut: int) -> None:
    def part(*, late: bool) -> list[DutySeries]:
        at = BEGUN + cut * HOUR
        return [
            one._replace(points=[point for point in one.points if (point[0] > at) is late])
            for one in all_series
        ]

    whole = report(all_series, steps=STEPS)
    chunked = report(part(late=False), part(late=True), steps=STEPS)

    assert chunked == whole


def test_a_gpu_that_is_gone_is_not_free_now() -> None:
    found = report([series(None, [0, 0], "GPU-0"), series(A, [0] * 12, "GPU-1")])

    assert [(one.free_hours, one.free_since_unix_seconds) for one in found.free] == [(2, None)]


def test_the_table_has_the_worst_and_the_total_and_says_what_it_leaves_out() -> None:
    pods = [ObjectRef(f"team-{number}", "pod") for number in range(2 * ROWS)]
    found = report(
        [
            series(pod, [9] * (2 * ROWS - number) + [0] * number, f"GPU-{number}")
            for number, pod in enumerate(pods)
        ],
        steps=2 * ROWS,
    )

    lines = idle_text(found, with_cost=False).splitlines()
    table = [line for line in lines if line.startswith(("team-", "TOTAL"))]
    assert table[0].startswith(f"team-{2 * ROWS - 1} ")
    assert len(table) == ROWS
    assert table[-1].startswith("TOTAL")
    assert any(line.startswith(f"{ROWS + 1} more") for line in lines)
    wide = idle_text(found, with_cost=False, is_wide=True)
    assert all(f"{pod.namespace} " in wide for pod in pods)


@pytest.mark.parametrize(("begin", "expected"), [(0, False), (5, False), (6, True)])
def test_readings_that_begin_late_are_said(begin: int, *, expected: bool) -> None:
    found = report([series(A, [0] * 4, begin=begin)], steps=60)

    assert ("The first reading is of" in idle_text(found, with_cost=False)) is expected
    assert found.first_unix_seconds == BEGUN + begin * HOUR


@pytest.mark.parametrize(("steps", "said"), [(9, False), (10, True)])
def test_readings_that_ended_long_ago_say_nothing_of_now(steps: int, *, said: bool) -> None:
    found = report([series(None, [0] * 4)], steps=steps)

    assert ("The last reading is of" in idle_text(found, with_cost=False)) is said
    assert found.last_unix_seconds == BEGUN + 4 * HOUR
    (free,) = found.free
    assert (free.free_since_unix_seconds is None) is said


def test_labels_from_outside_cannot_write_to_the_terminal() -> None:
    found = report([series(A, [0], model="H\x1b[2J\n100"), series(None, [0], "GPU\r1")])

    assert not {"\x1b", "\r"} & set(idle_text(found, with_cost=False, is_wide=True))


def test_json_and_csv_leave_unknown_values_empty() -> None:
    found = report([series(OTHER, [0]), series(None, [0], "GPU-1")])

    document = json.loads(idle_json(found, ["a note"]))
    assert document["notes"] == ["a note"]
    (pod,) = document["pods"]
    assert (pod["workload"], pod["idle_cost"]) == (None, None)
    held, free = csv.DictReader(io.StringIO(idle_csv(found)))
    assert (held["pod"], held["workload"], held["idle_cost"], held["gpu"]) == (
        OTHER.name,
        "",
        "",
        "",
    )
    assert (free["gpu"], free["pod"], free["free_hours"]) == ("GPU-1", "", "1.0")
