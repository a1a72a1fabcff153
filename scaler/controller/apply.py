# SPDX-License-Identifier: Apache-2.0
"""Applies decisions: writes the replica count and records what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.cluster.scale import CountChanged, Written
from scaler.controller.retry_order import ACT_SECONDS, RetryOrder
from scaler.controller.writer import NotWritten, ScaleWriter, WriteResult
from scaler.decision.contention import Contention
from scaler.decision.history import changed
from scaler.decision.model import Decision, Outcome, Reason, ScalingHistory
from scaler.quantities import format_replicas

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
    from scaler.controller.history import ScalingHistories
    from scaler.controller.marks import PodMarks
    from scaler.model import DeploymentState
    from scaler.reporting.metrics import ScalerMetrics

MAX_CONCURRENT_PATCHES = 32
MAX_DECISIONS_PER_LOOP = 3


class DecisionApplier:
    """Applies the decisions of one loop after another; the only one that records them."""

    def __init__(
        self,
        writer: ScaleWriter,
        *,
        marks: PodMarks,
        scale_to_zero: ScaleToZeroStore,
        histories: ScalingHistories,
        metrics: ScalerMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._marks = marks
        self._scale_to_zero = scale_to_zero
        self._histories = histories
        self._metrics = metrics
        self._clock = clock
        self._contention = Contention()
        self._patches = asyncio.Semaphore(MAX_CONCURRENT_PATCHES)
        self._apply_until_seconds = 0.0
        self.retry_order = RetryOrder()

    def begin_loop(self) -> None:
        """Note that the writes of a loop begin now; those that come too late wait for the next."""
        self._apply_until_seconds = self._clock() + ACT_SECONDS

    async def apply(
        self,
        deployment: DeploymentState,
        decision: Decision,
        decide: Callable[[DeploymentState], Decision],
        blocked: tuple[Outcome, Reason, str] | None,
    ) -> Decision:
        """Return what came of a decision, which is recorded.

        `decide` decides again where the API server has another count. `blocked` says why nothing
        may be written in this loop: an outcome, a reason and a sentence. Raises whatever `decide`
        and the writer do not expect.
        """
        uid = deployment.uid
        decision = self._held_if_contended(deployment, decision)
        if decision.outcome is not Outcome.SCALED:
            self._histories.record(uid, decision)
            return decision
        if blocked is not None:
            self._histories.record_undone(uid, decision)
            return not_applied(decision, *blocked)
        async with self._patches:
            if self._clock() > self._apply_until_seconds:
                self._histories.record_undone(uid, decision)
                cause = "the writes for other Deployments took too long; retrying in the next loop"
                return not_applied(decision, Outcome.HELD, Reason.WAITING_FOR_ITS_TURN, cause)
            failed = True
            try:
                applied = await self._decide_and_write(deployment, decision, decide)
                failed = applied.outcome is Outcome.FAILED
            finally:
                self.retry_order.note(uid, failed=failed, now_seconds=self._clock())
        return applied

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other workloads."""
        self._contention.keep_only(uids)
        self.retry_order.keep_only(uids)

    async def _decide_and_write(
        self,
        deployment: DeploymentState,
        decision: Decision,
        decide: Callable[[DeploymentState], Decision],
    ) -> Decision:
        uid, shown = deployment.uid, deployment.spec_replicas
        for _ in range(MAX_DECISIONS_PER_LOOP):
            if decision.outcome is not Outcome.SCALED:
                self._histories.record(uid, decision)
                return decision
            try:
                result, unmarked = await self._write(deployment, decision)
            except Exception:
                self._contention.unconfirmed(uid)
                self._histories.record_unconfirmed(uid, decision)
                raise
            if not isinstance(result, CountChanged):
                if isinstance(result, Written) and unmarked is not None:
                    decision = _without_choice(decision, unmarked)
                return self._recorded(deployment, decision, result)
            if decision.desired_replicas == 0:
                self._scale_to_zero.retract(uid)
            deployment = replace(deployment, spec_replicas=result.found)
            decision = self._held_if_contended(deployment, decide(deployment))
            if result.found != shown and decision.desired_replicas < result.found:
                # Pods that the watch shows with another count may have changed since, too.
                self._histories.record_undone(uid, decision)
                cause = (
                    f"the watch still shows {format_replicas(shown)}, so its pods may be outdated"
                )
                return not_applied(decision, Outcome.HELD, Reason.INCOMPLETE_METRICS, cause)
        self._histories.record_undone(uid, decision)
        return self._failed(decision, "Conflict", "another writer keeps changing the replica count")

    async def _write(
        self, deployment: DeploymentState, decision: Decision
    ) -> tuple[WriteResult, str | None]:
        """Write a count unless the API server has another one, or somebody else sets it.

        The second is why pods that it removes are not marked, None if they are.
        """
        if decision.desired_replicas == 0:
            not_recorded = await self._writer.record_zero(deployment)
            if not_recorded is not None:
                return not_recorded, None
        scale = await self._writer.read(deployment)
        if isinstance(scale, NotWritten):
            return scale, None
        uid, found, now = deployment.uid, scale.replicas, self._clock()
        self._contention.read(uid, found, now)
        if found != decision.current_replicas or self._is_contended(decision, uid, now):
            return CountChanged(found=found), None
        unmarked = None
        if decision.desired_replicas > 0:
            unmarked = await self._marks.mark(deployment, decision)
        result = await self._writer.write(deployment, scale, decision.desired_replicas)
        if isinstance(result, CountChanged):
            self._contention.read(uid, result.found, self._clock())
        return result, unmarked

    def _held_if_contended(self, deployment: DeploymentState, decision: Decision) -> Decision:
        """Return the decision, held where somebody else keeps setting the count."""
        uid, now = deployment.uid, self._clock()
        self._contention.shown(uid, deployment.spec_replicas, now)
        cause = self._contention.problem(uid, now)
        if cause is None:
            return decision
        if decision.outcome is Outcome.UNCHANGED:
            if decision.proposed == decision.current_replicas:
                return decision
            return replace(
                decision, outcome=Outcome.HELD, reason=Reason.CONTENDED_REPLICAS, message=cause
            )
        if decision.outcome is not Outcome.SCALED or not self._is_contended(decision, uid, now):
            return decision
        self._histories.record_undone(uid, decision)
        held = not_applied(decision, Outcome.HELD, Reason.CONTENDED_REPLICAS, cause)
        return replace(held, history=self._histories.of(deployment) or ScalingHistory())

    def _is_contended(self, decision: Decision, uid: str, now_seconds: float) -> bool:
        if self._contention.problem(uid, now_seconds) is None:
            return False
        up = decision.desired_replicas > decision.current_replicas
        return not self._contention.may_write(uid, up=up, now_seconds=now_seconds)

    def _recorded(
        self, deployment: DeploymentState, decision: Decision, result: Written | NotWritten
    ) -> Decision:
        """Record what came of a write, and return the decision with it."""
        uid = deployment.uid
        if isinstance(result, NotWritten):
            if result.failure is not None:
                self._metrics.patch_failures.labels(result.failure).inc()
            if result.is_unconfirmed:
                self._contention.unconfirmed(uid)
                self._histories.record_unconfirmed(uid, decision)
            else:
                self._histories.record_undone(uid, decision)
            return not_applied(decision, result.outcome, result.reason, result.message)
        requested, answered = decision.desired_replicas, result.replicas
        self._contention.wrote(
            uid, requested=requested, answered=answered, now_seconds=self._clock()
        )
        if answered == requested:
            self._histories.record(uid, decision)
            return decision
        self._histories.record_undone(uid, decision)
        if answered == decision.current_replicas:
            cause = (
                f"the API server accepted the write but answered {answered}, as it does when an"
                " admission webhook changes the count"
            )
            return self._failed(decision, "Conflict", cause)
        history = self._histories.of(deployment) or ScalingHistory()
        mutated = replace(
            decision,
            desired_replicas=answered,
            history=_with_answer(history, decision, answered),
            message=decision.message.replace(
                f"New size: {requested}", f"New size: {answered} ({requested} were requested)", 1
            ),
        )
        self._histories.record(uid, mutated)
        return mutated

    def _failed(self, decision: Decision, failure: str, cause: str) -> Decision:
        self._metrics.patch_failures.labels(failure).inc()
        return not_applied(decision, Outcome.FAILED, Reason.FAILED_UPDATE_SCALE, cause)


def _without_choice(decision: Decision, why: str) -> Decision:
    """The decision without the pods that it would have removed."""
    text = f"the ReplicaSet chose the pods to remove: {why}"
    return replace(
        decision,
        message=decision.message.replace(decision.removal, text, 1),
        victims=(),
        removal=text,
    )


def _with_answer(history: ScalingHistory, decision: Decision, answered: int) -> ScalingHistory:
    """The history with the count that an admission webhook chose instead."""
    if decision.policy is None:
        return history
    history = changed(
        history,
        decision.current_replicas,
        answered,
        decision.policy.behavior,
        decision.at_seconds,
    )
    # A 0 that the scaler did not request is somebody else's.
    return replace(history, zeroed_seconds=None)


def not_applied(decision: Decision, outcome: Outcome, reason: Reason, cause: str) -> Decision:
    """Return what came of a decision to change the count that was not applied."""
    wanted = format_replicas(decision.desired_replicas)
    return replace(
        decision,
        outcome=outcome,
        desired_replicas=decision.current_replicas,
        reason=reason,
        message=f"wanted {wanted} but did not write the count: {cause}",
    )
