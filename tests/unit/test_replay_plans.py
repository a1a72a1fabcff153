# SPDX-License-Identifier: Apache-2.0
"""Which metric of a Deployment is replayed under which policies, by annotations and flags."""

import pytest

from scaler.model import Metric, ObjectRef, SettingOrigin
from scaler.replay.plans import DemandSource, Given, PlanError, Wishes, policies_of, source_of

WEB = ObjectRef("prod", "web")
READABLE = {
    Metric.DUTY_CYCLE,
    Metric.MEMORY_USED_PERCENT,
    Metric.POWER_USAGE_MILLIWATTS,
    Metric.QUERY,
}
DUTY = DemandSource(metric=Metric.DUTY_CYCLE)
PREFIX = "gpu-scaler/"


def given(defaults: dict[str, str] | None = None, /, **annotations: str) -> Given:
    def named(texts: dict[str, str]) -> dict[str, str]:
        return {PREFIX + name.replace("_", "-"): text for name, text in texts.items()}

    return Given(ref=WEB, annotations=named(annotations), defaults=named(defaults or {}))


@pytest.mark.parametrize(
    ("known", "wishes", "expected"),
    [
        pytest.param(given(), Wishes(), DUTY, id="without annotations"),
        pytest.param(
            given(target_memory_used_percent="60"),
            Wishes(),
            DemandSource(metric=Metric.MEMORY_USED_PERCENT),
            id="its target",
        ),
        pytest.param(
            given(target_requests="5", target_duty_cycle="60"), Wishes(), DUTY, id="readable target"
        ),
        pytest.param(
            given({"target_power_usage_milliwatts": "1"}),
            Wishes(),
            DemandSource(metric=Metric.POWER_USAGE_MILLIWATTS),
            id="its namespace's target",
        ),
        pytest.param(
            given(query="sum(q)", target_query="5"),
            Wishes(),
            DemandSource(metric=Metric.QUERY, query="sum(q)"),
            id="its query",
        ),
        pytest.param(
            given(target_duty_cycle="60"),
            Wishes(query="sum(r)"),
            DemandSource(metric=Metric.QUERY, query="sum(r)"),
            id="the wished query",
        ),
        pytest.param(
            given(query="sum(q)", target_query="5"),
            Wishes(metric=Metric.DUTY_CYCLE),
            DUTY,
            id="the wished metric",
        ),
    ],
)
def test_the_metric_of_a_deployment(known, wishes, expected):
    assert source_of(known, wishes, READABLE) == expected


@pytest.mark.parametrize(
    ("known", "wishes", "part"),
    [
        (given(target_requests="5"), Wishes(), "--query"),
        (given(), Wishes(metric=Metric.QUERY), "--query"),
        (given(), Wishes(metric=Metric.REQUESTS), "duty_cycle"),
    ],
)
def test_a_metric_that_cannot_be_read_is_refused(known, wishes, part):
    with pytest.raises(PlanError, match=part):
        source_of(known, wishes, READABLE)


@pytest.mark.parametrize(
    ("known", "wishes", "source", "targets"),
    [
        pytest.param(given(), Wishes(), DUTY, [40, 50, 60, 70], id="the usual ones"),
        pytest.param(given(target_duty_cycle="45"), Wishes(), DUTY, [45], id="its own"),
        pytest.param(
            given(target_duty_cycle="45"),
            Wishes(targets=("10", "20.5")),
            DUTY,
            [10, 20.5],
            id="wished",
        ),
        pytest.param(
            given(),
            Wishes(targets=("20Gi",)),
            DemandSource(metric=Metric.MEMORY_USED_BYTES),
            [20 * 2**30],
            id="a quantity",
        ),
        pytest.param(
            given(),
            Wishes(targets=("5",)),
            DemandSource(metric=Metric.QUEUE),
            [5],
            id="a total of a queue",
        ),
        pytest.param(
            given(query="q", target_query="7"),
            Wishes(),
            DemandSource(metric=Metric.QUERY, query="q"),
            [7],
            id="of its query",
        ),
    ],
)
def test_there_is_a_policy_per_target(known, wishes, source, targets):
    policies, _ = policies_of(known, wishes, source, highest_replicas=3)
    assert [
        [(one.metric, one.average_value_milli, one.query) for one in policy.targets]
        for policy in policies
    ] == [[(source.metric, round(target * 1000), source.query)] for target in targets]


@pytest.mark.parametrize(
    ("known", "wishes", "highest", "expected"),
    [
        pytest.param(given(), Wishes(), 3, 10, id="ten"),
        pytest.param(given(), Wishes(), 30, 60, id="twice what there was"),
        pytest.param(given(max_replicas="4"), Wishes(), 30, 4, id="its own"),
        pytest.param(given({"max_replicas": "5"}), Wishes(), 30, 5, id="its namespace's"),
        pytest.param(
            given(max_replicas="4"),
            Wishes(annotations={PREFIX + "max-replicas": "6"}),
            30,
            6,
            id="a flag's",
        ),
    ],
)
def test_the_maximum_is_assumed_only_where_nobody_says_it(known, wishes, highest, expected):
    policies, notes = policies_of(known, wishes, DUTY, highest_replicas=highest)
    assert {policy.max_replicas for policy in policies} == {expected}
    assert bool(notes) is (expected in (10, 60))


def test_a_minimum_of_0_needs_a_total():
    known = given(min_replicas="0", query="q", target_query="7", target_duty_cycle="50")
    (policy,), notes = policies_of(known, Wishes(), DUTY, highest_replicas=1)
    assert policy.min_replicas == 1
    assert any("min-replicas is 0" in note for note in notes)
    (policy,), _ = policies_of(
        known, Wishes(), DemandSource(metric=Metric.QUERY, query="q"), highest_replicas=1
    )
    assert policy.min_replicas == 0


def test_a_target_that_is_not_simulated_is_said():
    known = given(target_duty_cycle="60", target_requests="5", max_replicas="9")
    _, notes = policies_of(known, Wishes(), DUTY, highest_replicas=3)
    (note,) = notes
    assert note.startswith("gpu-scaler/target-requests counts too")


def test_what_is_invented_is_no_setting_of_the_policy():
    known = given(max_replicas="4", window="10s")
    (policy,), _ = policies_of(
        known, Wishes(targets=("5",)), DemandSource(metric=Metric.QUEUE), highest_replicas=1
    )
    own = {one.annotation for one in policy.settings if one.origin is SettingOrigin.OWN}
    assert own == {PREFIX + "enabled", PREFIX + "max-replicas", PREFIX + "window"}


@pytest.mark.parametrize(
    ("known", "wishes", "source", "part"),
    [
        (given(), Wishes(), DemandSource(metric=Metric.QUEUE), "--targets"),
        (given(), Wishes(targets=("0",)), DUTY, "target-duty-cycle"),
        (given(), Wishes(targets=("99",)), DUTY, "target-duty-cycle"),
        (given(window="soon"), Wishes(), DUTY, "window"),
        (given({"behavior": "{"}), Wishes(), DUTY, "behavior"),
        (given(), Wishes(annotations={PREFIX + "wrong": "x"}), DUTY, "wrong"),
    ],
)
def test_a_wrong_text_is_refused_by_name(known, wishes, source, part):
    with pytest.raises(PlanError, match=part):
        policies_of(known, wishes, source, highest_replicas=1)
