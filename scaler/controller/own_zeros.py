# SPDX-License-Identifier: Apache-2.0
"""Which Deployments gpu-scaler scaled to zero, kept in step with the record in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
    from scaler.controller.history import ScalingHistories
    from scaler.controller.plans import Plan


async def adopt_scale_to_zero(
    store: ScaleToZeroStore, histories: ScalingHistories, plans: Sequence[Plan]
) -> None:
    """Take over what a former leader recorded, and what belongs to a Deployment that is back.

    A Deployment is back when its annotation is, or when its scale can be read again.
    """
    just_loaded = await store.load()
    for plan in plans:
        uid, history = plan.deployment.uid, histories.of(plan.deployment)
        # A Deployment decided on before: its 0 is a human's, or known to be the scaler's.
        undecided = history is None or (just_loaded and not history.recommendations)
        if undecided and uid in store.uids:
            histories.adopt_zero(uid)


async def reconcile_scale_to_zero(
    store: ScaleToZeroStore, histories: ScalingHistories, plans: Sequence[Plan]
) -> None:
    """Drop the records of Deployments that have replicas again, and restore deleted ones."""
    if store.uids:
        shown = [plan.deployment for plan in plans if plan.deployment.out_of_contact is None]
        counts = {deployment.uid: deployment.spec_replicas for deployment in shown}
        await store.reconcile(counts, histories.own_zeros())
