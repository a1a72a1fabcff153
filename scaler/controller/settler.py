# SPDX-License-Identifier: Apache-2.0
"""Settles each Deployment's decision on its own: what goes wrong stays with its Deployment."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from scaler.decision.model import Decision, Outcome, Reason, ScalingHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaler.controller.apply import DecisionApplier
    from scaler.controller.history import ScalingHistories
    from scaler.controller.plans import Plan
    from scaler.model import DeploymentState
    from scaler.reporting.notifier import Notifier


class Settler:
    """Decides, applies and announces; an unexpected error becomes a decision that failed."""

    def __init__(
        self,
        applier: DecisionApplier,
        *,
        notifier: Notifier,
        histories: ScalingHistories,
        clock: Callable[[], float],
    ) -> None:
        self._applier = applier
        self._notifier = notifier
        self._histories = histories
        self._clock = clock

    def decide_one(
        self, decide: Callable[[DeploymentState], Decision], deployment: DeploymentState
    ) -> Decision:
        """Return the decision for one Deployment, or that deciding failed."""
        try:
            return decide(deployment)
        except Exception as error:  # noqa: BLE001  (logged with its traceback)
            self._histories.hold(deployment.uid)
            return self._failed(deployment, error)

    async def settle_all(
        self,
        plans: Sequence[Plan],
        decisions: Sequence[Decision],
        decide: Callable[[Plan, DeploymentState], Decision],
        blocked: tuple[Outcome, Reason, str] | None,
    ) -> Sequence[Decision]:
        """Apply and announce the decisions; return what came of each."""
        in_retry_order = sorted(
            zip(plans, decisions, strict=True),
            key=lambda pair: self._applier.retry_order.rank(pair[0].deployment.uid),
        )
        self._applier.begin_loop()
        tasks: dict[str, asyncio.Task[Decision]] = {}
        settled: dict[str, Decision] = {}
        async with asyncio.TaskGroup() as group:
            for plan, decision in in_retry_order:
                uid = plan.deployment.uid
                settling = self._settle(plan.deployment, decision, partial(decide, plan), blocked)
                if decision.outcome is Outcome.SCALED:
                    tasks[uid] = group.create_task(settling)
                else:
                    # Writes nothing, so waits for nothing.
                    settled[uid] = await settling
        settled |= {uid: task.result() for uid, task in tasks.items()}
        return [settled[plan.deployment.uid] for plan in plans]

    async def _settle(
        self,
        deployment: DeploymentState,
        decision: Decision,
        decide: Callable[[DeploymentState], Decision],
        blocked: tuple[Outcome, Reason, str] | None,
    ) -> Decision:
        """Apply one Deployment's decision and announce it; whatever goes wrong stays its own."""
        try:
            decision = await self._applier.apply(deployment, decision, decide, blocked)
        except Exception as error:  # noqa: BLE001  (logged with its traceback)
            decision = self._failed(deployment, error)
        try:
            self._notifier.notify(deployment, decision)
        except Exception as error:  # noqa: BLE001  (logged with its traceback)
            return self._failed(deployment, error)
        return decision

    def _failed(self, deployment: DeploymentState, error: Exception) -> Decision:
        self._notifier.note_failure(deployment, error)
        return Decision(
            ref=deployment.ref,
            current_replicas=deployment.spec_replicas,
            desired_replicas=deployment.spec_replicas,
            outcome=Outcome.FAILED,
            reason=Reason.INTERNAL_ERROR,
            message=f"the decision failed: {type(error).__name__}: {error}; nothing was changed",
            at_seconds=self._clock(),
            history=self._histories.of(deployment) or ScalingHistory(),
        )
