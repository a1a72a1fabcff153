# SPDX-License-Identifier: Apache-2.0
"""Pure: the data of the status page for one Deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from scaler.model import TOTAL_METRICS, Metric, SettingOrigin
from scaler.reporting.explanation import policy_facts, remarks
from scaler.reporting.serialization import decision_document
from scaler.web.next_steps import NEXT_STEPS
from scaler.web.views import (
    MAX_MESSAGE_LENGTH,
    EventDict,
    RowDict,
    ValueDict,
    event_dict,
    ratio,
    row,
    value_dict,
)
from scaler.web.wording import number_and_unit, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.decision.model import AppliedLimit, Condition, MetricProposal
    from scaler.model import ObjectRef, ScalingPolicy
    from scaler.reporting.decision_runs import DecisionRun
    from scaler.reporting.serialization import ProblemDocument, ProposalDocument
    from scaler.reporting.status_store import DecisionRecord, StatusStore

MAX_PODS = 100
MAX_RUNS = 50
"""The newest ones; `explain --history` shows all."""


class PodDict(TypedDict):
    """A pod's value of one metric, or why it has none; `sampled` is in Unix seconds."""

    pod: str
    node: str | None
    value: str | None
    unit: str
    ratio: float | None
    devices: int | None
    sampled: float | None
    left_out: str | None


class MetricDict(TypedDict):
    """One metric with its pods; `pods` is one page out of `pod_count` pods."""

    mean: ValueDict
    replicas: int | None
    problem: str | None
    remarks: list[str]
    counted: int
    query: str | None
    pods: list[PodDict]
    pod_count: int


class DecisionRunView(TypedDict):
    """Consecutive equal decisions."""

    begun: float
    last: float
    decisions: int
    group: str
    state: str
    reason: str
    message: str
    current: int
    desired: int
    values: list[ValueDict]


class SettingView(TypedDict):
    """An annotation in force and who sets it; clipped like a message."""

    annotation: str
    value: str
    origin: str


class DetailDict(TypedDict):
    """All data about one Deployment."""

    row: RowDict
    decided: float
    proposed: int | None
    next_step: str | None
    facts: list[tuple[str, str]]
    settings: list[SettingView]
    problems: tuple[ProblemDocument, ...]
    metrics: list[MetricDict]
    limits: tuple[AppliedLimit, ...]
    conditions: tuple[Condition, ...]
    episodes: list[DecisionRunView]
    events: list[EventDict]
    pod_offset: int
    pod_limit: int


def detail(
    store: StatusStore, ref: ObjectRef, *, nodes: Mapping[ObjectRef, str], pod_offset: int = 0
) -> DetailDict:
    """Return all data about one Deployment; `nodes` has the node of each of its pods.

    Raises:
        KeyError: there is no decision for it.
    """
    record = store.records[ref]
    decision = record.decision
    document = decision_document(decision, decided_unix_seconds=record.decided_unix_seconds)
    events = store.events.get(ref, ())
    targets = () if decision.policy is None else decision.policy.targets
    queries = {target.metric: target.query for target in targets}
    return {
        "row": row(record, state_of(decision), store.loads[ref], events),
        "decided": record.decided_unix_seconds,
        "proposed": decision.proposed,
        "next_step": NEXT_STEPS[decision.reason],
        "settings": [] if decision.policy is None else _settings(decision.policy, ref.namespace),
        "facts": [
            *([] if document.policy is None else policy_facts(document.policy)),
            *(("gpus", text) for text in document.gpu_waits),
        ],
        "problems": document.problems,
        "metrics": [
            _metric(record, proposal, shown, queries.get(proposal.metric), nodes, pod_offset)
            for proposal, shown in zip(decision.proposals, document.metrics, strict=True)
        ],
        "limits": document.limits,
        "conditions": document.conditions,
        "episodes": [_run_view(one) for one in reversed(store.decision_runs[ref][-MAX_RUNS:])],
        "events": [event_dict(one) for one in reversed(events)],
        "pod_offset": pod_offset,
        "pod_limit": MAX_PODS,
    }


def _settings(policy: ScalingPolicy, namespace: str) -> list[SettingView]:
    origins = {
        SettingOrigin.OWN: "this Deployment",
        SettingOrigin.NAMESPACE: f"Namespace {namespace}",
        SettingOrigin.BUILT_IN: "default",
    }
    return [
        {
            "annotation": item.annotation,
            "value": item.value[:MAX_MESSAGE_LENGTH],
            "origin": origins[item.origin],
        }
        for item in policy.settings
    ]


def _metric(
    record: DecisionRecord,
    proposal: MetricProposal,
    shown: ProposalDocument,
    query: str | None,
    nodes: Mapping[ObjectRef, str],
    pod_offset: int,
) -> MetricDict:
    # One value for the whole Deployment has no pods.
    is_total = proposal.metric in TOTAL_METRICS
    pods = [] if is_total else _pods(record, proposal, nodes)
    if proposal.metric is Metric.QUEUE:
        query = proposal.note or ""
    note = [] if is_total or proposal.note is None else [proposal.note]
    return {
        "mean": value_dict(proposal.metric, proposal.mean_milli, proposal.target_milli),
        "replicas": proposal.replicas,
        "problem": proposal.problem,
        "remarks": [*note, *remarks(shown)],
        "counted": len(proposal.values),
        "query": query,
        "pods": pods[pod_offset : pod_offset + MAX_PODS],
        "pod_count": len(pods),
    }


def _pods(
    record: DecisionRecord, proposal: MetricProposal, nodes: Mapping[ObjectRef, str]
) -> list[PodDict]:
    """Return the pods, those without a value first."""
    decided = record.decision.at_seconds
    pods: list[PodDict] = [
        {
            "pod": item.pod.name,
            "node": nodes.get(item.pod),
            "value": None,
            "unit": "",
            "ratio": None,
            "devices": None,
            "sampled": None,
            "left_out": item.reason,
        }
        for item in sorted(proposal.left_out, key=lambda item: item.pod)
    ]
    for ref, value in sorted(proposal.values.items()):
        number, unit = number_and_unit(proposal.metric, value.value_milli)
        age = max(0.0, decided - value.sampled_seconds)
        pods.append(
            {
                "pod": ref.name,
                "node": nodes.get(ref),
                "value": number,
                "unit": unit,
                "ratio": ratio(value.value_milli, proposal.target_milli),
                "devices": value.device_count,
                "sampled": round(record.decided_unix_seconds - age, 1),
                "left_out": None,
            }
        )
    return pods


def _run_view(run: DecisionRun) -> DecisionRunView:
    state = state_of(run)
    return {
        "begun": run.begun_unix_seconds,
        "last": run.last_unix_seconds,
        "decisions": run.decisions,
        "group": state.group,
        "state": state.label,
        "reason": run.reason,
        "message": run.message[:MAX_MESSAGE_LENGTH],
        "current": run.current_replicas,
        "desired": run.desired_replicas,
        "values": [
            value_dict(item.metric, item.mean_milli, item.target_milli) for item in run.means
        ],
    }
