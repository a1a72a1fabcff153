# SPDX-License-Identifier: Apache-2.0
"""Marks pods with a deletion cost, so that their ReplicaSet deletes them first, and takes it back.

Both are server-side applies of the subresource `status`, which may change annotations but not the
spec. The API server refuses to change a cost that somebody else has set, and taking marks back
leaves a cost that somebody else has set since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.cluster.pod_facts import DELETION_COST, MARK
from scaler.cluster.scale import CALL_TIMEOUT_SECONDS
from scaler.decision.victims import MARK_COST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.kube.client import KubeClient
    from scaler.model import ObjectRef

FIELD_MANAGER = "gpu-scaler-deletion-cost"
APPLY = "application/apply-patch+yaml"


async def mark(client: KubeClient, pod: ObjectRef, uid: str) -> None:
    """Set the deletion cost of a pod.

    Raises:
        Conflict: somebody else has set its cost, or another pod has its name now.
        NotFound: it is gone.
        ApiError: the API refused or did not answer.
    """
    await _apply(client, pod, uid, {DELETION_COST: str(MARK_COST), MARK: "true"})


async def unmark(client: KubeClient, pod: ObjectRef, uid: str) -> None:
    """Take back what `mark` has set, if it is still there; raises as `mark` does."""
    await _apply(client, pod, uid, {})


async def _apply(
    client: KubeClient, pod: ObjectRef, uid: str, annotations: Mapping[str, str]
) -> None:
    metadata = {"name": pod.name, "namespace": pod.namespace, "uid": uid}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"annotations": annotations},
    }
    await client.patch(
        f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status?fieldManager={FIELD_MANAGER}",
        body,
        content_type=APPLY,
        timeout_seconds=CALL_TIMEOUT_SECONDS,
    )
