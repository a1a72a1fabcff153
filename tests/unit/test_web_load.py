# SPDX-License-Identifier: Apache-2.0
"""The charts' data of a Deployment: units, targets and steps."""

from __future__ import annotations

import pytest

from scaler.decision.model import MetricProposal
from scaler.model import Metric, PodValue
from scaler.web.load_view import load_document, parse_seconds
from scaler.web.queries import QueryError
from tests.statuspage import Scene, decision, policy, ref

NOW = 1_800_000_000.0
HOUR = 3600


def shown(scene: Scene, seconds: int = 6 * HOUR):
    store = scene.status_store
    return load_document(store.records[ref("web")], store.loads[ref("web")], seconds)


@pytest.mark.parametrize(
    ("metric", "milli", "target_milli", "value", "target", "unit"),
    [
        (Metric.DUTY_CYCLE, 36_020, 40_000, 36.0, 40.0, "%"),
        (Metric.MEMORY_USED_BYTES, 2**30 * 1000, 20 * 2**30 * 1000, 1.0, 20.0, "GiB"),
        (Metric.MEMORY_USED_BYTES, 2**40 * 1000, 2**29 * 1000, 1.0, 0.000488281, "TiB"),
        (Metric.POWER_USAGE_MILLIWATTS, 250_000_000, 300_000_000, 250.0, 300.0, "W"),
        (Metric.POWER_USAGE_MILLIWATTS, 1_250_000_000, 300_000_000, 1.25, 0.3, "kW"),
        (Metric.TEMPERATURE_CELSIUS, 71_000, 80_000, 71.0, 80.0, "°C"),
        (Metric.REQUESTS, 1_234_567, 1_234_000, 1230.0, 1234.0, ""),
    ],
)
def test_values_and_targets_have_one_unit(metric, milli, target_milli, value, target, unit):
    proposal = MetricProposal(
        metric=metric,
        target_milli=target_milli,
        replicas=1,
        mean_milli=milli,
        values={ref("pod"): PodValue(value_milli=milli, sampled_seconds=0.0)},
    )
    scene = Scene()
    scene.decide(decision(proposals=(proposal,)), at=NOW)
    (found,) = shown(scene)["metrics"]
    # The sums are kept with seven digits.
    assert found["values"] == [pytest.approx(value, rel=0.01)]
    assert (found["targets"], found["unit"]) == ([(NOW, target)], unit)


def test_a_target_begins_where_the_range_does_or_it_changed():
    scene = Scene()
    for minute in range(120):
        scaling = policy(target_duty_cycle="40" if minute < 90 else "50")
        scene.decide(decision(scaling=scaling), at=NOW + 60 * minute)
    last = NOW + 60 * 119
    hour, rest = shown(scene, HOUR), shown(scene, 60)
    assert hour["begun"] == last - HOUR + 30
    assert hour["metrics"][0]["targets"] == [(hour["begun"], 40.0), (NOW + 90 * 60 - 30, 50.0)]
    assert rest["metrics"][0]["targets"] == [(rest["begun"], 50.0)]
    assert (hour["until"], hour["step_seconds"], len(hour["replicas"])) == (last, 30, 120)


def test_the_metrics_in_force_come_first_and_one_without_values_not_at_all():
    scene = Scene()
    scene.decide(decision(duty_percent=None), at=NOW)
    assert shown(scene)["metrics"] == []
    scene.decide(decision(duty_percent=99.5), at=NOW + 60)
    (found,) = shown(scene)["metrics"]
    assert (found["label"], found["saturated"]) == ("Duty cycle", [1, 2])


def test_the_last_count_is_the_one_of_now():
    scene = Scene()
    for seconds, replicas in ((0, 2), (30, 3), (32, 5)):
        scene.decide(decision(replicas=replicas), at=NOW + seconds)
    assert shown(scene)["replicas"] == (2, 5)


@pytest.mark.parametrize("text", ["29", "21601", "1h", "-30"])
def test_a_wrong_range_says_what_is_allowed(text):
    with pytest.raises(QueryError, match="is not a whole number from 30 to 21600"):
        parse_seconds({"seconds": text})


def test_a_full_history_is_a_small_document():
    scene = Scene()
    for step in range(800):
        scene.decide(decision(duty_percent=step % 100), at=NOW + 30 * step)
    assert len(str(shown(scene))) < 30_000
