# SPDX-License-Identifier: Apache-2.0
"""Pure: explains a decision, as `gpu-scaler explain` prints it.

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
)
from scaler.quantities import format_duration, format_replicas, format_value

if TYPE_CHECKING:
    from scaler.model import ScalingRules
    from scaler.reporting.serialization import DecisionDocument, PolicyDocument, ProposalDocument

_MAX_VALUE_LENGTH = 60


def explain_text(document: DecisionDocument, *, now_unix_seconds: float) -> str:
    """Return the text of `gpu-scaler explain`: all inputs and steps of a decision, in order."""
    age = format_duration(now_unix_seconds - document.decided_unix_seconds)
    lines = [
        f"{document.ref.title}, decided {age} ago",
        f"  outcome:   {document.outcome}: {document.reason}",
        f"             {document.message}",
        f"  replicas:  {document.current_replicas} now,"
        f" {document.desired_replicas} desired{_proposed(document)}",
    ]
    if (policy := document.policy) is not None:
        lines += [f"  {name + ':':<10} {text}" for name, text in policy_facts(policy)]
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


def _proposed(document: DecisionDocument) -> str:
    proposed = document.proposed_replicas
    return "" if proposed is None else f", {proposed} proposed by the metrics"


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
        found = remarks(proposal)
        more = f" ({'; '.join(found)})" if found else ""
        lines.append(f"  proposes:  {format_replicas(proposal.replicas)}{more}")
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
