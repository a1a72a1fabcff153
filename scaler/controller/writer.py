"""Carrying out one decision: the count is written, or it is said why not and remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.cluster.scale import LeaseLost, Replaced, ReplicasChanged, scale_workload
from scaler.decision.behavior import with_change
from scaler.decision.contention import Contention
from scaler.decision.model import Decision, Outcome, Reason, ScalingHistory
from scaler.kube.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from scaler.cluster.kinds import Kinds
    from scaler.cluster.scale_to_zero_store import Zeros
    from scaler.controller.history import Histories
    from scaler.kube.client import KubeClient
    from scaler.model import DeploymentState
    from scaler.reporting.metrics import ScalerMetrics

MAX_DECISIONS_PER_LOOP = 3


class Writer:
    """Writes counts; `leads` is asked in the last moment before each write."""

    def __init__(
        self,
        client: KubeClient,
        *,
        kinds: Kinds,
        zeros: Zeros,
        histories: Histories,
        metrics: ScalerMetrics,
        leads: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._zeros = zeros
        self._histories = histories
        self._metrics = metrics
        self._leads = leads
        self._clock = clock
        self._contention = Contention()

    def heed_others(self, deployment: DeploymentState, decision: Decision) -> Decision:
        """Return the decision, held where somebody else keeps setting the count."""
        uid, now = deployment.uid, self._clock()
        self._contention.shown(uid, deployment.spec_replicas, now)
        why = self._contention.why_not(uid, now)
        wanted = decision.outcome is Outcome.SCALED or (
            decision.outcome is Outcome.UNCHANGED and decision.proposed != decision.current_replicas
        )
        if why is None or not wanted:
            return decision
        if decision.outcome is Outcome.UNCHANGED:
            return replace(
                decision, outcome=Outcome.HELD, reason=Reason.CONTENDED_REPLICAS, message=why
            )
        up = decision.desired_replicas > decision.current_replicas
        if self._contention.may_write(uid, up=up, now_seconds=now):
            return decision
        self._histories.keep_undone(uid, decision)
        held = not_done(decision, Outcome.HELD, Reason.CONTENDED_REPLICAS, why)
        return replace(held, history=self._histories.of(deployment) or ScalingHistory())

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other workloads."""
        self._contention.keep_only(uids)

    async def carry_out(
        self,
        deployment: DeploymentState,
        decision: Decision,
        decide: Callable[[DeploymentState], Decision],
    ) -> Decision:
        """Patch the scale; where the count was not the one decided from, `decide` from it."""
        uid = deployment.uid
        for _ in range(MAX_DECISIONS_PER_LOOP):
            if decision.outcome is not Outcome.SCALED:
                self._histories.keep(uid, decision)
                return decision
            try:
                if decision.desired_replicas == 0:
                    await self._write_zero_down(deployment)
                answered = await self._write(deployment, decision)
            except ReplicasChanged as changed:
                if decision.desired_replicas == 0:
                    self._zeros.withdraw(uid)
                deployment = replace(deployment, spec_replicas=changed.found)
                decision = self.heed_others(deployment, decide(deployment))
            except LeaseLost as lost:
                self._histories.keep_undone(uid, decision)
                return not_done(decision, Outcome.HELD, Reason.LEASE_LOST, str(lost))
            except Replaced as replaced:
                # The watch may go on showing the old one for a while.
                self._histories.keep_undone(uid, decision)
                return self._failed(decision, "Replaced", str(replaced))
            except _ZeroUnknown as error:
                self._histories.keep_undone(uid, decision)
                return not_done(decision, Outcome.FAILED, Reason.FAILED_UPDATE_SCALE, str(error))
            except ApiError as error:
                return self._not_written(uid, decision, error)
            except Exception:
                self._contention.unsure(uid)
                self._histories.keep_unsure(uid, decision)
                raise
            else:
                return self._written(deployment, decision, answered)
        self._histories.keep_undone(uid, decision)
        return self._failed(decision, "Conflict", "somebody else keeps writing replicas")

    def _not_written(self, uid: str, decision: Decision, error: ApiError) -> Decision:
        if error.is_refusal():
            self._histories.keep_undone(uid, decision)
        else:
            self._contention.unsure(uid)
            self._histories.keep_unsure(uid, decision)
        # Not its reason: a webhook may give any.
        return self._failed(decision, type(error).__name__, str(error))

    def _written(self, deployment: DeploymentState, decision: Decision, answered: int) -> Decision:
        """Remember a write with the count that came of it, which others may have changed."""
        uid, asked = deployment.uid, decision.desired_replicas
        self._contention.wrote(uid, asked=asked, answered=answered, now_seconds=self._clock())
        if answered == asked:
            self._histories.keep(uid, decision)
            return decision
        self._histories.keep_undone(uid, decision)
        if answered == decision.current_replicas:
            why = (
                f"the API server took the write and answered {answered}, as an admission webhook"
                " makes it do"
            )
            return self._failed(decision, "Conflict", why)
        history = self._histories.of(deployment) or ScalingHistory()
        if decision.policy is not None:
            history = with_change(
                history,
                decision.current_replicas,
                answered,
                decision.policy.behavior,
                decision.at_seconds,
            )
            # A 0 that was not asked for is somebody else's.
            history = replace(history, zeroed_seconds=None)
        changed = replace(
            decision,
            desired_replicas=answered,
            history=history,
            message=decision.message.replace(
                f"New size: {asked}", f"New size: {answered} ({asked} were asked for)", 1
            ),
        )
        self._histories.keep(uid, changed)
        return changed

    async def _write(self, deployment: DeploymentState, decision: Decision) -> int:
        return await scale_workload(
            self._client,
            deployment.ref,
            kind=self._kinds.of(deployment.ref),
            uid=deployment.uid,
            from_replicas=decision.current_replicas,
            to_replicas=decision.desired_replicas,
            leads=self._leads,
            read=lambda found: self._note_read(deployment, decision, found),
        )

    def _note_read(self, deployment: DeploymentState, decision: Decision, found: int) -> None:
        """Note a count just before the write; raises ReplicasChanged where it is contended now."""
        uid, now = deployment.uid, self._clock()
        self._contention.read(uid, found, now)
        up = decision.desired_replicas > found
        contended = self._contention.why_not(uid, now) is not None
        if contended and not self._contention.may_write(uid, up=up, now_seconds=now):
            raise ReplicasChanged(deployment.ref, expected=decision.current_replicas, found=found)

    async def _write_zero_down(self, deployment: DeploymentState) -> None:
        try:
            await self._zeros.add(deployment.ref, deployment.uid)
        except ApiError as error:
            msg = f"could not record that gpu-scaler scaled this Deployment to zero: {error}"
            raise _ZeroUnknown(msg) from error

    def _failed(self, decision: Decision, kind: str, why: str) -> Decision:
        self._metrics.patch_failures.labels(kind).inc()
        return not_done(decision, Outcome.FAILED, Reason.FAILED_UPDATE_SCALE, why)


class _ZeroUnknown(Exception):  # noqa: N818
    """Whoever led next would take the 0 for a human's."""


def not_done(decision: Decision, outcome: Outcome, reason: Reason, why: str) -> Decision:
    """Return what became of a decision that was to change the count, and did not."""
    return replace(
        decision,
        outcome=outcome,
        desired_replicas=decision.current_replicas,
        reason=reason,
        message=f"wanted {decision.desired_replicas} replicas but did not change them: {why}",
    )
