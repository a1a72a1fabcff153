# SPDX-License-Identifier: Apache-2.0
"""What no input may break: range, holding, rates, repeatability, and never raising."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.behavior import scale_down_limit, scale_up_limit
from scaler.decision.decide import decide
from scaler.decision.model import Outcome, Recommendation, ScaleEvent, ScalingHistory
from scaler.model import (
    Behavior,
    DeploymentState,
    Metric,
    MetricReading,
    MetricTarget,
    ObjectRef,
    PodPhase,
    PodState,
    PodValue,
    PolicyType,
    RatePolicy,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
)
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from scaler.reporting.tables import status_table
from tests.unit.deployments import (
    NOW,
    WEB,
    deployment,
    immediate,
    pod_ref,
    policy,
    reading,
    ready_pods,
)

INSTANTS = st.floats(0, 2 * NOW)
REFS = st.sampled_from([WEB, *(pod_ref(number) for number in range(8))])
COUNTS = st.integers(0, 20)
METRICS = st.sampled_from(Metric)


@st.composite
def pods(draw: st.DrawFn, ref: ObjectRef) -> PodState:
    return PodState(
        ref=ref,
        uid=ref.name,
        phase=draw(st.sampled_from(PodPhase)),
        deleting=draw(st.booleans()),
        ready_since_seconds=draw(st.none() | INSTANTS),
        unschedulable_since_seconds=draw(st.none() | INSTANTS),
        unschedulable_message=draw(st.none() | st.text(max_size=10)),
        served_seconds=draw(st.none() | INSTANTS),
        requests_gpu=draw(st.sampled_from([True, False, None])),
    )


@st.composite
def deployments(draw: st.DrawFn) -> DeploymentState:
    refs = draw(st.lists(REFS, unique=True, max_size=8))
    return replace(
        deployment([draw(pods(ref)) for ref in refs], replicas=draw(COUNTS)),
        ref=draw(st.sampled_from([WEB, WEB._replace(kind="groups.example.com")])),
        owned_by=draw(st.sampled_from([None, None, None, "ScaledObject prod/web"])),
        pods_per_replica=draw(st.none() | st.integers(1, 5)),
    )


def readings_of(metric: Metric) -> st.SearchStrategy[MetricReading]:
    values = st.builds(
        PodValue,
        value_milli=st.integers() | st.integers(0, 100_000),
        sampled_seconds=INSTANTS,
        device_count=st.integers(1, 16),
    )
    return st.builds(
        MetricReading,
        metric=st.just(metric),
        values=st.dictionaries(REFS, values, max_size=8),
        missing=st.dictionaries(REFS, st.text(max_size=10), max_size=3),
        problem=st.none() | st.text(max_size=10),
    )


@st.composite
def all_readings(draw: st.DrawFn) -> dict[Metric, MetricReading]:
    metrics = draw(st.lists(METRICS, unique=True))
    return {metric: draw(readings_of(metric)) for metric in metrics}


RATES = st.builds(
    RatePolicy,
    type=st.sampled_from(PolicyType),
    value=st.integers(1, 300),
    period_seconds=st.integers(1, 1800),
)
RULES = st.builds(
    ScalingRules,
    stabilization_window_seconds=st.integers(0, 3600),
    select_policy=st.sampled_from(SelectPolicy),
    policies=st.lists(RATES, max_size=3).map(tuple),
    tolerance=st.floats(0, 2),
)


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    minimum = draw(st.integers(0, 10))
    targets = st.builds(
        MetricTarget,
        metric=METRICS,
        average_value_milli=st.integers(1, 2**63) | st.integers(1, 100_000),
    )
    return replace(
        policy(min_replicas=minimum, max_replicas=draw(st.integers(max(1, minimum), 20))),
        targets=draw(
            st.lists(targets, min_size=1, max_size=3, unique_by=lambda item: item.metric).map(tuple)
        ),
        behavior=draw(st.builds(Behavior, scale_up=RULES, scale_down=RULES)),
        ready_age_seconds=draw(st.floats(0, 3600)),
        activation_milli=draw(st.integers(0, 100_000)),
        cooldown_seconds=draw(st.floats(0, 3600)),
        dry_run=draw(st.booleans()),
        paused=draw(st.sampled_from([False, False, False, True])),
    )


EVENTS = st.lists(
    st.builds(ScaleEvent, change=st.integers(1, 20), at_seconds=INSTANTS), max_size=3
).map(tuple)
HISTORIES = st.builds(
    ScalingHistory,
    recommendations=st.lists(
        st.builds(Recommendation, replicas=COUNTS, at_seconds=INSTANTS), max_size=5
    ).map(tuple),
    scale_ups=EVENTS,
    scale_downs=EVENTS,
    zeroed_seconds=st.none() | INSTANTS,
    active_seconds=st.none() | INSTANTS,
)


@given(deployments(), policies(), all_readings(), st.none() | HISTORIES, INSTANTS)
def test_any_input_gives_one_decision_within_the_rules(state, rules, readings, history, now):
    decision = decide(state, rules, readings, history, now)
    assert decision == decide(state, rules, readings, history, now)

    current, desired = state.spec_replicas, decision.desired_replicas
    assert (desired == current) or decision.outcome in (Outcome.SCALED, Outcome.DRY_RUN)
    assert decision.outcome is not Outcome.SCALED or desired != current
    if state.owned_by is not None or rules.paused:
        assert desired == current
        return
    if desired != current:
        assert rules.min_replicas <= desired <= rules.max_replicas
    if rules.min_replicas <= current <= rules.max_replicas:
        known, at = history or ScalingHistory(), decision.at_seconds
        assert desired <= scale_up_limit(current, rules.behavior.scale_up, known, at)
        assert desired >= scale_down_limit(current, rules.behavior.scale_down, known, at)
        if desired < current:
            assert all(proposal.complete for proposal in decision.proposals)
            assert all(readings[target.metric].problem is None for target in rules.targets)

    document = decision_document(decision, decided_unix_seconds=now)
    assert explain_text(document, now_unix_seconds=now)
    assert status_table([document], now_unix_seconds=now).count("\n") == 2


@given(
    bounds=st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted),
    current=st.integers(1, 30),
    loads=st.lists(st.integers(0, 4000), min_size=1, max_size=20),
)
def test_a_load_never_leads_outside_min_and_max(bounds, current, loads):
    rules = policy(min_replicas=bounds[0], max_replicas=bounds[1], behavior=immediate())
    now, history = NOW, None
    for load in loads:
        now += 2
        state = deployment(ready_pods(current))
        decision = decide(state, rules, reading([min(100, load / current)] * current), history, now)
        current, history = decision.desired_replicas, decision.history
        assert bounds[0] <= current <= bounds[1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["all", "some", "none", "problem", "unread"]),
            st.floats(0, 100),
            st.floats(-50, 100),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_only_complete_data_ever_scales_down(loops):
    """Over any sequence of good and bad readings and of clocks that jump."""
    now, current, history = NOW, 6, None
    for kind, value, wait in loops:
        now += wait
        count = {"some": current - 1, "none": 0}.get(kind, current)
        # A pod alone cannot be read in part.
        complete = kind == "all" or (kind == "some" and count == current)
        readings = reading([value] * count, problem="warned" if kind == "problem" else None)
        state = deployment(ready_pods(current))
        decision = decide(
            state,
            policy(behavior=immediate()),
            {} if kind == "unread" else readings,
            history,
            now,
        )
        assert complete or decision.desired_replicas >= current
        current, history = decision.desired_replicas, decision.history


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 120)), min_size=2, max_size=60),
    st.integers(1, 300),
)
def test_a_scale_down_was_wanted_for_the_whole_window(loops, window):
    behavior = immediate()
    behavior = replace(
        behavior, scale_down=replace(behavior.scale_down, stabilization_window_seconds=window)
    )
    now, current, history = NOW, 5, None
    wanted: list[tuple[float, int]] = [(now, current)]
    for value, wait in loops:
        now += wait
        decision = decide(
            deployment(ready_pods(current)),
            policy(behavior=behavior),
            reading([value] * current),
            history,
            now,
        )
        assert decision.proposed is not None
        wanted.append((now, decision.proposed))
        if decision.desired_replicas < current:
            recent = [count for at, count in wanted if at > now - window]
            assert decision.desired_replicas >= max(recent)
            assert len(recent) > 1, "one single reading scaled down"
        current, history = decision.desired_replicas, decision.history
