# SPDX-License-Identifier: Apache-2.0
"""The safety rules: judges each write as the API server takes it.

By the true time and the true state of the cluster, and not by what the scaler believes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.model import PolicyType, ScaleDownPods, ScalingPolicy, SelectPolicy
from scaler.policy.parse import opted_in, parse_policy
from scaler.policy.schedule import in_force
from tests.unit.faultyworld import World

if TYPE_CHECKING:
    from scaler.decision.model import Decision
    from scaler.model import DeploymentState, ObjectRef, RatePolicy
    from tests.unit.faultyworkloads import Patch, Workload
    from tests.virtualtime import VirtualLoop

INTERVAL_SECONDS = 5.0
STEP_SECONDS = 45.0
STEPS = 80
US, RIVAL = "scaler-a", "scaler-b"
LEASE_SECONDS = 15.0
ROUNDING_SECONDS = 0.001
STOP = {"gpu-scaler/paused": "true"}
KEYS = (
    *("enabled", "min-replicas", "max-replicas", "target-duty-cycle", "behavior", "window"),
    *("paused", "dry-run", "ready-age", "query", "target-query", "no-such-annotation"),
    *("schedule", "priority", "scale-down-pods", "scale-down-max-busy", "scale-down-patience"),
)
MAX_WAIT_SECONDS = 3600.0
WAITING = {Outcome.SCALED, Outcome.UNCHANGED, Outcome.HELD}
WORKLOADS = {
    "web": {"max-replicas": "10", "target-duty-cycle": "40"},
    "fast": {
        "min-replicas": "2",
        "max-replicas": "8",
        "target-duty-cycle": "50",
        "behavior": (
            '{"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}]},'
            ' "scaleDown": {"stabilizationWindowSeconds": 0,'
            ' "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}'
        ),
        "scale-down-pods": "idlest",
        "scale-down-max-busy": "10%",
        "scale-down-patience": "2m",
    },
    "wide": {
        "max-replicas": "30",
        "target-duty-cycle": "40",
        "target-memory-used-percent": "70",
        "behavior": (
            '{"scaleUp": {"selectPolicy": "Min", "policies":'
            ' [{"type": "Percent", "value": 50, "periodSeconds": 60},'
            ' {"type": "Pods", "value": 2, "periodSeconds": 30}]},'
            ' "scaleDown": {"stabilizationWindowSeconds": 60, "policies":'
            ' [{"type": "Percent", "value": 20, "periodSeconds": 60}]}}'
        ),
        "priority": "100",
        "schedule": '[{from: "08:00", to: "17:00", timezone: UTC, min: 3, max: 20}]',
    },
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one loop would have liked to have, and the window that it would have to last for."""

    at_seconds: float
    replicas: int
    window_seconds: int


class Auditor:
    """Notes every broken rule; a raise would only look like a failure to the scaler."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.world = World(loop, self.judge_write)
        self.world.before_mark = self.judge_mark
        self.broken: list[str] = []
        self.wanted: defaultdict[str, list[Wanted]] = defaultdict(list)
        self.written: defaultdict[str, list[Patch]] = defaultdict(list)
        self.may_forget = {*WORKLOADS}
        self.first_seen: dict[str, tuple[str, int]] = {}
        self.decided_seconds: dict[str, float] = {}
        self.first_decisions: dict[str, tuple[int, Decision]] = {}
        self.stopped_since = math.inf
        self.last_loop_seconds: float | None = None

    def watch_decision(
        self,
        state: DeploymentState,
        policy: Any,
        readings: Any,
        history: Any,
        now: float,
        idle_since: Any,
    ) -> Decision:
        """Stand in for `decide`: decide twice, and note what was wanted."""
        name = state.ref.name
        decision = decide(state, policy, readings, history, now, idle_since)
        self.decided_seconds[name] = self.world.loop.time()
        if self.first_decisions.get(name, (0, None))[0] != self.world.loops:
            self.first_decisions[name] = (self.world.loops, decision)
        if decision != decide(state, policy, readings, history, now, idle_since):
            self.broken.append(f"{state.ref}: two decisions from the same inputs")
        wanted = [] if decision.proposed is None else [decision.proposed]
        if history is None:
            is_again = self.first_seen.get(name) == (state.uid, self.world.loops)
            is_new = self.first_seen.get(name, ("", 0))[0] != state.uid
            if not (is_again or is_new or name in self.may_forget):
                self.broken.append(f"{state.ref}: its history was forgotten")
            self.may_forget.discard(name)
            self.first_seen[name] = (state.uid, self.world.loops)
            self.written[name].clear()
            # The count that is found first is a recommendation, too.
            wanted.append(state.spec_replicas)
        if isinstance(policy, ScalingPolicy):
            window = policy.behavior.scale_down.stabilization_window_seconds
            self.wanted[name] += [Wanted(self.world.loop.time(), one, window) for one in wanted]
        return decision

    def watch_loop(self, *, was_frozen: bool) -> None:
        began, last = self.world.loop_began_seconds, self.last_loop_seconds
        self.last_loop_seconds = began
        for state in self.world.view:
            if not opted_in(state.annotations):
                self.may_forget.add(state.ref.name)
        if last is not None and not was_frozen and began - last > 2 * INTERVAL_SECONDS:
            self.broken.append(f"a loop came {began - last:.1f} s after the one before")

    def judge_write(self, patch: Patch) -> None:
        # The network delays one write more than another; the rules are about when it was decided.
        patch = replace(patch, at_seconds=self.decided_seconds[patch.workload])
        workload = self.world.workloads[patch.workload]
        self.broken += [f"{patch}: {rule}" for rule in self._broken_by(patch, workload)]
        self.written[patch.workload].append(patch)

    def judge_mark(self, workload: Workload, is_mark: bool) -> None:
        broken = self._not_allowed_to_act()
        policy = self._policy(workload.ref)
        if is_mark and not (
            isinstance(policy, ScalingPolicy)
            and policy.scale_down_pods is ScaleDownPods.IDLEST
            and not (policy.paused or policy.dry_run)
        ):
            broken.append("nobody wants marks")
        self.broken += [f"a mark on {workload.name}: {rule}" for rule in broken]

    def _not_allowed_to_act(self) -> list[str]:
        broken = []
        if self.world.holder() != US:
            broken.append(f"the Lease is held by {self.world.holder()!r}")
        if self.stopped_since < self.world.loop_began_seconds:
            broken.append("all scaling is stopped")
        return broken

    def _policy(self, ref: ObjectRef) -> Any:
        """The policy of what the scaler saw, with the range of the time of day, or its problems."""
        [state] = [state for state in self.world.view if state.ref == ref]
        policy = parse_policy(state.annotations, query_supported=False)
        if not isinstance(policy, ScalingPolicy):
            return policy
        return in_force(policy, self.world.loop_began_wall_seconds).policy

    def _broken_by(self, patch: Patch, workload: Workload) -> list[str]:
        broken = self._not_allowed_to_act()
        if any(other.loop == patch.loop for other in self.written[patch.workload]):
            broken.append("the second write of this loop")
        [state] = [state for state in self.world.view if state.ref == workload.ref]
        policy = self._policy(workload.ref)
        if not isinstance(policy, ScalingPolicy):
            return [*broken, f"wrong annotations: {policy}"]
        if state.annotations["gpu-scaler/enabled"] != "true" or policy.paused or policy.dry_run:
            broken.append("not to be scaled at all")
        if state.owned_by is not None:
            broken.append("scaled by somebody else")
        if not policy.min_replicas <= patch.after <= policy.max_replicas:
            broken.append(f"outside {policy.min_replicas} to {policy.max_replicas}")
        if policy.min_replicas <= patch.before <= policy.max_replicas:
            broken += self._too_fast(patch, policy)
            if patch.after < patch.before:
                broken += self._down_without_reason(patch, workload)
        if patch.after < patch.before != state.spec_replicas:
            broken.append(f"down on the pods of {state.spec_replicas} replicas")
        if patch.before == 0:
            broken.append("a human set 0")
        if patch.after > patch.before:
            broken += self._before_higher_ones(patch, policy)
        return broken

    def _before_higher_ones(self, patch: Patch, policy: ScalingPolicy) -> list[str]:
        """The Deployments that are more important and wait for GPUs, in what the scaler saw."""
        broken = []
        for state in self.world.view:
            loop, decision = self.first_decisions.get(state.ref.name, (0, None))
            other = self._policy(state.ref)
            if loop != patch.loop or decision is None or not isinstance(other, ScalingPolicy):
                continue
            waits = [
                decision.at_seconds - pod.unschedulable_since_seconds
                for pod in state.pods
                if pod.unschedulable_since_seconds is not None
            ]
            if (
                waits
                and max(waits) < MAX_WAIT_SECONDS
                and other.priority > policy.priority
                and not other.dry_run
                and decision.outcome in WAITING
                and decision.desired_replicas >= decision.current_replicas
            ):
                broken.append(f"{state.ref} waits for GPUs, with a higher priority")
        return broken

    def _too_fast(self, patch: Patch, policy: ScalingPolicy) -> list[str]:
        up = patch.after > patch.before
        rules = policy.behavior.scale_up if up else policy.behavior.scale_down
        allowed = [self._allowed(patch, rate, up) for rate in rules.policies]
        strictest_first = sorted(allowed, reverse=not up)
        most = strictest_first[0 if rules.select_policy is SelectPolicy.MIN else -1]
        if (patch.after > most) if up else (patch.after < most):
            return [f"faster than the policies, which allow {most}"]
        return []

    def _allowed(self, patch: Patch, rate: RatePolicy, up: bool) -> int:
        """The most that a policy allows, whether or not a write just one period ago counts."""
        since = patch.at_seconds - rate.period_seconds
        most = max if up else min
        return most(
            self._allowed_since(patch, rate, up, since + rounding)
            for rounding in (-ROUNDING_SECONDS, ROUNDING_SECONDS)
        )

    def _allowed_since(self, patch: Patch, rate: RatePolicy, up: bool, since: float) -> int:
        recent = [
            other.after - other.before
            for other in self.written[patch.workload]
            if other.at_seconds > since
        ]
        start = patch.before - sum(recent)
        if rate.type is PolicyType.PODS:
            return start + rate.value if up else start - rate.value
        change = 1 + rate.value / 100 if up else 1 - rate.value / 100
        return math.ceil(start * change) if up else int(start * change)

    def _down_without_reason(self, patch: Patch, workload: Workload) -> list[str]:
        broken = []
        if not self.world.is_known(workload):
            broken.append(f"down on incomplete data: {self.world.served}")
        now, wanted = patch.at_seconds, self.wanted[patch.workload]
        window = min(one.window_seconds for one in wanted if one.at_seconds > now - 1000)
        since = now - window + ROUNDING_SECONDS
        recent = [one.replicas for one in wanted if one.at_seconds > since]
        if recent and patch.after < max(recent):
            broken.append(f"{max(recent)} were wanted within the last {window} s")
        return broken


def prefixed(own: dict[str, str]) -> dict[str, str]:
    return {"gpu-scaler/enabled": "true"} | {f"gpu-scaler/{key}": own[key] for key in own}
