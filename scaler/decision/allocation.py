# SPDX-License-Identifier: Apache-2.0
"""Pure: who gets the next GPU: between the decisions of one loop and their writes.

While pods of a Deployment wait for a GPU resource, Deployments of a lower priority that request the
same resource do not grow. Only pods that wait count, as the API shows them, so a restart or a
takeover needs no memory. No wait limits others for ever: a pod may ask for what no node has.
Deployments that begin to grow in the same loop go in the order of their priorities, because only
the next loop shows whether their pods wait.

What is unknown limits nobody: a resource that a claim stands for, a Deployment without a valid
policy, pods that a lost watch shows. A dry run limits only dry runs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from scaler.decision.gpu_waits import (
    MAX_WAIT_SECONDS,
    GpuWait,
    GpuWaits,
    by_resource,
    growth_of,
    requests_of,
    waits_of,
)
from scaler.decision.history import seen, undone
from scaler.decision.model import (
    AppliedLimit,
    Condition,
    ConditionType,
    Decision,
    Outcome,
    Reason,
    ScalingHistory,
)
from scaler.quantities import format_duration, format_replicas

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from scaler.model import DeploymentState, GpuRequest, ObjectRef

MAX_NAMED: Final = 5
_OVER: Final = f"longer than {format_duration(MAX_WAIT_SECONDS)}"


class GpuAllocation:
    """The waits for GPUs in one loop, and what they mean for each decision."""

    def __init__(
        self,
        decided: Iterable[tuple[DeploymentState, Decision]],
        *,
        begin: Container[str] = (),
        has_let_go_first: Container[str] = (),
    ) -> None:
        """`begin` are the uids of workloads whose growth is new: asked for in this loop only.

        `has_let_go_first` are those that waited in the last loop for a growth that was new then.
        They wait for no other new one, because each loop may bring one.
        """
        decided = tuple(decided)
        priorities = {_priority(decision) for _, decision in decided}
        # Equal priorities limit nobody, and most clusters have no others.
        waits = (
            [wait for pair in decided for wait in waits_of(*pair)] if len(priorities) > 1 else []
        )
        known = [wait for wait in waits if wait.resource is not None]
        self._waiting = {wait.ref for wait in known}
        self._has_let_go_first = has_let_go_first
        self.let_go_first: set[str] = set()
        if len(priorities) > 1:
            known += [
                one
                for state, decision in decided
                if state.uid in begin
                for one in growth_of(state, decision)
            ]
        self._limiting = by_resource(wait for wait in known if not wait.is_over)
        self._over = by_resource(wait for wait in known if wait.is_over)
        lowest = min(priorities, default=0)
        self._without_effect = {
            wait.ref: wait
            for wait in waits
            if wait.priority > lowest and (wait.is_over or wait.resource is None)
        }

    def applied(
        self, deployment: DeploymentState, decision: Decision, before: ScalingHistory | None
    ) -> Decision:
        """Return the decision, without its growth while a higher priority waits.

        `before` is the history of before the decision, None where it was the first one.
        """
        if decision.policy is None or decision.desired_replicas <= decision.current_replicas:
            return decision
        if not self._limiting and not self._over:
            return decision
        requests = requests_of(deployment)
        if not requests:
            wait = next(self._higher(deployment, decision, self._limiting), None)
            if wait is None:
                return decision
            text = f"{wait}; the GPU resource of this Deployment is unknown, so it is not limited"
            return replace(decision, gpu_waits=(text,))
        wait = self._in_the_way(deployment, decision, requests, self._limiting)
        if wait is not None:
            if wait.begins:
                self.let_go_first.add(deployment.uid)
            return _limited(deployment, decision, wait, before)
        wait = self._in_the_way(deployment, decision, requests, self._over)
        if wait is not None:
            text = f"{wait}, {_OVER}, so it no longer limits this Deployment"
            return replace(decision, gpu_waits=(text,))
        return decision

    def explained(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Return all decisions of a loop; those that wait for GPUs say whom that limits."""
        behind: defaultdict[ObjectRef, list[ObjectRef]] = defaultdict(list)
        for decision in decisions:
            if decision.waits_behind in self._waiting:
                behind[decision.waits_behind].append(decision.ref)
        return [self._explained(decision, behind.get(decision.ref, ())) for decision in decisions]

    def _explained(self, decision: Decision, behind: Sequence[ObjectRef]) -> Decision:
        texts = []
        if behind:
            named = ", ".join(ref.title for ref in behind[:MAX_NAMED])
            more = f" and {len(behind) - MAX_NAMED} more" if len(behind) > MAX_NAMED else ""
            texts.append(f"while its pods wait for GPUs, these do not grow: {named}{more}")
        if (wait := self._without_effect.get(decision.ref)) is not None:
            if wait.resource is None:
                why = "its pods wait, but for which GPU resource is unknown"
            else:
                age = format_duration(wait.age_seconds)
                why = f"its pods have waited for {wait.resource} for {age}, {_OVER}"
            texts.append(f"{why}, so they limit no other Deployment")
        return replace(decision, gpu_waits=(*decision.gpu_waits, *texts)) if texts else decision

    def _in_the_way(
        self,
        deployment: DeploymentState,
        decision: Decision,
        requests: Iterable[GpuRequest],
        waits: GpuWaits,
    ) -> GpuWait | None:
        """Return a wait of a higher priority for GPUs that the requests would take."""
        for request in requests:
            wanted = dict(request.node_selector)
            for resource in request.resources:
                of_resource = {resource: waits.get(resource, ())}
                for wait in self._higher(deployment, decision, of_resource):
                    if not _contradict(wait.node_selector, wanted):
                        return wait
        return None

    def _higher(
        self, deployment: DeploymentState, decision: Decision, waits: GpuWaits
    ) -> Iterator[GpuWait]:
        """Yield the waits that may limit a decision."""
        assert decision.policy is not None
        has_waited = deployment.uid in self._has_let_go_first
        for of_resource in waits.values():
            for wait in of_resource:
                if wait.priority <= decision.policy.priority:
                    break
                if wait.begins and has_waited:
                    continue
                if decision.policy.dry_run or not wait.dry_run:
                    yield wait


def _priority(decision: Decision) -> int:
    return 0 if decision.policy is None else decision.policy.priority


def growths(
    decided: Iterable[tuple[DeploymentState, Decision]],
) -> Mapping[str, tuple[int, int]]:
    """Return the counts before and after of all that are to grow, by uid."""
    return {
        deployment.uid: (decision.current_replicas, decision.desired_replicas)
        for deployment, decision in decided
        if decision.outcome is Outcome.SCALED
        and decision.desired_replicas > decision.current_replicas
    }


def _contradict(labels: Iterable[tuple[str, str]], wanted: Mapping[str, str]) -> bool:
    """Whether no node can satisfy both selectors, such as those of two GPU models."""
    return any(wanted.get(key, value) != value for key, value in labels)


def _limited(
    deployment: DeploymentState,
    decision: Decision,
    wait: GpuWait,
    before: ScalingHistory | None,
) -> Decision:
    """Return the decision at the current count; what it recommends is remembered."""
    current, wanted = decision.current_replicas, decision.desired_replicas
    priority = _priority(decision)
    message = (
        f"{wait}, so this Deployment (priority {priority}) stays at {format_replicas(current)}"
        f" instead of {wanted}"
    )
    limit = AppliedLimit(
        reason=Reason.HIGHER_PRIORITY_WAITS,
        message=str(wait),
        replicas_before=wanted,
        replicas_after=current,
    )
    scaling_limited = Condition(
        type=ConditionType.SCALING_LIMITED, status=True, reason=limit.reason, message=message
    )
    known = seen(before or ScalingHistory(), deployment, decision.at_seconds)
    return replace(
        decision,
        desired_replicas=current,
        outcome=Outcome.UNCHANGED,
        reason=limit.reason,
        message=message,
        limits=(*decision.limits, limit),
        conditions=tuple(
            scaling_limited if one.type is ConditionType.SCALING_LIMITED else one
            for one in decision.conditions
        ),
        history=undone(known, decision.history),
        waits_behind=wait.ref,
    )
