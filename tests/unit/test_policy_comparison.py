# SPDX-License-Identifier: Apache-2.0
"""In simulation the scaler must lose nowhere against the HPA's arithmetic, and win at saturation.

`make bench-policy` compares over more traces and targets, and draws the curves.
"""

from __future__ import annotations

import pytest

from benchmarks import traces
from benchmarks.policy import compare
from benchmarks.policysimulation import MAX_REPLICAS, MIN_REPLICAS


@pytest.mark.parametrize("target", [40, 60, 80])
@pytest.mark.parametrize("trace", [traces.step(), traces.ramp(), traces.spike(), traces.overload()])
def test_no_more_requests_find_all_pods_saturated(trace, target):
    compared = compare(trace, target)
    assert compared.default.saturated_requests <= compared.hpa.saturated_requests
    for run in compared.runs:
        assert min(run.replicas) >= MIN_REPLICAS
        assert max(run.replicas) <= MAX_REPLICAS
    assert compared.same_period.changes <= compared.hpa.changes


@pytest.mark.parametrize("target", [60, 80])
def test_a_step_into_saturation_is_followed_sooner(target):
    compared = compare(traces.step(), target)
    for run in (compared.same_period, compared.default):
        assert run.saturated_requests < 0.8 * compared.hpa.saturated_requests


@pytest.mark.parametrize("target", [40, 60])
def test_where_nothing_saturates_no_more_gpus_are_used(target):
    compared = compare(traces.ramp(), target)
    assert compared.hpa.saturated_percent < 1
    for run in (compared.same_period, compared.default):
        assert run.gpu_hours <= 1.01 * compared.hpa.gpu_hours


def test_the_traces_are_the_same_each_time():
    assert traces.all_traces() == traces.all_traces()
