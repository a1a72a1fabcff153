# SPDX-License-Identifier: Apache-2.0
"""Writing one replica count: it says what came of the write, and decides and remembers nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from scaler.cluster.scale import (
    CountChanged,
    Replaced,
    VersionedScale,
    Written,
    read_scale,
    write_scale,
)
from scaler.decision.model import Outcome, Reason
from scaler.kube.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.kinds import Kinds
    from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
    from scaler.kube.client import KubeClient
    from scaler.model import DeploymentState


@dataclass(frozen=True, slots=True, kw_only=True)
class NotWritten:
    """Nothing was written, and why; `outcome` and `reason` are those of the decision.

    `failure` is the label in `gpu_scaler_patch_failures_total`, None where nothing failed.
    `is_unconfirmed` is whether the write may take effect all the same: it had no answer.
    """

    outcome: Outcome
    reason: Reason
    message: str
    failure: str | None = None
    is_unconfirmed: bool = False


WriteResult: TypeAlias = "Written | CountChanged | NotWritten"


class ScaleWriter:
    """Reads and writes the counts of workloads; asks `leads` just before each write."""

    def __init__(
        self,
        client: KubeClient,
        *,
        kinds: Kinds,
        scale_to_zero: ScaleToZeroStore,
        leads: Callable[[], bool],
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._scale_to_zero = scale_to_zero
        self._leads = leads

    async def record_zero(self, deployment: DeploymentState) -> NotWritten | None:
        """Record that gpu-scaler is about to scale to zero; return why not.

        Without the record the next leader would take the 0 for a human's.
        """
        try:
            await self._scale_to_zero.add(deployment.ref, deployment.uid)
        except ApiError as error:
            return NotWritten(
                outcome=Outcome.FAILED,
                reason=Reason.FAILED_UPDATE_SCALE,
                message=f"could not record that gpu-scaler scaled this Deployment to zero: {error}",
            )
        return None

    async def read(self, deployment: DeploymentState) -> VersionedScale | NotWritten:
        """Return the scale that the API server has now."""
        try:
            return await read_scale(
                self._client,
                deployment.ref,
                kind=self._kinds.of(deployment.ref),
                uid=deployment.uid,
            )
        except (Replaced, ApiError) as error:
            return _failed(error)

    async def write(
        self, deployment: DeploymentState, scale: VersionedScale, replicas: int
    ) -> WriteResult:
        """Write a count in place of the one of `scale`."""
        if not self._leads():
            message = "this replica is no longer the leader"
            return NotWritten(outcome=Outcome.HELD, reason=Reason.LEASE_LOST, message=message)
        try:
            return await write_scale(
                self._client,
                deployment.ref,
                kind=self._kinds.of(deployment.ref),
                uid=deployment.uid,
                scale=scale,
                to_replicas=replicas,
            )
        except (Replaced, ApiError) as error:
            return _failed(error)


def _failed(error: Replaced | ApiError) -> NotWritten:
    # The watch may go on showing a replaced workload for a while.
    return NotWritten(
        outcome=Outcome.FAILED,
        reason=Reason.FAILED_UPDATE_SCALE,
        message=str(error),
        # The class and not the API server's own reason: a webhook may answer any.
        failure=type(error).__name__,
        is_unconfirmed=isinstance(error, ApiError) and not error.is_refusal(),
    )
