# SPDX-License-Identifier: Apache-2.0
"""Pure: formats decisions for `gpu-scaler explain`, `status` and `why-not`.

The process that prints is not the one that decides, so the text comes from the document alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.model import (
    TOTAL_METRICS,
    Metric,
    PolicyType,
    ScaleDownPods,
    SelectPolicy,
    SettingOrigin,
    workload_ref,
)
from scaler.quantities import format_age, format_duration, format_replicas, format_value
from toolkit.cli.table import table_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.model import ObjectRef, ScalingRules
    from scaler.reporting.serialization import (
        DecisionDocument,
        DecisionRunDocument,
        PolicyDocument,
        ProposalDocument,
    )

STATUS_COLUMNS = (
    "NAMESPACE",
    "NAME",
    "TARGETS",
    "MIN",
    "MAX",
    "REPLICAS",
    "DESIRED",
    "REASON",
    "DECIDED",
    "AGE",
)
WHY_NOT_COLUMNS = ("NAMESPACE", "NAME", "REPLICAS", "OUTCOME", "REASON", "WHY")
HISTORY_COLUMNS = ("BEGAN", "LASTED", "VALUES", "REPLICAS", "OUTCOME", "REASON", "MESSAGE")
UNKNOWN = "<unknown>"
_MAX_VALUE_LENGTH = 60
_UNITS: Mapping[Metric, str] = {
    Metric.DUTY_CYCLE: "%",
    Metric.MEMORY_USED_PERCENT: "%",
    Metric.KV_CACHE_PERCENT: "%",
    Metric.TEMPERATURE_CELSIUS: "°C",
}
"""What `format_value` leaves out."""


def explain_text(document: DecisionDocument, *, now_unix_seconds: float) -> str:
    """Return the text of `gpu-scaler explain`: all inputs and steps of a decision, in order."""
    age = format_duration(now_unix_seconds - document.decided_unix_seconds)
    lines = [
        f"{_ref(document).title}, decided {age} ago",
        f"  outcome:   {document.outcome}: {document.reason}",
        f"             {document.message}",
        f"  replicas:  {document.current_replicas} now,"
        f" {document.desired_replicas} desired{_proposed(document)}",
    ]
    if (policy := document.policy) is not None:
        lines += _policy_lines(policy)
        lines += [f"  gpus:      {text}" for text in document.gpu_waits]
        lines += _setting_lines(policy, document.namespace)
    if document.problems:
        lines.append("Invalid annotations:")
        lines += [f"  {item.annotation}: {item.message}" for item in document.problems]
    for proposal in document.metrics:
        lines += _proposal_lines(proposal)
    if document.metrics:
        lines.append("Limits applied:")
        lines += [
            f"  {item.reason}: {item.replicas_before} -> {item.replicas_after} ({item.message})"
            for item in document.limits
        ] or ["  none"]
    if document.victims:
        lines.append("Pods to remove:")
        lines += [f"  {item.pod}: {item.reason}" for item in document.victims]
    if document.conditions:
        lines.append("Conditions:")
        lines += [
            f"  {item.type:<14} {item.status!s:<6} {item.reason}: {item.message}"
            for item in document.conditions
        ]
    return "\n".join(lines) + "\n"


def _ref(document: DecisionDocument) -> ObjectRef:
    return workload_ref(document.namespace, f"{document.kind}:{document.name}")


def _proposed(document: DecisionDocument) -> str:
    proposed = document.proposed_replicas
    return "" if proposed is None else f", {proposed} proposed by the metrics"


def _policy_lines(policy: PolicyDocument) -> list[str]:
    return [f"  {name + ':':<10} {text}" for name, text in policy_facts(policy)]


def policy_facts(policy: PolicyDocument) -> list[tuple[str, str]]:
    """Return the policy as pairs of name and text."""
    states = (("dry run", policy.dry_run), ("paused", policy.paused))
    flags = [name for name, is_on in states if is_on]
    window = "the latest value"
    if policy.window_seconds > 0:
        window = f"the average over {format_duration(policy.window_seconds)}"
    age = format_duration(policy.ready_age_seconds)
    return [
        (
            "range",
            f"{policy.min_replicas} to {policy.max_replicas}"
            + (f" ({', '.join(flags)})" if flags else ""),
        ),
        *_schedule_facts(policy),
        *([("priority", str(policy.priority))] if policy.priority else []),
        *_zero_facts(policy),
        ("values", f"{window} of pods that have been Ready for {age} or more"),
        ("up", _rules_text(policy.scale_up)),
        ("down", _rules_text(policy.scale_down)),
        *_removal_facts(policy),
        *(
            ("query", " ".join(target.query.split()))
            for target in policy.targets
            if target.query is not None
        ),
    ]


def _schedule_facts(policy: PolicyDocument) -> list[tuple[str, str]]:
    scheduled = policy.scheduled
    if scheduled is None:
        return []
    facts = [("schedule", scheduled.entry or "no entry is in force")]
    if (change := scheduled.change) is not None:
        entry = "no entry" if change.entry is None else change.entry
        text = f"{change.min_replicas} to {change.max_replicas} from {change.at} ({entry})"
        facts.append(("next", text))
    return facts


def _removal_facts(policy: PolicyDocument) -> list[tuple[str, str]]:
    if policy.scale_down_pods == ScaleDownPods.ANY:
        return []
    text, busy_milli = "the idlest pods", policy.scale_down_max_busy_milli
    if busy_milli is not None:
        patience = format_duration(policy.scale_down_patience_seconds)
        text += f", and waits up to {patience} until they are below {busy_milli / 1000:g} %"
    return [("removes", text)]


def _zero_facts(policy: PolicyDocument) -> list[tuple[str, str]]:
    if policy.min_replicas > 0:
        return []
    threshold = format_value(Metric.QUERY, policy.activation_milli)
    totals = [one.metric for one in policy.targets if one.metric in TOTAL_METRICS]
    asked = " or ".join(f"the {metric}" for metric in totals)
    window_seconds = policy.scale_down.stabilization_window_seconds
    idle = format_duration(max(policy.cooldown_seconds, window_seconds))
    return [("zero", f"scales to 0 after {idle} idle, wakes when {asked} exceeds {threshold}")]


def _setting_lines(policy: PolicyDocument, namespace: str) -> list[str]:
    """Return the annotations that are set, and which of them the Namespace sets."""
    given = [item for item in policy.settings if item.origin is not SettingOrigin.BUILT_IN]
    width = max((len(item.annotation) for item in given), default=0)
    return ["Annotations:"] * bool(given) + [
        f"  {item.annotation:<{width}} = {_one_line(item.value)}"
        + (f"  (Namespace {namespace})" if item.origin is SettingOrigin.NAMESPACE else "")
        for item in given
    ]


def _one_line(text: str) -> str:
    short = " ".join(text.split())
    return short if len(short) <= _MAX_VALUE_LENGTH else f"{short[:_MAX_VALUE_LENGTH]}..."


def _rules_text(rules: ScalingRules) -> str:
    stabilized = f"stabilized over {format_duration(rules.stabilization_window_seconds)}"
    tolerance = f"tolerance {rules.tolerance * 100:g} %"
    if rules.select_policy is SelectPolicy.DISABLED:
        return f"disabled; {tolerance}"
    policies = " or ".join(
        f"{item.value}{'%' if item.type is PolicyType.PERCENT else ' pods'}/{item.period_seconds}s"
        for item in rules.policies
    )
    choice = "less" if rules.select_policy is SelectPolicy.MIN else "more"
    which = f", whichever is {choice}" if len(rules.policies) > 1 else ""
    return f"at most {policies}{which}; {stabilized}; {tolerance}"


def _proposal_lines(proposal: ProposalDocument) -> list[str]:
    metric = proposal.metric
    target = "without a target"
    if proposal.target_milli is not None:
        target = f"target {format_value(metric, proposal.target_milli)}"
    lines = [f"Metric {metric.value}, {target}:"]
    if proposal.note is not None:
        lines.append(f"  source:    {proposal.note}")
    if proposal.replicas is None:
        lines.append(f"  proposes:  nothing: {proposal.problem}")
    else:
        lines.append(f"  proposes:  {format_replicas(proposal.replicas)}{_remarks(proposal)}")
    if proposal.mean_milli is not None:
        over = "in total" if proposal.target_milli is None else "per replica"
        if metric not in TOTAL_METRICS:
            counted = len(proposal.pods)
            over = f"over {counted} counted {'pod' if counted == 1 else 'pods'}"
        lines.append(f"  mean:      {format_value(metric, proposal.mean_milli)} {over}")
    for pod in proposal.pods:
        devices = f" over {pod.device_count} GPUs" if pod.device_count > 1 else ""
        lines.append(
            f"  counted:   {pod.pod} = {format_value(metric, pod.value_milli)}{devices},"
            f" {pod.age_seconds:.1f}s old"
        )
    lines += [f"  left out:  {item.pod}: {item.reason}" for item in proposal.left_out]
    return lines


def _remarks(proposal: ProposalDocument) -> str:
    found = remarks(proposal)
    return f" ({'; '.join(found)})" if found else ""


def remarks(proposal: ProposalDocument) -> list[str]:
    """Return remarks on a proposal's replica count."""
    found = []
    if proposal.saturated:
        found.append("every pod is saturated, so the demand may be higher than the value")
    if proposal.unheld_replicas is not None:
        found.append(
            f"held: {proposal.unheld_replicas} by the available values, but some serving pods"
            " have no value"
        )
    elif not proposal.complete:
        found.append("some serving pods have no value, which would hold a scale-down")
    return found


def status_table(documents: Iterable[DecisionDocument], *, now_unix_seconds: float) -> str:
    """Return the table of `gpu-scaler status`, similar to `kubectl get hpa`.

    AGE is that of the Deployment. DECIDED is that of the decision, which grows if the scaler stops
    deciding.
    """
    return table_text([STATUS_COLUMNS, *(status_row(item, now_unix_seconds) for item in documents)])


def why_not_table(documents: Iterable[DecisionDocument]) -> str:
    """Return the table of `gpu-scaler why-not`: each Deployment that was not scaled, and why."""
    rows = [
        (
            document.namespace,
            _ref(document).qualified_name,
            str(document.current_replicas),
            document.outcome,
            document.reason,
            " ".join(document.message.split()),
        )
        for document in documents
    ]
    return table_text([WHY_NOT_COLUMNS, *rows])


def history_table(runs: Iterable[DecisionRunDocument], *, now_unix_seconds: float) -> str:
    """Return the table of `gpu-scaler explain --history`: one row per decision run."""
    return table_text([HISTORY_COLUMNS, *(_history_row(one, now_unix_seconds) for one in runs)])


def _history_row(run: DecisionRunDocument, now_unix_seconds: float) -> tuple[str, ...]:
    replicas = str(run.current_replicas)
    if run.desired_replicas != run.current_replicas:
        replicas += f" -> {run.desired_replicas}"
    values = [_target_text(item.metric, item.mean_milli, item.target_milli) for item in run.means]
    return (
        f"{format_duration(now_unix_seconds - run.begun_unix_seconds)} ago",
        format_duration(run.last_unix_seconds - run.begun_unix_seconds),
        ", ".join(values) or "-",
        replicas,
        run.outcome,
        run.reason,
        run.message,
    )


def status_row(document: DecisionDocument, now_unix_seconds: float) -> tuple[str, ...]:
    """Return the cells of a Deployment's row, in the order of STATUS_COLUMNS."""
    policy, created = document.policy, document.created_unix_seconds
    return (
        document.namespace,
        _ref(document).qualified_name,
        targets_text(document),
        UNKNOWN if policy is None else str(policy.min_replicas),
        UNKNOWN if policy is None else str(policy.max_replicas),
        str(document.current_replicas),
        str(document.desired_replicas),
        document.reason,
        format_age(now_unix_seconds - document.decided_unix_seconds),
        UNKNOWN if created is None else format_age(now_unix_seconds - created),
    )


def targets_text(document: DecisionDocument) -> str:
    """Return value and target of each metric: `63%/40%`, with names if there are several."""
    policy = document.policy
    if policy is None:
        return UNKNOWN
    means = {item.metric: item.mean_milli for item in document.metrics}
    texts: Sequence[tuple[str, str]] = [
        (
            target.metric,
            _target_text(
                target.metric,
                means.get(target.metric),
                target.average_value_milli,
            ),
        )
        for target in policy.targets
    ]
    if len(texts) == 1:
        return texts[0][1]
    return ", ".join(f"{name}: {text}" for name, text in texts)


def _target_text(metric: Metric, mean_milli: int | None, target_milli: int | None) -> str:
    """Return `63%/40%`, with the metric's unit."""
    unit = _UNITS.get(metric, "")
    mean = UNKNOWN if mean_milli is None else f"{format_value(metric, mean_milli)}{unit}"
    return mean if target_milli is None else f"{mean}/{format_value(metric, target_milli)}{unit}"
