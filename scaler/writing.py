"""Carrying out one decision: the count is written, or it is said why not and remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.cluster.errors import ApiError
from scaler.cluster.scale import LeaseLost, Replaced, ReplicasChanged, scale_workload
from scaler.model import Decision, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.client import KubeClient
    from scaler.cluster.kinds import Kinds
    from scaler.cluster.zeros import Zeros
    from scaler.histories import Histories
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
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._zeros = zeros
        self._histories = histories
        self._metrics = metrics
        self._leads = leads

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
                await self._write(deployment, decision)
            except ReplicasChanged as changed:
                deployment = replace(deployment, spec_replicas=changed.found)
                decision = decide(deployment)
            except LeaseLost as lost:
                self._histories.keep_undone(uid, decision)
                return not_done(decision, Outcome.HELD, "LeaseLost", str(lost))
            except Replaced as replaced:
                return self._failed(decision, "Replaced", str(replaced))
            except _ZeroUnknown as error:
                self._histories.keep_undone(uid, decision)
                return not_done(decision, Outcome.FAILED, "FailedUpdateScale", str(error))
            except ApiError as error:
                if error.is_refusal():
                    self._histories.keep_undone(uid, decision)
                else:
                    self._histories.keep_unsure(uid, decision)
                # Not its reason: a webhook may give any.
                return self._failed(decision, type(error).__name__, str(error))
            except Exception:
                self._histories.keep_unsure(uid, decision)
                raise
            else:
                self._histories.keep(uid, decision)
                return decision
        self._histories.keep_undone(uid, decision)
        return self._failed(decision, "Conflict", "somebody else keeps writing replicas")

    async def _write(self, deployment: DeploymentState, decision: Decision) -> None:
        await scale_workload(
            self._client,
            deployment.ref,
            kind=self._kinds.of(deployment.ref),
            uid=deployment.uid,
            from_replicas=decision.current_replicas,
            to_replicas=decision.desired_replicas,
            leads=self._leads,
        )

    async def _write_zero_down(self, deployment: DeploymentState) -> None:
        try:
            await self._zeros.add(deployment.ref, deployment.uid)
        except ApiError as error:
            msg = f"that 0 is the scaler's could not be written down: {error}"
            raise _ZeroUnknown(msg) from error

    def _failed(self, decision: Decision, kind: str, why: str) -> Decision:
        self._metrics.patch_failures.labels(kind).inc()
        return not_done(decision, Outcome.FAILED, "FailedUpdateScale", why)


class _ZeroUnknown(Exception):  # noqa: N818
    """Whoever led next would take the 0 for a human's."""


def not_done(decision: Decision, outcome: Outcome, reason: str, why: str) -> Decision:
    """Return what became of a decision that was to change the count, and did not."""
    return replace(
        decision,
        outcome=outcome,
        desired_replicas=decision.current_replicas,
        reason=reason,
        message=f"wanted {decision.desired_replicas} replicas but did not change them: {why}",
    )
