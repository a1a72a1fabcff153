# SPDX-License-Identifier: Apache-2.0
"""Pure: labels for the states of decisions, and values as number and unit."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, assert_never

from scaler.decision.model import Outcome, Reason
from scaler.model import Metric
from scaler.quantities import format_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.decision.model import Decision
    from scaler.reporting.decision_runs import DecisionRun


class Group(StrEnum):
    """Groups of states, in order of urgency; the value is used in URLs."""

    ATTENTION = "attention"
    LIMITED = "limited"
    CHANGING = "changing"
    STEADY = "steady"
    OFF = "off"


GROUP_LABELS = {
    Group.ATTENTION: "Needs attention",
    Group.LIMITED: "At a limit",
    Group.CHANGING: "Changing",
    Group.STEADY: "Steady",
    Group.OFF: "Not scaling",
}


class State(NamedTuple):
    """The state of a Deployment: its group and its label."""

    group: Group
    label: str


METRIC_LABELS = {
    Metric.DUTY_CYCLE: "Duty cycle",
    Metric.MEMORY_USED_PERCENT: "Memory used",
    Metric.MEMORY_USED_BYTES: "Memory used",
    Metric.POWER_USAGE_MILLIWATTS: "Power",
    Metric.TEMPERATURE_CELSIUS: "Temperature",
    Metric.QUERY: "Query",
    Metric.REQUESTS: "Requests",
    Metric.REQUESTS_WAITING: "Requests waiting",
    Metric.KV_CACHE_PERCENT: "KV cache used",
    Metric.POD_METRIC: "Pod metric",
    Metric.QUEUE: "Queue",
}

_REFUSALS: Mapping[Reason, State] = {
    Reason.INVALID_ANNOTATION: State(Group.ATTENTION, "Invalid annotation"),
    Reason.TARGETED_BY_OTHER_CONTROLLER: State(Group.ATTENTION, "Other autoscaler"),
}
_WAITS_FOR_PODS = State(Group.CHANGING, "Waiting for pods")
"""Above the target, but the replicas already requested will do once the new pods are Ready."""
_NUMBER = re.compile(r"(-?[0-9.]+)(.*)")


def state_of(decision: Decision | DecisionRun) -> State:
    """Return the state of a decision, or of a run of decisions."""
    match decision.outcome:
        case Outcome.SCALED:
            up = decision.desired_replicas > decision.current_replicas
            return State(Group.CHANGING, "Scaling up" if up else "Scaling down")
        case Outcome.UNCHANGED:
            return _unchanged(decision)
        case Outcome.REFUSED:
            return _REFUSALS.get(decision.reason, State(Group.ATTENTION, "Refused"))
        case Outcome.HELD:
            return State(Group.ATTENTION, "Held")
        case Outcome.FAILED:
            return State(Group.ATTENTION, "Failed")
        case Outcome.DRY_RUN:
            return State(Group.OFF, "Dry run")
        case Outcome.PAUSED:
            return State(Group.OFF, "Paused")
        case Outcome.DISABLED:
            return State(Group.OFF, "Off at 0 replicas")
        case _:
            assert_never(decision.outcome)


def _unchanged(decision: Decision | DecisionRun) -> State:
    """Return the label for a reason to keep the count, if the outcome does not say enough."""
    match decision.reason:
        case Reason.DESIRED_WITHIN_RANGE:
            return _WAITS_FOR_PODS if decision.above_target else State(Group.STEADY, "On target")
        case Reason.TOO_FEW_REPLICAS:
            return State(Group.STEADY, "At minimum")
        case Reason.TOO_MANY_REPLICAS:
            return State(Group.LIMITED, "At maximum")
        case Reason.INSUFFICIENT_GPU:
            return State(Group.LIMITED, "Waiting for GPUs")
        case Reason.HIGHER_PRIORITY_WAITS:
            return State(Group.LIMITED, "Behind a higher priority")
        case Reason.UNSCHEDULABLE:
            return State(Group.LIMITED, "Waiting for a node")
        case Reason.SCALE_UP_LIMIT:
            return State(Group.CHANGING, "Scaling up, limited")
        case Reason.SCALE_DOWN_LIMIT:
            return State(Group.CHANGING, "Scaling down, limited")
        case Reason.SCALE_UP_STABILIZED:
            return State(Group.CHANGING, "Waiting to scale up")
        case Reason.SCALE_DOWN_STABILIZED | Reason.COOLING_DOWN | Reason.WAITING_FOR_IDLE_PODS:
            return State(Group.CHANGING, "Waiting to scale down")
        case (
            Reason.SUCCESSFUL_RESCALE
            | Reason.DRY_RUN
            | Reason.FAILED_GET_PODS_METRIC
            | Reason.FAILED_GET_EXTERNAL_METRIC
            | Reason.INCOMPLETE_METRICS
            | Reason.CONTENDED_REPLICAS
            | Reason.OUT_OF_CONTACT
            | Reason.WAITING_FOR_ITS_TURN
            | Reason.UNKNOWN_ZERO
            | Reason.LEASE_LOST
            | Reason.SCALING_STOPPED
            | Reason.INVALID_ANNOTATION
            | Reason.TARGETED_BY_OTHER_CONTROLLER
            | Reason.PAUSED
            | Reason.SCALING_DISABLED
            | Reason.FAILED_UPDATE_SCALE
            | Reason.INTERNAL_ERROR
        ):
            # Reasons of other outcomes, which have names of their own.
            return State(Group.STEADY, decision.reason)
        case _:
            assert_never(decision.reason)


def number_and_unit(metric: Metric, value_milli: int) -> tuple[str, str]:
    """Return the number and the unit of a value: ("63", "%"), ("12.5", "GiB"), ("250", "W")."""
    found = _NUMBER.fullmatch(format_value(metric, value_milli))
    assert found is not None
    number, unit = found.groups()
    match metric:
        case Metric.DUTY_CYCLE | Metric.MEMORY_USED_PERCENT | Metric.KV_CACHE_PERCENT:
            return number, "%"
        case Metric.TEMPERATURE_CELSIUS:
            return number, "°C"
        case Metric.MEMORY_USED_BYTES:
            return number, f"{unit}B"
        case (
            Metric.POWER_USAGE_MILLIWATTS
            | Metric.QUERY
            | Metric.REQUESTS
            | Metric.REQUESTS_WAITING
            | Metric.POD_METRIC
            | Metric.QUEUE
        ):
            return number, unit
        case _:
            assert_never(metric)


def chart_unit(metric: Metric, highest_milli: int) -> tuple[float, str]:
    """Return what to divide milli units by for a chart up to `highest_milli`, and the unit."""
    _, unit = number_and_unit(metric, highest_milli)
    prefix = unit[:-1] if unit.endswith(("iB", "W")) else ""
    scale = {"": 1.0, "k": 1e3, "M": 1e6} | {f"{p}i": 1024.0**n for n, p in enumerate("_KMGTPE")}
    base = 1e6 if metric is Metric.POWER_USAGE_MILLIWATTS else 1e3
    return base * scale[prefix], unit
