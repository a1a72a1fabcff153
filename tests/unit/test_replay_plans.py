# SPDX-License-Identifier: Apache-2.0
"""Which metric of a Deployment is replayed under which policies, by annotations and flags."""

import pytest

from scaler.model import Metric, ObjectRef, SettingOrigin
from scaler.replay.plans import DemandSource, Given, PlanError, Wishes, policies_of, sources_of

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
    assert sources_of(known, wishes, READABLE) == (expected,)


QUERY = DemandSource(metric=Metric.QUERY, query="sum(q)")
BOTH = {"target_duty_cycle": "60", "query": "sum(q)", "target_query": "5", "max_replicas": "9"}


@pytest.mark.parametrize(
    ("more", "wishes", "expected"),
    [
        pytest.param({}, Wishes(), [DUTY, QUERY], id="in order"),
        pytest.param({}, Wishes(metric=Metric.QUERY), [QUERY, DUTY], id="the wished first"),
        pytest.param(
            {},
            Wishes(query="sum(r)"),
            [DemandSource(metric=Metric.QUERY, query="sum(r)"), DUTY],
            id="another query",
        ),
        pytest.param(
            {"target_requests": "5", "target_kv_cache_percent": "5"},
            Wishes(),
            [DUTY, QUERY],
            id="those that can be read",
        ),
        pytest.param(
            {},
            Wishes(metric=Metric.POWER_USAGE_MILLIWATTS),
            [DemandSource(metric=Metric.POWER_USAGE_MILLIWATTS)],
            id="one without a target alone",
        ),
    ],
)
def test_all_metrics_that_have_a_target(more, wishes, expected):
    assert sources_of(given(**BOTH, **more), wishes, READABLE) == tuple(expected)


def test_targets_are_those_of_the_first_metric_and_the_others_keep_theirs():
    policies, notes = policies_of(
        given(**BOTH, min_replicas="0"),
        Wishes(targets=("40", "50")),
        (DUTY, QUERY),
        highest_replicas=3,
    )
    assert [
        [(one.metric, one.average_value_milli, one.query) for one in policy.targets]
        for policy in policies
    ] == [
        [(Metric.DUTY_CYCLE, first, None), (Metric.QUERY, 5_000, "sum(q)")]
        for first in (40_000, 50_000)
    ]
    # The query wakes it.
    assert {policy.min_replicas for policy in policies} == {0}
    (note,) = notes
    assert "TARGET is that of duty_cycle" in note
    assert "query (target 5)" in note


def test_a_recorded_metric_counts_if_it_has_a_target():
    recorded = (DUTY, DemandSource(metric=Metric.QUERY))
    wishes = Wishes(annotations={PREFIX + "target-query": "5", PREFIX + "max-replicas": "9"})
    policies, _ = policies_of(given(), wishes, recorded, highest_replicas=3)
    assert [one.metric for one in policies[0].targets] == [Metric.DUTY_CYCLE, Metric.QUERY]
    policies, notes = policies_of(given(max_replicas="9"), Wishes(), recorded, highest_replicas=3)
    assert [one.metric for one in policies[0].targets] == [Metric.DUTY_CYCLE]
    assert "--annotation gpu-scaler/target-query=NUMBER" in notes[0]


def test_a_query_that_is_not_to_be_named_is_in_no_policy():
    hidden = (DUTY, DemandSource(metric=Metric.QUERY))
    policies, notes = policies_of(given(**BOTH), Wishes(), hidden, highest_replicas=3)
    assert policies[0].targets[1].average_value_milli == 5_000
    assert "sum(q)" not in repr((policies, notes))


def test_a_metric_that_is_tried_in_place_of_the_others_is_said():
    power = DemandSource(metric=Metric.POWER_USAGE_MILLIWATTS)
    _, (note,) = policies_of(
        given(**BOTH), Wishes(targets=("200000",)), (power,), highest_replicas=3
    )
    assert note.endswith("power_usage_milliwatts is simulated in its place.")


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
        sources_of(known, wishes, READABLE)


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
    policies, _ = policies_of(known, wishes, (source,), highest_replicas=3)
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
    policies, notes = policies_of(known, wishes, (DUTY,), highest_replicas=highest)
    assert {policy.max_replicas for policy in policies} == {expected}
    assert bool(notes) is (expected in (10, 60))


def test_a_minimum_of_0_needs_a_total():
    known = given(min_replicas="0", query="q", target_query="7", target_duty_cycle="50")
    (policy,), notes = policies_of(known, Wishes(), (DUTY,), highest_replicas=1)
    assert policy.min_replicas == 1
    assert any("min-replicas is 0" in note for note in notes)
    (policy,), _ = policies_of(
        known, Wishes(), (DemandSource(metric=Metric.QUERY, query="q"),), highest_replicas=1
    )
    assert policy.min_replicas == 0


def test_a_target_that_is_not_simulated_is_said():
    known = given(target_duty_cycle="60", target_requests="5", max_replicas="9")
    _, notes = policies_of(known, Wishes(), (DUTY,), highest_replicas=3)
    (note,) = notes
    assert note.startswith("gpu-scaler/target-requests counts too")


def test_what_is_invented_is_no_setting_of_the_policy():
    known = given(max_replicas="4", window="10s")
    (policy,), _ = policies_of(
        known, Wishes(targets=("5",)), (DemandSource(metric=Metric.QUEUE),), highest_replicas=1
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
        policies_of(known, wishes, (source,), highest_replicas=1)
