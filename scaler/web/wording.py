"""Pure: a decision's state in words that need no manual, and its values as number and unit."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from scaler.decision.model import Outcome
from scaler.model import Metric
from scaler.quantities import format_value

if TYPE_CHECKING:
    from scaler.decision.model import Decision
    from scaler.reporting.decision_runs import Episode


class Group(StrEnum):
    """Kinds of states, those that need a person first; the value goes into URLs."""

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
    Group.OFF: "Not acting",
}


class State(NamedTuple):
    """What goes on with a Deployment: which kind of state, and its name for people."""

    group: Group
    label: str


METRIC_LABELS = {
    Metric.DUTY_CYCLE: "Duty cycle",
    Metric.MEMORY_USED_PERCENT: "Memory used",
    Metric.MEMORY_USED_BYTES: "Memory used",
    Metric.POWER_USAGE_MILLIWATTS: "Power",
    Metric.TEMPERATURE_CELSIUS: "Temperature",
    Metric.QUERY: "Query",
}

_OUTCOMES = {
    Outcome.HELD: State(Group.ATTENTION, "Held"),
    Outcome.FAILED: State(Group.ATTENTION, "Failed"),
    Outcome.DRY_RUN: State(Group.OFF, "Dry run"),
    Outcome.PAUSED: State(Group.OFF, "Paused"),
    Outcome.DISABLED: State(Group.OFF, "Off at 0 replicas"),
}
_REFUSALS = {
    "InvalidAnnotation": State(Group.ATTENTION, "Wrong annotation"),
    "TargetedByOtherController": State(Group.ATTENTION, "Other autoscaler"),
}
_WAITS_FOR_PODS = State(Group.CHANGING, "Waits for its pods")
"""Above the target, and what was asked for already would do: the new pods start or load."""
_UNCHANGED = {
    "DesiredWithinRange": State(Group.STEADY, "On target"),
    "TooFewReplicas": State(Group.STEADY, "At minimum"),
    "TooManyReplicas": State(Group.LIMITED, "At maximum"),
    "InsufficientGPU": State(Group.LIMITED, "Waits for GPUs"),
    "Unschedulable": State(Group.LIMITED, "Waits for a node"),
    "ScaleUpLimit": State(Group.CHANGING, "Scaling up, limited"),
    "ScaleDownLimit": State(Group.CHANGING, "Scaling down, limited"),
    "ScaleUpStabilized": State(Group.CHANGING, "Waits to scale up"),
    "ScaleDownStabilized": State(Group.CHANGING, "Waits to scale down"),
    "CoolingDown": State(Group.CHANGING, "Waits to scale down"),
}
_UNITS = {
    Metric.DUTY_CYCLE: "%",
    Metric.MEMORY_USED_PERCENT: "%",
    Metric.TEMPERATURE_CELSIUS: "°C",
}
_NUMBER = re.compile(r"(-?[0-9.]+)(.*)")


def state_of(decision: Decision | Episode) -> State:
    """Return the state of a decision, or of several that say the same.

    A reason that is not known here is shown as it is.
    """
    if decision.outcome is Outcome.SCALED:
        up = decision.desired_replicas > decision.current_replicas
        return State(Group.CHANGING, "Scaling up" if up else "Scaling down")
    if decision.outcome is Outcome.REFUSED:
        return _REFUSALS.get(decision.reason, State(Group.ATTENTION, "Refused"))
    if decision.outcome is Outcome.UNCHANGED:
        if decision.reason == "DesiredWithinRange" and decision.above_target:
            return _WAITS_FOR_PODS
        return _UNCHANGED.get(decision.reason, State(Group.STEADY, decision.reason))
    return _OUTCOMES[decision.outcome]


def number_and_unit(metric: Metric, value_milli: int) -> tuple[str, str]:
    """Return a value as people read it: ("63", "%"), ("12.5", "GiB"), ("250", "W")."""
    match = _NUMBER.fullmatch(format_value(metric, value_milli))
    assert match is not None
    number, unit = match.groups()
    if metric is Metric.MEMORY_USED_BYTES:
        unit += "B"
    return number, _UNITS.get(metric, unit)
