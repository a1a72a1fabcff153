"""Pure: a Decision as plain data, and that data as the text of `explain` and `status`.

The process that decides and the one that prints are two, so text is made from the data alone.
Instants become ages in seconds at the moment of the decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from scaler.model import Behavior, Decision, Metric, MetricProposal, ScalingPolicy, ScalingRules
from scaler.quantities import format_duration, format_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STATUS_COLUMNS = (
    "NAMESPACE",
    "NAME",
    "TARGETS",
    "MIN",
    "MAX",
    "REPLICAS",
    "DESIRED",
    "REASON",
    "AGE",
)
UNKNOWN = "<unknown>"
_COLUMN_GAP = "   "


class PodValueDict(TypedDict):
    """One pod's value, with its age when the decision was taken."""

    pod: str
    value_milli: int
    age_seconds: float
    device_count: int


class LeftOutPodDict(TypedDict):
    """A pod that was not counted as it is, and why."""

    pod: str
    reason: str


class ProposalDict(TypedDict):
    """What one metric asks for."""

    metric: str
    target_milli: int
    mean_milli: int | None
    replicas: int | None
    unheld_replicas: int | None
    complete: bool
    saturated: bool
    problem: str | None
    pods: list[PodValueDict]
    left_out: list[LeftOutPodDict]


class RatePolicyDict(TypedDict):
    """One rate policy of the behavior."""

    type: str
    value: int
    period_seconds: int


class RulesDict(TypedDict):
    """One direction of the behavior."""

    stabilization_window_seconds: int
    select_policy: str
    tolerance: float
    policies: list[RatePolicyDict]


class TargetDict(TypedDict):
    """One target; `query` is None but for the query."""

    metric: str
    average_value_milli: int
    query: str | None


class PolicyDict(TypedDict):
    """What the annotations ask for, defaults filled in."""

    min_replicas: int
    max_replicas: int
    window_seconds: float
    ready_age_seconds: float
    dry_run: bool
    paused: bool
    targets: list[TargetDict]
    scale_up: RulesDict
    scale_down: RulesDict


class ProblemDict(TypedDict):
    """One wrong annotation."""

    annotation: str
    value: str | None
    message: str


class LimitDict(TypedDict):
    """One step of stabilization or limits that changed the count."""

    reason: str
    message: str
    replicas_before: int
    replicas_after: int


class ConditionDict(TypedDict):
    """One condition in the HPA's words."""

    type: str
    status: bool
    reason: str
    message: str


class DecisionDict(TypedDict):
    """A whole decision; what JSON can hold and nothing else."""

    namespace: str
    name: str
    decided_unix_seconds: float
    current_replicas: int
    desired_replicas: int
    proposed_replicas: int | None
    outcome: str
    reason: str
    message: str
    policy: PolicyDict | None
    problems: list[ProblemDict]
    metrics: list[ProposalDict]
    limits: list[LimitDict]
    conditions: list[ConditionDict]


def decision_to_dict(decision: Decision, *, decided_unix_seconds: float) -> DecisionDict:
    """The decision as plain data; `decided_unix_seconds` is its instant on the wall clock."""
    return {
        "namespace": decision.ref.namespace,
        "name": decision.ref.name,
        "decided_unix_seconds": decided_unix_seconds,
        "current_replicas": decision.current_replicas,
        "desired_replicas": decision.desired_replicas,
        "proposed_replicas": decision.proposed,
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "message": decision.message,
        "policy": None if decision.policy is None else _policy_to_dict(decision.policy),
        "problems": [
            {"annotation": item.annotation, "value": item.value, "message": item.message}
            for item in decision.problems
        ],
        "metrics": [_proposal_to_dict(item, decision.at_seconds) for item in decision.proposals],
        "limits": [
            {
                "reason": item.reason,
                "message": item.message,
                "replicas_before": item.replicas_before,
                "replicas_after": item.replicas_after,
            }
            for item in decision.limits
        ],
        "conditions": [
            {
                "type": item.type.value,
                "status": item.status,
                "reason": item.reason,
                "message": item.message,
            }
            for item in decision.conditions
        ],
    }


def _proposal_to_dict(proposal: MetricProposal, at_seconds: float) -> ProposalDict:
    return {
        "metric": proposal.metric.value,
        "target_milli": proposal.target_milli,
        "mean_milli": proposal.mean_milli,
        "replicas": proposal.replicas,
        "unheld_replicas": proposal.unheld_replicas,
        "complete": proposal.complete,
        "saturated": proposal.saturated,
        "problem": proposal.problem,
        "pods": [
            {
                "pod": ref.name,
                "value_milli": value.value_milli,
                "age_seconds": max(0.0, at_seconds - value.sampled_seconds),
                "device_count": value.device_count,
            }
            for ref, value in sorted(proposal.values.items())
        ],
        "left_out": [{"pod": item.pod.name, "reason": item.reason} for item in proposal.left_out],
    }


def _policy_to_dict(policy: ScalingPolicy) -> PolicyDict:
    behavior: Behavior = policy.behavior
    return {
        "min_replicas": policy.min_replicas,
        "max_replicas": policy.max_replicas,
        "window_seconds": policy.window_seconds,
        "ready_age_seconds": policy.ready_age_seconds,
        "dry_run": policy.dry_run,
        "paused": policy.paused,
        "targets": [
            {
                "metric": target.metric.value,
                "average_value_milli": target.average_value_milli,
                "query": target.query,
            }
            for target in policy.targets
        ],
        "scale_up": _rules_to_dict(behavior.scale_up),
        "scale_down": _rules_to_dict(behavior.scale_down),
    }


def _rules_to_dict(rules: ScalingRules) -> RulesDict:
    return {
        "stabilization_window_seconds": rules.stabilization_window_seconds,
        "select_policy": rules.select_policy.value,
        "tolerance": rules.tolerance,
        "policies": [
            {"type": item.type.value, "value": item.value, "period_seconds": item.period_seconds}
            for item in rules.policies
        ],
    }


def explain_text(document: DecisionDict, *, now_unix_seconds: float) -> str:
    """The text of `gpu-scaler explain`: everything that went into one decision, in its order."""
    age = format_duration(now_unix_seconds - document["decided_unix_seconds"])
    lines = [
        f"Deployment {document['namespace']}/{document['name']}, decided {age} ago",
        f"  outcome:   {document['outcome']}: {document['reason']}",
        f"             {document['message']}",
        f"  replicas:  {document['current_replicas']} now,"
        f" {document['desired_replicas']} desired{_asked(document)}",
    ]
    if (policy := document["policy"]) is not None:
        lines += _policy_lines(policy)
    if document["problems"]:
        lines.append("Wrong annotations:")
        lines += [f"  {item['annotation']}: {item['message']}" for item in document["problems"]]
    for proposal in document["metrics"]:
        lines += _proposal_lines(proposal)
    if document["metrics"]:
        lines.append("Limits applied:")
        lines += [
            f"  {item['reason']}: {item['replicas_before']} -> {item['replicas_after']}"
            f" ({item['message']})"
            for item in document["limits"]
        ] or ["  none"]
    if document["conditions"]:
        lines.append("Conditions:")
        lines += [
            f"  {item['type']:<14} {item['status']!s:<6} {item['reason']}: {item['message']}"
            for item in document["conditions"]
        ]
    return "\n".join(lines) + "\n"


def _asked(document: DecisionDict) -> str:
    proposed = document["proposed_replicas"]
    return "" if proposed is None else f", {proposed} proposed by the metrics"


def _policy_lines(policy: PolicyDict) -> list[str]:
    states = (("dry run", policy["dry_run"]), ("paused", policy["paused"]))
    flags = [name for name, is_on in states if is_on]
    window = "the latest value"
    if policy["window_seconds"] > 0:
        window = f"the average over {format_duration(policy['window_seconds'])}"
    lines = [
        f"  range:     {policy['min_replicas']} to {policy['max_replicas']}"
        + (f" ({', '.join(flags)})" if flags else ""),
        f"  values:    {window} of pods Ready for"
        f" {format_duration(policy['ready_age_seconds'])} or more",
        f"  up:        {_rules_text(policy['scale_up'])}",
        f"  down:      {_rules_text(policy['scale_down'])}",
    ]
    lines += [
        f"  query:     {' '.join(target['query'].split())}"
        for target in policy["targets"]
        if target["query"] is not None
    ]
    return lines


def _rules_text(rules: RulesDict) -> str:
    stabilized = f"stabilized over {format_duration(rules['stabilization_window_seconds'])}"
    tolerance = f"tolerance {rules['tolerance'] * 100:g} %"
    if rules["select_policy"] == "Disabled":
        return f"disabled; {tolerance}"
    policies = " or ".join(
        f"{item['value']}{'%' if item['type'] == 'Percent' else ' pods'}/{item['period_seconds']}s"
        for item in rules["policies"]
    )
    choice = "least" if rules["select_policy"] == "Min" else "most"
    which = f", whichever is {choice}" if len(rules["policies"]) > 1 else ""
    return f"at most {policies}{which}; {stabilized}; {tolerance}"


def _proposal_lines(proposal: ProposalDict) -> list[str]:
    metric = Metric(proposal["metric"])
    lines = [f"Metric {metric.value}, target {format_value(metric, proposal['target_milli'])}:"]
    if proposal["replicas"] is None:
        lines.append(f"  proposes:  nothing: {proposal['problem']}")
    else:
        lines.append(f"  proposes:  {proposal['replicas']} replicas{_remarks(proposal)}")
    if proposal["mean_milli"] is not None:
        over = "per replica"
        if metric is not Metric.QUERY:
            counted = len(proposal["pods"])
            over = f"over {counted} counted {'pod' if counted == 1 else 'pods'}"
        lines.append(f"  mean:      {format_value(metric, proposal['mean_milli'])} {over}")
    for pod in proposal["pods"]:
        devices = f" over {pod['device_count']} GPUs" if pod["device_count"] > 1 else ""
        lines.append(
            f"  counted:   {pod['pod']} = {format_value(metric, pod['value_milli'])}{devices},"
            f" {pod['age_seconds']:.1f}s old"
        )
    lines += [f"  left out:  {item['pod']}: {item['reason']}" for item in proposal["left_out"]]
    return lines


def _remarks(proposal: ProposalDict) -> str:
    remarks = []
    if proposal["saturated"]:
        remarks.append("every pod is saturated, so the value is only a floor of the demand")
    if proposal["unheld_replicas"] is not None:
        remarks.append(
            f"held: {proposal['unheld_replicas']} by the values there are, but not every serving"
            " pod has one"
        )
    elif not proposal["complete"]:
        remarks.append("not every serving pod has a value, which would hold a scale-down")
    return f" ({'; '.join(remarks)})" if remarks else ""


def status_table(documents: Iterable[DecisionDict], *, now_unix_seconds: float) -> str:
    """The table of `gpu-scaler status`, in the manner of `kubectl get hpa`.

    AGE is that of the decision: it grows where the scaler has stopped deciding.
    """
    rows = [STATUS_COLUMNS, *(status_row(item, now_unix_seconds) for item in documents)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        _COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def status_row(document: DecisionDict, now_unix_seconds: float) -> tuple[str, ...]:
    """The cells of one Deployment's row, in the order of STATUS_COLUMNS."""
    policy = document["policy"]
    return (
        document["namespace"],
        document["name"],
        targets_text(document),
        UNKNOWN if policy is None else str(policy["min_replicas"]),
        UNKNOWN if policy is None else str(policy["max_replicas"]),
        str(document["current_replicas"]),
        str(document["desired_replicas"]),
        document["reason"],
        format_duration(now_unix_seconds - document["decided_unix_seconds"]),
    )


def targets_text(document: DecisionDict) -> str:
    """Value and target of each metric: `63/40`, named where there are several."""
    policy = document["policy"]
    if policy is None:
        return UNKNOWN
    means = {item["metric"]: item["mean_milli"] for item in document["metrics"]}
    texts: Sequence[tuple[str, str]] = [
        (
            target["metric"],
            _target_text(
                Metric(target["metric"]),
                means.get(target["metric"]),
                target["average_value_milli"],
            ),
        )
        for target in policy["targets"]
    ]
    if len(texts) == 1:
        return texts[0][1]
    return ", ".join(f"{name}: {text}" for name, text in texts)


def _target_text(metric: Metric, mean_milli: int | None, target_milli: int) -> str:
    value = UNKNOWN if mean_milli is None else format_value(metric, mean_milli)
    return f"{value}/{format_value(metric, target_milli)}"
