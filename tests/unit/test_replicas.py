# SPDX-License-Identifier: Apache-2.0
"""The HPA's arithmetic: every upstream vector, and its properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.replicas import (
    MAX_INT32,
    MAX_INT64,
    Tolerance,
    average_value_replicas,
    highest_proposal,
    mean_milli,
    pods_metric_replicas,
)

TEN_PERCENT = Tolerance(up=0.1, down=0.1)


def pods(
    values: list[int],
    target: int,
    current: int,
    *,
    ready: int | None = None,
    unready: int = 0,
    missing: int = 0,
    tolerance: Tolerance = TEN_PERCENT,
) -> tuple[int, int]:
    asked = pods_metric_replicas(
        current_replicas=current,
        target_milli=target,
        values_milli=values,
        ready_count=len(values) if ready is None else ready,
        unready_count=unready,
        missing_count=missing,
        tolerance=tolerance,
    )
    return asked.replicas, asked.usage_milli


@pytest.mark.parametrize(
    ("values", "target", "current", "expected"),
    [
        pytest.param([20000, 10000, 30000], 15000, 3, (4, 20000), id="ScaleUpCM"),
        pytest.param(
            [50000, 10000, 30000],
            15000,
            3,
            (6, 30000),
            id="ScaleUpCMUnreadyHotCpuNoLessScale: readiness is not examined upstream",
        ),
        pytest.param(
            [50000, 15000, 30000],
            15000,
            3,
            (7, 31666),
            id="ScaleUpCMUnreadyHotCpuScaleWouldScaleDown: likewise; the mean truncates",
        ),
        pytest.param([12000] * 5, 20000, 5, (3, 12000), id="ScaleDownCM"),
        pytest.param([20000, 21000, 21000], 20000, 3, (3, 20666), id="ToleranceCM"),
    ],
)
def test_pods_metric_vectors(values, target, current, expected):
    assert pods(values, target, current) == expected


# CPU in millicores of a request of 1000, so a target of 30 % is 300; Pending and not-Ready pods are
# the unready ones, Failed and deleting pods are left out, as the CPU path of the HPA treats them.
@pytest.mark.parametrize(
    ("values", "target", "current", "unready", "missing", "expected"),
    [
        pytest.param([300, 500, 700], 300, 3, 0, 0, 5, id="ScaleUp"),
        pytest.param([500, 700], 300, 3, 1, 0, 4, id="ScaleUpUnreadyLessScale"),
        pytest.param([400], 300, 3, 2, 0, 3, id="ScaleUpUnreadyNoScale: padding flips"),
        pytest.param([500, 700], 300, 2, 0, 0, 4, id="ScaleUpIgnoresFailedPods"),
        pytest.param([500, 700], 300, 2, 0, 0, 4, id="ScaleUpIgnoresDeletionPods"),
        pytest.param([100, 300, 500, 250, 250], 500, 5, 0, 0, 3, id="ScaleDown"),
        pytest.param([100, 300, 500], 500, 5, 2, 0, 2, id="ScaleDownExcludeUnreadyPods"),
        pytest.param([100], 500, 5, 4, 0, 1, id="ScaleDown 1 Running 4 Pending"),
        pytest.param([400, 95], 1000, 4, 0, 2, 3, id="MissingMetrics: count as at 100 %"),
        pytest.param([1900], 1000, 2, 0, 1, 2, id="MissingMetricsNoChangeEq: 190 to 95 %"),
        pytest.param([600], 1000, 2, 0, 1, 2, id="MissingMetricsNoChangeLt"),
        pytest.param(
            [4000, 9500, 3000, 7000],
            1000,
            4,
            0,
            0,
            24,
            id="SuperfluousMetrics: 24 needs the 2 foreign samples dropped, as CPU does",
        ),
        pytest.param(
            [150] * 10,
            165,
            10,
            0,
            0,
            10,
            id="ComputedToleranceAlg +.004: 50 % of 300 at 55 %, ratio .909",
        ),
        pytest.param(
            [150] * 10, 168, 10, 0, 0, 9, id="ComputedToleranceAlg +.01: at 56 %, ratio .893"
        ),
    ],
)
def test_cpu_vectors(values, target, current, unready, missing, expected):
    assert pods(values, target, current, unready=unready, missing=missing)[0] == expected


def test_superfluous_samples_of_a_pods_metric_are_in_the_mean_and_not_in_the_count():
    assert pods([4000, 9500, 3000, 7000, 3200, 2000], 1000, 4, ready=4) == (20, 4783)


@pytest.mark.parametrize(
    ("values", "target", "current", "unready", "missing", "expected"),
    [
        pytest.param([100_000], 80_000, 1, 0, 0, 2, id="target 80: 1 to 2"),
        pytest.param([100_000] * 2, 80_000, 2, 0, 0, 3, id="target 80: 2 to 3"),
        pytest.param([100_000] * 3, 80_000, 3, 0, 0, 4, id="target 80: 3 to 4"),
        pytest.param([100_000] * 4, 80_000, 4, 0, 0, 5, id="target 80: 4 to 5"),
        pytest.param([100_000] * 5, 80_000, 5, 0, 0, 7, id="target 80: 5 to 7"),
        pytest.param([100_000] * 7, 80_000, 7, 0, 0, 9, id="target 80: 7 to 9"),
        pytest.param([100_000] * 9, 80_000, 9, 0, 0, 12, id="target 80: 9 to 12"),
        pytest.param([100_000] * 4, 90_000, 4, 0, 0, 5, id="target 90: 4 to 5"),
        pytest.param([100_000] * 4, 91_000, 4, 0, 0, 4, id="target 91 never scales up"),
        pytest.param([100_000, 100_000, 0, 0], 80_000, 4, 0, 0, 3, id="loading pods count as idle"),
        pytest.param([100_000] * 2, 80_000, 4, 2, 0, 4, id="loading pods as unready"),
        pytest.param([95_000], 80_000, 2, 0, 1, 2, id="missing on the way up"),
        pytest.param([20_000, 20_000], 80_000, 4, 0, 2, 3, id="missing on the way down"),
        pytest.param([100_000], 50_000, 3, 2, 0, 3, id="Pending damp the way up"),
        pytest.param([10_000], 50_000, 3, 2, 0, 1, id="Pending do not hold the way down"),
    ],
)
def test_gpu_consequences(values, target, current, unready, missing, expected):
    assert pods(values, target, current, unready=unready, missing=missing)[0] == expected


@pytest.mark.parametrize(
    ("values", "unready", "missing", "expected"),
    [
        pytest.param([110], 0, 0, 2, id="upper bound is within"),
        pytest.param([111], 0, 0, 3, id="above the upper bound"),
        pytest.param([90], 0, 0, 2, id="lower bound is within"),
        pytest.param([89], 0, 0, 2, id="below the lower bound: ceil of 1.78"),
        pytest.param([49], 0, 0, 1, id="far below"),
        pytest.param([100], 0, 1, 2, id="at the target missing pods are left out"),
        pytest.param([100], 1, 0, 2, id="at the target unready pods are left out"),
    ],
)
def test_tolerance_includes_its_bounds(values, unready, missing, expected):
    assert pods(values, 100, 2, ready=2, unready=unready, missing=missing)[0] == expected


def test_tolerances_differ_by_direction():
    lopsided = Tolerance(up=0.5, down=0.0)
    assert pods([150, 150], 100, 2, tolerance=lopsided)[0] == 2
    assert pods([151, 151], 100, 2, tolerance=lopsided)[0] == 4
    assert pods([49, 49], 100, 2, tolerance=lopsided)[0] == 1


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="did not receive metrics for targeted pods"):
        pods([], 100, 3, unready=3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2], 1, id="positive"),
        pytest.param([-1, -2], -1, id="negative truncates towards zero"),
        pytest.param([-1, 0], 0, id="no negative zero"),
    ],
)
def test_means_truncate_as_int64_division(values, expected):
    assert mean_milli(values) == expected


@pytest.mark.parametrize(
    ("current", "usage", "target", "expected"),
    [
        pytest.param(3, 20000, 5000, (4, 6667), id="Object AverageValue"),
        pytest.param(5, 6000, 2000, (3, 1200), id="Object AverageValue down"),
        pytest.param(3, 8600, 2150, (4, 2867), id="External AverageValue"),
        pytest.param(4, 20000, 5000, (4, 5000), id="at the target"),
        pytest.param(0, 0, 5000, (0, 0), id="zero stays zero"),
        pytest.param(0, 1, 5000, (1, 1), id="the first request wakes"),
    ],
)
def test_average_value_vectors(current, usage, target, expected):
    asked = average_value_replicas(
        current_replicas=current, target_milli=target, usage_milli=usage, tolerance=TEN_PERCENT
    )
    assert (asked.replicas, asked.usage_milli) == expected


@pytest.mark.parametrize(
    ("proposals", "current", "expected"),
    [
        pytest.param([2, 5, 3], 3, 5, id="the highest wins"),
        pytest.param([2, None], 3, None, id="one unknown blocks the way down"),
        pytest.param([4, None], 3, 4, id="one unknown does not block the way up"),
        pytest.param([3, None], 3, 3, id="one unknown does not block no change"),
        pytest.param([None, None], 3, None, id="all unknown"),
        pytest.param([1, 2], 3, 2, id="down to the highest"),
    ],
)
def test_several_metrics(proposals, current, expected):
    assert highest_proposal(proposals, current) == expected


@given(
    values=st.lists(st.integers(-MAX_INT64, MAX_INT64), min_size=1, max_size=20),
    target=st.integers(1, MAX_INT64),
    current=st.integers(0, MAX_INT32),
    unready=st.integers(0, 50),
    missing=st.integers(0, 50),
)
def test_any_values_give_an_int32_in_the_direction_of_the_padded_ratio(
    values, target, current, unready, missing
):
    replicas, usage = pods(values, target, current, unready=unready, missing=missing)
    assert -MAX_INT32 <= replicas <= MAX_INT32
    if unready or missing:
        assert usage <= target or replicas >= current


HUGE = st.integers(-(2**70), 2**70) | st.sampled_from(
    [MAX_INT64 - 1, MAX_INT64, MAX_INT64 + 1, -MAX_INT64, -MAX_INT64 - 1]
)


@pytest.mark.parametrize("usage", [MAX_INT64 - 1, MAX_INT64, MAX_INT64 + 1, 10**40])
@pytest.mark.parametrize("current", [0, 1, 2])
def test_a_usage_near_the_end_of_int64_stays_within_it(usage, current):
    """As a float the largest int64 is one more than it is."""
    asked = average_value_replicas(
        current_replicas=current, target_milli=1, usage_milli=usage, tolerance=TEN_PERCENT
    )
    assert asked.replicas == MAX_INT32
    if current == 0:
        assert asked.usage_milli == min(usage, MAX_INT64)
    else:
        assert asked.usage_milli == (MAX_INT64 if current == 1 else 2**62)


@given(values=st.lists(HUGE, min_size=1), current=st.integers(0, MAX_INT32), target=HUGE)
def test_no_arithmetic_leaves_int64(values, current, target):
    target = max(1, target)
    _, mean = pods(values, target, current)
    common = {"current_replicas": current, "target_milli": target, "tolerance": TEN_PERCENT}
    for usage in values:
        of_average = average_value_replicas(usage_milli=usage, **common)
        for found in (mean, of_average.usage_milli):
            assert -MAX_INT64 <= found <= MAX_INT64
        assert -MAX_INT32 <= of_average.replicas <= MAX_INT32
