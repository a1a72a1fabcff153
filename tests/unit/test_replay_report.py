# SPDX-License-Identifier: Apache-2.0
"""What `gpu-scaler simulate` prints of given results: text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from scaler.model import Metric, MetricTarget, ObjectRef
from scaler.quantities import format_share
from scaler.replay.documents import Simulation, simulations_csv, simulations_json
from scaler.replay.model import AS_IT_WAS, HPA, OURS, Recording, ReplayResult
from scaler.replay.prices import parse_prices
from scaler.replay.recommendation import RecommendedTarget
from scaler.replay.report import caveats, result_rows, simulations_text
from tests.unit.replay.recordings import recorded_metric, with_first

HOUR = 3600.0
RECORDING = Recording(
    ref=ObjectRef("prod", "chat"),
    metrics=(
        recorded_metric(
            (90_000, None, 200_000, 100_000, 90_000), floor=(False, False, False, True, False)
        ),
    ),
    begun_unix_seconds=1_763_856_000.0,
    step_seconds=3 * HOUR,
    replicas=(2, 2, 2, 1, 2),
    gpu_model="NVIDIA H100 80GB HBM3",
    notes=("Pod chat-7d4b is in two series.",),
)


def result(policy, target_milli, gpu_hours, **changed):
    return replace(
        ReplayResult(
            policy=policy,
            target_milli=target_milli,
            gpu_hours=gpu_hours,
            saturated_share=0.25,
            changes=3,
            highest_replicas=2,
            seconds=12 * HOUR,
            steps=(),
        ),
        **changed,
    )


RECOMMENDATION = RecommendedTarget(
    target_milli=60_000,
    text="Recommended target: 60.",
    doubt="This is uncertain.",
    annotations={"gpu-scaler/target-duty-cycle": "60"},
)
SIMULATION = Simulation(
    recording=RECORDING,
    results=(
        result(AS_IT_WAS, None, 24.0, saturated_share=None),
        result(OURS, 60_000, 18.0),
        result(HPA, 60_000, 26.4, highest_replicas=11),
    ),
    recommendation=RECOMMENDATION,
)


def test_text():
    assert simulations_text([SIMULATION], parse_prices(["H100=2.5"])) == (
        "Deployment prod/chat, duty_cycle from 2025-11-23 00:00 to 2025-11-23 15:00 UTC in steps"
        " of 10800s\n"
        "  25 % of the samples are only a lower bound of the demand, because a pod was saturated.\n"
        "  20 % of the time has no data and is ignored.\n"
        "  Pod chat-7d4b is in two series.\n"
        "\n"
        "POLICY       TARGET   GPU HOURS   SATURATED   CHANGES/DAY   HIGHEST   COST\n"
        "as it was    -        24.0        <unknown>   6.0           2         60.00\n"
        "gpu-scaler   60       18.0        25 %        6.0           2         45.00\n"
        "HPA          60       26.4        25 %        6.0           11        66.00\n"
        "\n"
        "Recommended target: 60.\n"
        "This is uncertain.\n"
        "metadata:\n"
        "  annotations:\n"
        '    gpu-scaler/target-duty-cycle: "60"\n'
    )


def test_the_wide_table_has_more_columns():
    rows = result_rows(SIMULATION, is_wide=True)
    assert rows[0][6:] == ("AVERAGE", "SAVED", "CHANGES", "SIMULATED")
    assert [row[6:] for row in rows[1:]] == [
        ("2.00", "-", "3", "12h"),
        ("1.50", "25 %", "3", "12h"),
        ("2.20", "-10 %", "3", "12h"),
    ]


@pytest.mark.parametrize(
    ("texts", "costs"),
    [([], []), (["2"], ["COST", "48.00"]), (["A100=2"], ["COST", "<unknown>"])],
)
def test_money_needs_a_price(texts, costs):
    prices = parse_prices(texts)
    assert [cell for row in result_rows(SIMULATION, prices)[:2] for cell in row[6:]] == costs
    says = any("--price" in sentence for sentence in caveats(SIMULATION, prices))
    assert says == ("<unknown>" in costs)


@pytest.mark.parametrize(
    ("changed", "first", "others"),
    [
        ({}, "25 % of the samples", 2),
        ({"floor": (False,) * 5}, "No sample is only a lower bound", 2),
        ({"demand_milli": (1,) * 5}, "20 % of the samples", 1),
        ({"demand_milli": (None,) * 5}, "The demand is unknown", 1),
        ({"metric": Metric.REQUESTS}, "25 % of the samples", 3),
    ],
)
def test_what_bounds_the_figures_is_said_first(changed, first, others):
    found = caveats(replace(SIMULATION, recording=with_first(RECORDING, **changed)))
    assert found[0].startswith(first)
    assert len(found) == 1 + others


@pytest.mark.parametrize(("seconds", "says"), [(12 * HOUR, False), (6 * HOUR, True)])
def test_a_shorter_time_of_how_it_was_is_said(seconds, says):
    was = result(AS_IT_WAS, None, 12.0, seconds=seconds)
    simulation = replace(SIMULATION, results=(was, *SIMULATION.results[1:]))
    assert any("6h of 12h" in sentence for sentence in caveats(simulation)) == says


def test_json():
    text = simulations_json([SIMULATION], parse_prices(["H100=2.5"]))
    [document] = json.loads(text)["simulations"]
    results = document.pop("results")
    assert document == {
        "kind": "deployments.apps",
        "namespace": "prod",
        "name": "chat",
        "metric": "duty_cycle",
        "other_metrics": [],
        "begun_unix_seconds": 1_763_856_000.0,
        "recorded_seconds": 54_000.0,
        "step_seconds": 10_800.0,
        "floor_ratio": 0.25,
        "known_ratio": 0.8,
        "gpus_per_replica": 1,
        "gpu_model": "NVIDIA H100 80GB HBM3",
        "price_per_gpu_hour": 2.5,
        "start_seconds": None,
        "notes": ["Pod chat-7d4b is in two series."],
        "recommendation": {
            "target_milli": 60_000,
            "text": "Recommended target: 60.",
            "annotations": {"gpu-scaler/target-duty-cycle": "60"},
            "missing_annotations": [],
            "doubt": "This is uncertain.",
        },
    }
    assert [one["policy"] for one in results] == ["as-it-was", "gpu-scaler", "hpa"]
    assert results[1] == {
        "policy": "gpu-scaler",
        "target_milli": 60_000,
        "simulated_seconds": 43_200.0,
        "gpu_hours": 18.0,
        "average_replicas": 1.5,
        "highest_replicas": 2,
        "saturated_ratio": 0.25,
        "saved_gpu_hours_ratio": 0.25,
        "changes": 3,
        "changes_per_day": 6.0,
        "cost": 45.0,
    }


def test_csv():
    rows = list(csv.DictReader(io.StringIO(simulations_csv([SIMULATION, SIMULATION]))))
    assert [row["recommended"] for row in rows] == ["false", "true", "false"] * 2
    assert rows[1]["gpu_hours"] == "18.0"
    assert rows[0]["saturated_ratio"] == rows[1]["cost"] == ""
    assert {row["name"] for row in rows} == {"chat"}


def test_several_metrics_are_named_with_their_targets():
    query = recorded_metric((None, 5_000, 6_000, None, 1_000), Metric.QUERY)
    several = replace(
        SIMULATION,
        recording=replace(RECORDING, metrics=(*RECORDING.metrics, query)),
        other_targets=(MetricTarget(metric=Metric.QUERY, average_value_milli=4_000),),
    )
    text = simulations_text([several])
    assert "duty_cycle and query from" in text
    # At each step one of the two is known.
    assert "has no data" not in text
    [document] = json.loads(simulations_json([several]))["simulations"]
    assert document["other_metrics"] == [
        {"metric": "query", "target_milli": 4_000, "known_ratio": pytest.approx(0.6)}
    ]
    assert (document["known_ratio"], document["floor_ratio"]) == (1.0, 0.2)
    rows = list(csv.DictReader(io.StringIO(simulations_csv([several]))))
    assert {row["other_metrics"] for row in rows} == {"query"}


def test_nothing_known_is_no_division_by_zero():
    nothing = replace(
        SIMULATION,
        recording=replace(RECORDING, gpus_per_replica=0),
        results=tuple(replace(one, seconds=0.0, gpu_hours=0.0) for one in SIMULATION.results),
    )
    row = result_rows(nothing, is_wide=True)[2]
    assert row[2] == row[4] == row[5] == row[6] == row[7] == "<unknown>"
    assert json.loads(simulations_json([nothing]))
    assert len(simulations_csv([nothing]).splitlines()) == 4


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.00004, "<0.01 %"),
        (0.0004, "0.04 %"),
        (0.001, "0.1 %"),
        (0.0099999, "1 %"),
        (0.1, "10 %"),
        (0.123, "12.3 %"),
        (0.99951, ">99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_is_none_or_all_only_if_it_is(share, text):
    assert format_share(share) == text
