# SPDX-License-Identifier: Apache-2.0
"""Pure: the data of the status page's overview.

Times are Unix seconds and the browser computes ages, so that unchanged data gives the same
response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from scaler.reporting.load_history import ReplicaChange, replicas_after
from scaler.web.queries import PageQuery, QueryError, parse_page
from scaler.web.wording import (
    GROUP_LABELS,
    METRIC_LABELS,
    Group,
    State,
    number_and_unit,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.decision.model import Decision
    from scaler.model import Metric, ObjectRef
    from scaler.reporting.load_history import LoadHistory
    from scaler.reporting.status_store import DecisionRecord, RecordedEvent, StatusStore

MAX_ROWS = 200
MAX_PODS_OFFSET = 1_000_000
MAX_NAMESPACES = 500
SPARK_POINTS = 60
SPARK_SECONDS = 60.0
HOUR_SECONDS = 3600
MAX_MESSAGE_LENGTH = 2000
SORTS = ("attention", "name", "state", "replicas")


class ValueDict(TypedDict):
    """The value of a metric and its target; `value` and `ratio` are None if it is unknown.

    `target` and `ratio` are None for a queue without a target.
    """

    metric: str
    label: str
    value: str | None
    value_unit: str
    target: str | None
    target_unit: str
    ratio: float | None


class EventDict(TypedDict):
    """An event that the scaler recorded; `change` are the counts before and after."""

    namespace: str
    name: str
    warning: bool
    reason: str
    message: str
    first: float
    last: float
    count: int
    change: tuple[int, int] | None


class ReplicasDict(TypedDict):
    """Replica counts of the last hour: pairs of time and count, None if it is unknown."""

    changes: list[tuple[float, int | None]]
    until: float


class RowDict(TypedDict):
    """One Deployment in the overview."""

    namespace: str
    name: str
    group: str
    state: str
    reason: str
    message: str
    current: int
    desired: int
    min: int | None
    max: int | None
    values: list[ValueDict]
    history: ReplicasDict
    event: EventDict | None


class GroupDict(TypedDict):
    """The number of Deployments in one group of states."""

    group: str
    label: str
    count: int


class OverviewDict(TypedDict):
    """A page of Deployments; `counts` cover all search results, whatever their state.

    `namespaces` are those of all Deployments, for the filter.
    """

    total: int
    found: int
    offset: int
    limit: int
    counts: list[GroupDict]
    deployments: list[RowDict]
    namespaces: list[str]
    events: list[EventDict]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewQuery:
    """Which Deployments to show; each word of the search must occur in NAMESPACE/NAME."""

    page: PageQuery
    namespace: str = ""
    group: Group | None = None


def parse_overview_query(params: Mapping[str, str]) -> OverviewQuery:
    """Return the query of a URL.

    Raises:
        QueryError: a parameter has a value that is not allowed.
    """
    group = params.get("group", "")
    if group and group not in set(Group):
        raise QueryError(f"group: {group!r} is not one of {', '.join(Group)}")
    return OverviewQuery(
        page=parse_page(params, SORTS, most_rows=MAX_ROWS),
        namespace=params.get("namespace", "")[:200],
        group=Group(group) if group else None,
    )


def overview(
    store: StatusStore, states: Mapping[ObjectRef, State], query: OverviewQuery
) -> OverviewDict:
    """Return the page of `query`; `states` are those of the store's decisions."""
    # Kubernetes names are lower case.
    words = query.page.words
    found = [
        ref
        for ref in states
        if query.namespace in ("", ref.namespace) and all(word in f"{ref}" for word in words)
    ]
    counts = dict.fromkeys(Group, 0)
    for ref in found:
        counts[states[ref].group] += 1
    if query.group is not None:
        found = [ref for ref in found if states[ref].group is query.group]
    first, limit = query.page.first(len(found)), query.page.limit
    shown = _sorted(found, query.page.sort, store, states)[first : first + limit]
    return {
        "total": len(states),
        "found": len(found),
        "offset": first,
        "limit": limit,
        "counts": [
            {"group": group, "label": GROUP_LABELS[group], "count": count}
            for group, count in counts.items()
        ],
        "deployments": [
            row(store.records[ref], states[ref], store.loads[ref], store.events.get(ref, ()))
            for ref in shown
        ],
        "namespaces": sorted({ref.namespace for ref in states})[:MAX_NAMESPACES],
        "events": [event_dict(one) for one in reversed(store.latest_events)],
    }


def all_states(records: Mapping[ObjectRef, DecisionRecord]) -> Mapping[ObjectRef, State]:
    """Return the state of every decision."""
    return {ref: state_of(record.decision) for ref, record in records.items()}


def row(
    record: DecisionRecord, state: State, history: LoadHistory, events: Sequence[RecordedEvent]
) -> RowDict:
    """Return one Deployment's row."""
    decision = record.decision
    policy = decision.policy
    now, changes = record.decided_unix_seconds, history.replica_changes(HOUR_SECONDS)
    if changes[-1].replicas != replicas_after(decision):
        changes.append(ReplicaChange(now, replicas_after(decision)))
    return {
        "namespace": decision.ref.namespace,
        "name": decision.ref.qualified_name,
        "group": state.group,
        "state": state.label,
        "reason": decision.reason,
        "message": decision.message[:MAX_MESSAGE_LENGTH],
        "current": decision.current_replicas,
        "desired": decision.desired_replicas,
        "min": None if policy is None else policy.min_replicas,
        "max": None if policy is None else policy.max_replicas,
        "values": values(decision),
        "history": {"changes": thinned(changes), "until": now},
        "event": event_dict(events[-1]) if events else None,
    }


def values(decision: Decision) -> list[ValueDict]:
    """Return each target with its value."""
    if decision.policy is None:
        return []
    means = {proposal.metric: proposal.mean_milli for proposal in decision.proposals}
    return [
        value_dict(target.metric, means.get(target.metric), target.average_value_milli)
        for target in decision.policy.targets
    ]


def value_dict(metric: Metric, value_milli: int | None, target_milli: int | None) -> ValueDict:
    """Return a value and its target."""
    value, value_unit = None, ""
    if value_milli is not None:
        value, value_unit = number_and_unit(metric, value_milli)
    target, target_unit = None, ""
    if target_milli is not None:
        target, target_unit = number_and_unit(metric, target_milli)
    return {
        "metric": metric.value,
        "label": METRIC_LABELS[metric],
        "value": value,
        "value_unit": value_unit,
        "target": target,
        "target_unit": target_unit,
        "ratio": ratio(value_milli, target_milli),
    }


def thinned(changes: Sequence[ReplicaChange]) -> list[tuple[float, int | None]]:
    """Return at most one point per minute, the highest, if there are too many to draw."""
    if len(changes) <= SPARK_POINTS:
        return [(change.unix_seconds, change.replicas) for change in changes]
    kept: list[tuple[float, int | None]] = []
    for change in changes:
        minute = change.unix_seconds // SPARK_SECONDS
        if kept and kept[-1][0] // SPARK_SECONDS == minute:
            at, before = kept[-1]
            known = [count for count in (before, change.replicas) if count is not None]
            kept[-1] = (at, max(known, default=None))
        else:
            kept.append((change.unix_seconds, change.replicas))
    # Always keep the current count.
    kept.append((changes[-1].unix_seconds, changes[-1].replicas))
    return kept


def event_dict(event: RecordedEvent) -> EventDict:
    """Return an event as data."""
    return {
        "namespace": event.ref.namespace,
        "name": event.ref.qualified_name,
        "warning": event.warning,
        "reason": event.reason,
        "message": event.message[:MAX_MESSAGE_LENGTH],
        "first": event.first_unix_seconds,
        "last": event.last_unix_seconds,
        "count": event.count,
        "change": event.change,
    }


def _sorted(
    refs: list[ObjectRef], sort: str, store: StatusStore, states: Mapping[ObjectRef, State]
) -> list[ObjectRef]:
    refs = sorted(refs)
    if sort == "attention":
        # All others stay sorted by name, so that rows do not jump when a Deployment scales.
        refs.sort(key=lambda ref: states[ref].group is not Group.ATTENTION)
    elif sort == "state":
        order = list(Group)
        refs.sort(key=lambda ref: (order.index(states[ref].group), states[ref].label))
    elif sort == "replicas":
        refs.sort(key=lambda ref: -store.records[ref].decision.current_replicas)
    return refs


def ratio(value_milli: int | None, target_milli: int | None) -> float | None:
    """Return how far a value is along to its target, None without one of them."""
    if value_milli is None or target_milli is None:
        return None
    return round(value_milli / target_milli, 3)
