# SPDX-License-Identifier: Apache-2.0
"""What the status page is given: states in words, rows, pages, and how much it can become."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.model import AppliedLimit, Outcome, Reason
from scaler.model import Metric, ScalingPolicy
from scaler.policy.parse import parse_policy
from scaler.reporting.decision_runs import add_decision
from scaler.reporting.load_history import ReplicaChange
from scaler.web.detail import MAX_PODS, detail
from scaler.web.queries import PageQuery, QueryError
from scaler.web.views import (
    MAX_MESSAGE_LENGTH,
    MAX_NAMESPACES,
    SPARK_POINTS,
    OverviewQuery,
    all_states,
    overview,
    parse_overview_query,
    thinned,
)
from scaler.web.wording import Group, number_and_unit, state_of
from tests.statuspage import Scene, decision, policy, recorded_event, ref, refused

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("outcome", "reason", "desired", "group", "label"),
    [
        (Outcome.SCALED, "SuccessfulRescale", 5, Group.CHANGING, "Scaling up"),
        (Outcome.SCALED, "SuccessfulRescale", 1, Group.CHANGING, "Scaling down"),
        (Outcome.UNCHANGED, "DesiredWithinRange", 2, Group.STEADY, "On target"),
        (Outcome.UNCHANGED, "TooFewReplicas", 2, Group.STEADY, "At minimum"),
        (Outcome.UNCHANGED, "TooManyReplicas", 2, Group.LIMITED, "At maximum"),
        (Outcome.UNCHANGED, "InsufficientGPU", 2, Group.LIMITED, "Waiting for GPUs"),
        (Outcome.UNCHANGED, "HigherPriorityWaits", 2, Group.LIMITED, "Behind a higher priority"),
        (Outcome.UNCHANGED, "Unschedulable", 2, Group.LIMITED, "Waiting for a node"),
        (Outcome.UNCHANGED, "ScaleUpLimit", 2, Group.CHANGING, "Scaling up, limited"),
        (Outcome.UNCHANGED, "ScaleDownLimit", 2, Group.CHANGING, "Scaling down, limited"),
        (Outcome.UNCHANGED, "ScaleUpStabilized", 2, Group.CHANGING, "Waiting to scale up"),
        (Outcome.UNCHANGED, "ScaleDownStabilized", 2, Group.CHANGING, "Waiting to scale down"),
        (Outcome.HELD, "FailedGetPodsMetric", 2, Group.ATTENTION, "Held"),
        (Outcome.FAILED, "FailedUpdateScale", 2, Group.ATTENTION, "Failed"),
        (Outcome.REFUSED, "InvalidAnnotation", 2, Group.ATTENTION, "Invalid annotation"),
        (Outcome.REFUSED, "TargetedByOtherController", 2, Group.ATTENTION, "Other autoscaler"),
        (Outcome.DRY_RUN, "DryRun", 2, Group.OFF, "Dry run"),
        (Outcome.PAUSED, "Paused", 2, Group.OFF, "Paused"),
        (Outcome.DISABLED, "ScalingDisabled", 2, Group.OFF, "Off at 0 replicas"),
    ],
)
def test_a_state_in_words(outcome, reason, desired, group, label):
    one = decision(replicas=2, desired=desired, outcome=outcome, reason=reason)
    assert state_of(one) == (group, label)


@pytest.mark.parametrize(
    ("percent", "label"),
    [(None, "On target"), (10, "On target"), (44, "On target"), (44.1, "Waiting for pods")],
)
def test_what_is_above_its_target_by_more_than_the_tolerance_is_not_on_target(percent, label):
    one = decision(duty_percent=percent)
    assert state_of(one).label == label
    (run,) = add_decision((), one, NOW)
    assert state_of(run).label == label


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_state(outcome):
    assert state_of(decision(outcome=outcome)).label


@pytest.mark.parametrize(
    ("metric", "milli", "shown"),
    [
        (Metric.DUTY_CYCLE, 63_000, ("63", "%")),
        (Metric.DUTY_CYCLE, 63_250, ("63.2", "%")),
        (Metric.MEMORY_USED_PERCENT, 0, ("0", "%")),
        (Metric.MEMORY_USED_BYTES, int(12.5 * 2**30) * 1000, ("12.5", "GiB")),
        (Metric.MEMORY_USED_BYTES, 512_000, ("512", "B")),
        (Metric.POWER_USAGE_MILLIWATTS, 250_000_000, ("250", "W")),
        (Metric.TEMPERATURE_CELSIUS, 71_000, ("71", "°C")),
        (Metric.QUERY, 1500, ("1.5", "")),
    ],
)
def test_a_value_has_its_unit(metric, milli, shown):
    assert number_and_unit(metric, milli) == shown


@given(st.sampled_from(Metric), st.integers(0, 2**80))
def test_every_value_is_a_number_and_a_unit(metric, milli):
    number, _ = number_and_unit(metric, milli)
    assert float(number) >= 0


def query(group: Group | None = None, *, namespace: str = "", **page: object) -> OverviewQuery:
    asked = PageQuery(**{"sort": "attention"} | page)  # type: ignore[arg-type]
    return OverviewQuery(page=asked, namespace=namespace, group=group)


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        pytest.param({}, query(), id="nothing"),
        pytest.param(
            {"search": "a b", "group": "attention", "sort": "state", "offset": "50", "limit": "7"},
            query(Group.ATTENTION, search="a b", sort="state", offset=50, limit=7),
            id="all",
        ),
        pytest.param({"group": "", "sort": "", "offset": ""}, query(), id="empty"),
        pytest.param({"namespace": "team-1"}, query(namespace="team-1"), id="one namespace"),
        pytest.param({"search": "x" * 999}, query(search="x" * 200), id="long"),
    ],
)
def test_what_the_address_asks_for(params, wanted):
    assert parse_overview_query(params) == wanted


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"group": "bad"}, "group: 'bad' is not one of attention, limited, changing, steady, off"),
        ({"sort": "age"}, "sort: 'age' is not one of attention, name, state, replicas"),
        ({"offset": "-1"}, "offset: '-1' is not a whole number from 0 to 10000000"),
        ({"limit": "0"}, "limit: '0' is not a whole number from 1 to 200"),
        ({"limit": "201"}, "limit: '201' is not a whole number from 1 to 200"),
        ({"limit": "٣"}, "limit: '٣' is not a whole number from 1 to 200"),
        (
            {"limit": f"{'0' * 19}1{'0' * 9}"},
            f"limit: '{'0' * 19}1{'0' * 9}' is not a whole number from 1 to 200",
        ),
        ({"offset": "0" * 5000}, f"offset: '{'0' * 40}' is not a whole number from 0 to 10000000"),
        ({"offset": "9" * 5000}, f"offset: '{'9' * 40}' is not a whole number from 0 to 10000000"),
    ],
)
def test_a_wrong_address_says_what_is_allowed(params, expected):
    with pytest.raises(QueryError) as caught:
        parse_overview_query(params)
    assert str(caught.value) == expected


def shown(scene: Scene, **asked: object):
    states = all_states(scene.status_store.records)
    return overview(scene.status_store, states, query(**asked))  # type: ignore[arg-type]


def names(document) -> list[str]:
    return [one["name"] for one in document["deployments"]]


@pytest.fixture
def scene():
    scene = Scene()
    scene.decide(
        decision("b", namespace="team-1", replicas=9),
        decision("a", namespace="team-2", replicas=1),
        refused("x"),
        decision("d", outcome=Outcome.PAUSED, reason="Paused", replicas=4),
        at=NOW,
    )
    return scene


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param({}, ["x", "d", "b", "a"], id="those that need a person first"),
        pytest.param({"sort": "name"}, ["d", "x", "b", "a"], id="by namespace and name"),
        pytest.param({"sort": "state"}, ["x", "b", "a", "d"], id="attention first"),
        pytest.param({"sort": "replicas"}, ["b", "d", "x", "a"], id="most replicas first"),
        pytest.param({"search": "TEAM"}, ["b", "a"], id="part of a name, in any case"),
        pytest.param({"search": "team b"}, ["b"], id="every word"),
        pytest.param({"search": "team-1/b"}, ["b"], id="the whole name"),
        pytest.param({"namespace": "team-1"}, ["b"], id="one namespace"),
        pytest.param({"namespace": "team"}, [], id="part of a namespace"),
        pytest.param({"group": Group.OFF}, ["d"], id="by state"),
        pytest.param({"limit": 3}, ["x", "d", "b"], id="first page"),
        pytest.param({"limit": 3, "offset": 3}, ["a"], id="second page"),
        pytest.param({"limit": 3, "offset": 300}, ["a"], id="beyond the last page"),
        pytest.param({"search": "nobody", "offset": 50}, [], id="none"),
    ],
)
def test_which_deployments_are_shown(scene, asked, found):
    assert names(shown(scene, **asked)) == found


def test_counts_are_of_what_was_searched_for_in_every_state(scene):
    document = shown(scene, search="team", group=Group.ATTENTION)
    counts = {one["group"]: one["count"] for one in document["counts"]}
    assert counts == {"attention": 0, "limited": 0, "changing": 0, "steady": 2, "off": 0}
    assert (document["total"], document["found"]) == (4, 0)


def test_all_namespaces_can_be_chosen_whatever_is_shown(scene):
    assert shown(scene, namespace="team-1")["namespaces"] == ["default", "team-1", "team-2"]


def test_namespaces_are_bounded():
    scene = Scene()
    names = [f"ns-{n:04d}" for n in range(MAX_NAMESPACES + 1)]
    scene.decide(*(decision(namespace=name) for name in names), at=NOW)
    assert shown(scene)["namespaces"] == names[:-1]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_next_step_or_needs_none(reason):
    scene = Scene()
    scene.decide(decision(reason=reason), at=NOW)
    step = detail(scene.status_store, ref("web"), nodes={})["next_step"]
    assert step is None or step.endswith(".")


def test_annotations_in_force_say_who_sets_them():
    parsed = parse_policy(
        {"gpu-scaler/enabled": "true", "gpu-scaler/target-duty-cycle": "40"},
        query_supported=True,
        defaults={"gpu-scaler/max-replicas": "7"},
        namespace="default",
    )
    assert isinstance(parsed, ScalingPolicy)
    scene = Scene()
    scene.decide(decision(scaling=parsed), at=NOW)
    settings = detail(scene.status_store, ref("web"), nodes={})["settings"]
    found = {one["annotation"]: (one["value"], one["origin"]) for one in settings}
    assert found["gpu-scaler/target-duty-cycle"] == ("40", "this Deployment")
    assert found["gpu-scaler/max-replicas"] == ("7", "Namespace default")
    assert found["gpu-scaler/cooldown"][1] == "default"


def test_a_row_has_every_target_with_what_is_known(scene):
    scaling = policy(target_memory_used_bytes="20Gi")
    scene.decide(decision("a", duty_percent=63, scaling=scaling), at=NOW)
    (row,) = shown(scene)["deployments"]
    duty, memory = row["values"]
    assert (duty["value"], duty["target"], duty["ratio"]) == ("63", "40", 1.575)
    assert (memory["value"], memory["target"], memory["ratio"]) == (None, "20", None)
    assert memory["target_unit"] == "GiB"
    assert (row["min"], row["max"]) == (1, 10)


def test_a_refused_row_has_no_policy(scene):
    row = shown(scene, search="default/x")["deployments"][0]
    assert (row["values"], row["min"], row["max"]) == ([], None, None)


def test_the_latest_events_are_of_all_pages_newest_first(scene):
    for at in range(3):
        scene.status_store.add_event(recorded_event("zzz", f"New size: {at}", NOW + at))
    events = shown(scene, limit=1)["events"]
    assert [event["message"] for event in events] == [f"New size: {at}" for at in (2, 1, 0)]


def test_an_answer_in_which_nothing_happened_is_the_same(scene):
    before = msgspec.json.encode(shown(scene))
    assert msgspec.json.encode(shown(scene)) == before


@given(
    st.lists(
        st.tuples(st.floats(0.1, 60), st.one_of(st.none(), st.integers(0, 50))),
        min_size=1,
        max_size=240,
    )
)
def test_a_drawing_is_thinned_without_losing_its_height_or_its_end(steps):
    now, changes = NOW, []
    for pause, count in steps:
        now += pause
        changes.append(ReplicaChange(now, count))
    points = thinned(changes)
    if len(changes) <= SPARK_POINTS:
        assert points == [tuple(change) for change in changes]
    minutes = (changes[-1].unix_seconds - changes[0].unix_seconds) / 60
    assert len(points) <= max(SPARK_POINTS, minutes + 3)
    assert points[-1] == tuple(changes[-1])
    known = [change.replicas for change in changes if change.replicas is not None]
    drawn = [count for _, count in points if count is not None]
    assert max(drawn, default=None) == max(known, default=None)


def test_a_message_of_any_length_is_shown_in_part():
    scene = Scene()
    scene.decide(refused("web", "x" * 100_000), at=NOW)
    assert len(msgspec.json.encode(shown(scene))) < 2 * MAX_MESSAGE_LENGTH


def test_a_page_of_two_thousand_is_small():
    scene = Scene()
    scene.decide(*(decision(f"serving-{n:04d}", replicas=20) for n in range(2000)), at=NOW)
    assert len(msgspec.json.encode(shown(scene))) < 50_000
    assert len(msgspec.json.encode(shown(scene, limit=200))) < 200_000


def test_a_detail_explains_every_pod_left_out_first():
    scene = Scene()
    limit = AppliedLimit(
        reason=Reason.TOO_MANY_REPLICAS,
        message="more than 10",
        replicas_before=14,
        replicas_after=10,
    )
    one = decision(
        "web", replicas=2, duty_percent=63, left_out={"web-x": "is not Ready"}, limits=(limit,)
    )
    scene.decide(one, at=NOW)
    counted = ref("web-5d8f6c7b9d-00000")
    document = detail(scene.status_store, ref("web"), nodes={counted: "gpu-node-1"})
    (metric,) = document["metrics"]
    assert [(pod["pod"], pod["left_out"]) for pod in metric["pods"]] == [
        ("web-x", "is not Ready"),
        ("web-5d8f6c7b9d-00000", None),
        ("web-5d8f6c7b9d-00001", None),
    ]
    first = metric["pods"][1]
    assert (first["node"], first["value"], first["unit"]) == ("gpu-node-1", "63", "%")
    # Read at 99 and decided at 100 on the monotonic clock.
    assert first["sampled"] == NOW - 1
    assert metric["counted"] == 2
    assert [item.reason for item in document["limits"]] == ["TooManyReplicas"]
    assert [run["state"] for run in document["episodes"]] == ["Waiting for pods"]


def test_a_detail_of_many_pods_comes_in_pages():
    scene = Scene()
    scene.decide(decision("web", replicas=1500), at=NOW)
    document = detail(scene.status_store, ref("web"), nodes={}, pod_offset=1450)
    (metric,) = document["metrics"]
    assert (len(metric["pods"]), metric["pod_count"]) == (50, 1500)
    document = detail(scene.status_store, ref("web"), nodes={})
    assert len(document["metrics"][0]["pods"]) == MAX_PODS
    assert len(msgspec.json.encode(document)) < 50_000


def test_a_query_has_no_pods():
    scene = Scene()
    scaling = policy(query="sum(rate(requests[1m]))", target_query="5")
    one = decision("web", scaling=scaling)
    scene.decide(one, at=NOW)
    document = detail(scene.status_store, ref("web"), nodes={})
    assert ("query", "sum(rate(requests[1m]))") in document["facts"]
