# SPDX-License-Identifier: Apache-2.0
"""The JSON of decisions that users and scripts read stays the same, byte for byte."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from scaler.decision.model import (
    AppliedLimit,
    Condition,
    ConditionType,
    Decision,
    LeftOutPod,
    MetricProposal,
    Outcome,
    Reason,
    ScalingHistory,
    Victim,
)
from scaler.model import (
    AnnotationProblem,
    Behavior,
    Metric,
    MetricTarget,
    ObjectRef,
    PodValue,
    PolicyType,
    RatePolicy,
    ScalingPolicy,
    ScalingRules,
    ScheduledChange,
    ScheduledRange,
    SelectPolicy,
    Setting,
    SettingOrigin,
)
from scaler.reporting.decision_runs import DecisionRun, MetricMean
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import (
    DecisionDocument,
    DecisionRunDocument,
    PolicyDocument,
    ProblemDocument,
    ProposalDocument,
    decision_document,
    decision_run_document,
    decode,
)
from scaler.reporting.tables import history_table, status_table

GOLDEN = Path(__file__).with_name("serialized.json")
NOW = 1000.0
DECIDED = 1_750_000_000.25


def rules(window_seconds, select, tolerance, *policies):
    return ScalingRules(
        stabilization_window_seconds=window_seconds,
        select_policy=select,
        policies=tuple(
            RatePolicy(type=type_, value=value, period_seconds=seconds)
            for type_, value, seconds in policies
        ),
        tolerance=tolerance,
    )


POLICY = ScalingPolicy(
    min_replicas=0,
    max_replicas=20,
    targets=(
        MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=40_000),
        MetricTarget(metric=Metric.QUERY, average_value_milli=10_500, query='sum(q{a="ü"})\n'),
    ),
    window_seconds=30.0,
    behavior=Behavior(
        scale_up=rules(
            0, SelectPolicy.MAX, 0.1, (PolicyType.PODS, 4, 15), (PolicyType.PERCENT, 100, 15)
        ),
        scale_down=rules(300, SelectPolicy.DISABLED, 0.05, (PolicyType.PERCENT, 100, 15)),
    ),
    ready_age_seconds=30.0,
    dry_run=True,
    paused=False,
    activation_milli=2_000,
    cooldown_seconds=300.0,
    priority=-5,
    scheduled=ScheduledRange(
        entry="Sat-Sun UTC",
        change=ScheduledChange(
            at_unix_seconds=DECIDED + 60,
            at="Mon 2025-06-16 00:00 UTC",
            entry=None,
            min_replicas=1,
            max_replicas=20,
        ),
    ),
    settings=(
        Setting(annotation="gpu-scaler/enabled", value="true", origin=SettingOrigin.OWN),
        Setting(annotation="gpu-scaler/window", value="30s", origin=SettingOrigin.NAMESPACE),
        Setting(annotation="gpu-scaler/cooldown", value="5m", origin=SettingOrigin.BUILT_IN),
    ),
)
PODS = [ObjectRef("prod", f"web-{number}") for number in range(4)]
RICH = Decision(
    ref=ObjectRef("prod", "web"),
    current_replicas=4,
    desired_replicas=7,
    outcome=Outcome.DRY_RUN,
    reason=Reason.DRY_RUN,
    message="would scale to 7",
    at_seconds=NOW,
    policy=POLICY,
    proposals=(
        MetricProposal(
            metric=Metric.DUTY_CYCLE,
            target_milli=40_000,
            replicas=7,
            mean_milli=63_500,
            values={
                PODS[1]: PodValue(value_milli=100_000, sampled_seconds=NOW + 1, device_count=2),
                PODS[0]: PodValue(value_milli=27_000, sampled_seconds=NOW - 1.5),
            },
            left_out=(
                LeftOutPod(pod=PODS[2], reason="Pending"),
                LeftOutPod(pod=PODS[3], reason="no value"),
            ),
            complete=False,
            unheld_replicas=3,
            saturated=True,
            waits_for="web-2",
        ),
        MetricProposal(
            metric=Metric.QUERY,
            target_milli=10_500,
            replicas=None,
            mean_milli=None,
            values={},
            problem="Prometheus did not answer",
        ),
    ),
    proposed=9,
    limits=(
        AppliedLimit(
            reason=Reason.SCALE_UP_LIMIT,
            message="4 pods per 15 s",
            replicas_before=9,
            replicas_after=7,
        ),
    ),
    conditions=(
        Condition(type=ConditionType.ABLE_TO_SCALE, status=True, reason="Ready", message="a"),
        Condition(type=ConditionType.SCALING_LIMITED, status=False, reason="Within", message="b"),
    ),
    victims=(Victim(pod=PODS[3], uid="uid-3", why="0 requests in hand, 0 % for 40s"),),
    history=ScalingHistory(zeroed_seconds=3.0),
    waits_behind=ObjectRef("prod", "train"),
    gpu_waits=("a sentence",),
)
REFUSED = Decision(
    ref=ObjectRef("prod", "db", kind="statefulsets.apps"),
    current_replicas=1,
    desired_replicas=1,
    outcome=Outcome.REFUSED,
    reason=Reason.INVALID_ANNOTATION,
    message="wrong",
    at_seconds=NOW,
    problems=(
        AnnotationProblem(annotation="gpu-scaler/max-replicas", value=None, message="is required"),
        AnnotationProblem(
            annotation="gpu-scaler/window",
            value="30",
            message="has no unit",
            namespace="prod",
            is_form=True,
            stands_for=2,
        ),
    ),
)
EPISODE = DecisionRun(
    begun_unix_seconds=DECIDED,
    last_unix_seconds=DECIDED + 8,
    decisions=5,
    outcome=Outcome.HELD,
    reason=Reason.INCOMPLETE_METRICS,
    message="held at 4 replicas",
    current_replicas=4,
    desired_replicas=4,
    means=(
        MetricMean(metric=Metric.DUTY_CYCLE, mean_milli=63_500, target_milli=40_000),
        MetricMean(metric=Metric.QUERY, mean_milli=None, target_milli=10_500),
    ),
    above_target=True,
)


def documents():
    return [
        decision_document(one, decided_unix_seconds=DECIDED, created_unix_seconds=created)
        for one, created in ((RICH, DECIDED - 3 * 86400), (REFUSED, None))
    ]


def test_the_json_is_what_it_was():
    document = {"decisions": documents(), "history": [decision_run_document(EPISODE)]}
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    assert text == GOLDEN.read_bytes()


@pytest.mark.parametrize(
    ("source", "document", "elsewhere"),
    [
        pytest.param(
            Decision,
            DecisionDocument,
            # Flattened, renamed, on another clock, or of no use to a reader.
            {"ref", "proposed", "proposals", "at_seconds", "history", "removal"},
            id="Decision",
        ),
        # As its mean, its pods and those left out, and what they wait for in the message.
        pytest.param(
            MetricProposal,
            ProposalDocument,
            {"values", "waits_for", "missing_pods"},
            id="MetricProposal",
        ),
        # As its two directions, as the annotations' texts, and as the entry in force.
        pytest.param(
            ScalingPolicy,
            PolicyDocument,
            {"behavior", "server", "queue", "schedule"},
            id="ScalingPolicy",
        ),
        # What only the parser goes by.
        pytest.param(
            AnnotationProblem, ProblemDocument, {"is_form", "stands_for"}, id="AnnotationProblem"
        ),
        pytest.param(DecisionRun, DecisionRunDocument, {"above_target"}, id="DecisionRun"),
    ],
)
def test_a_field_is_in_the_json_or_left_out_on_purpose(source, document, elsewhere):
    left_out = {one.name for one in fields(source)} - {*document.__struct_fields__}
    assert left_out == elsewhere, f"scaler/reporting/serialization.py ({document.__name__})"


def with_news(data):
    """The same from a newer scaler: every object has a field more."""
    if isinstance(data, dict):
        return {key: with_news(one) for key, one in data.items()} | {"added_later": 1}
    return [with_news(one) for one in data] if isinstance(data, list) else data


def test_another_process_reads_what_was_written_whatever_fields_a_newer_one_adds():
    data = with_news(json.loads(GOLDEN.read_bytes()))
    decisions = decode(data["decisions"], list[DecisionDocument])
    assert decisions == documents()
    assert decode(data["history"], list[DecisionRunDocument]) == [decision_run_document(EPISODE)]


def test_an_answer_of_another_form_is_an_error_that_names_the_field():
    data = json.loads(GOLDEN.read_bytes())["decisions"][0]
    data["metrics"][0]["metric"] = "sanity"
    with pytest.raises(ValueError, match=r"'sanity'.*\$\.metrics\[0\]\.metric"):
        decode(data, DecisionDocument)
    data.pop("metrics")
    with pytest.raises(ValueError, match="`metrics`"):
        decode(data, DecisionDocument)


def test_the_texts_name_what_the_data_has():
    rich, refused = documents()
    now = DECIDED + 5
    text = explain_text(rich, now_unix_seconds=now)
    for part in ("sum(q", "(Namespace prod)", "100%/15s", "disabled", "web-1 = 100", "9 -> 7"):
        assert part in text
    assert "gpu-scaler/max-replicas: is required" in explain_text(refused, now_unix_seconds=now)
    _, row, without_age = status_table([rich, refused], now_unix_seconds=now).splitlines()
    assert row.split()[-2:] == ["5s", "3d"]
    assert "statefulsets.apps:db" in without_age
    assert without_age.split()[-2:] == ["5s", "<unknown>"]
    assert "63.5%/40%" in history_table([decision_run_document(EPISODE)], now_unix_seconds=now)
