# SPDX-License-Identifier: Apache-2.0
"""Pure: what a person can do about the reason of a decision; docs/troubleshooting.md says more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scaler.decision.model import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

NEXT_STEPS: Final[Mapping[Reason, str | None]] = {
    Reason.SUCCESSFUL_RESCALE: None,
    Reason.DESIRED_WITHIN_RANGE: None,
    Reason.TOO_FEW_REPLICAS: None,
    Reason.DRY_RUN: "To let it scale, remove gpu-scaler/dry-run, or the scaler's flag --dry-run.",
    Reason.FAILED_GET_PODS_METRIC: (
        "Look at the reasons of the pods below. If no pod serves yet, wait for the ready age."
    ),
    Reason.FAILED_GET_EXTERNAL_METRIC: "Run the query or read the queue's page by hand.",
    Reason.INCOMPLETE_METRICS: "Look at the pods below that have no value, and why.",
    Reason.TOO_MANY_REPLICAS: "Raise gpu-scaler/max-replicas if more GPUs may be used.",
    Reason.SCALE_UP_LIMIT: "Wait, or relax the scale-up policies in gpu-scaler/behavior.",
    Reason.SCALE_DOWN_LIMIT: "Wait, or relax the scale-down policies in gpu-scaler/behavior.",
    Reason.SCALE_UP_STABILIZED: (
        "Wait, or shorten scaleUp.stabilizationWindowSeconds in gpu-scaler/behavior."
    ),
    Reason.SCALE_DOWN_STABILIZED: (
        "Wait, or shorten scaleDown.stabilizationWindowSeconds in gpu-scaler/behavior."
    ),
    Reason.COOLING_DOWN: "Wait, or shorten gpu-scaler/cooldown.",
    Reason.WAITING_FOR_IDLE_PODS: (
        "Wait, or raise gpu-scaler/scale-down-max-busy or lower gpu-scaler/scale-down-patience."
    ),
    Reason.INSUFFICIENT_GPU: (
        "Add GPU nodes, free GPUs that idle (see the GPU map), or lower gpu-scaler/max-replicas."
    ),
    Reason.HIGHER_PRIORITY_WAITS: (
        "Wait, free GPUs that idle (see the GPU map), or compare gpu-scaler/priority of the two."
    ),
    Reason.UNSCHEDULABLE: "Read the scheduler's events: kubectl describe pod.",
    Reason.CONTENDED_REPLICAS: "Find what else writes the replica count, and stop it.",
    Reason.OUT_OF_CONTACT: "Check the scaler's role in this namespace and for this kind.",
    Reason.WAITING_FOR_ITS_TURN: (
        "Nothing to do. If it lasts, find what changes hundreds of Deployments at once."
    ),
    Reason.UNKNOWN_ZERO: "Check the scaler's role in its own namespace.",
    Reason.LEASE_LOST: "Nothing to do. If it repeats, the API server is slow.",
    Reason.SCALING_STOPPED: "To resume, remove the annotation of the Lease that stops all scaling.",
    Reason.INVALID_ANNOTATION: (
        "Correct the annotations below. gpu-scaler check FILE finds them before they are applied."
    ),
    Reason.TARGETED_BY_OTHER_CONTROLLER: "Delete one of the two autoscalers.",
    Reason.PAUSED: "To resume, remove gpu-scaler/paused.",
    Reason.SCALING_DISABLED: "Set the replica count to 1 or more: kubectl scale.",
    Reason.FAILED_UPDATE_SCALE: "If the message says forbidden, apply the scaler's roles again.",
    Reason.INTERNAL_ERROR: "Report the traceback in the scaler's log.",
}
"""None where nothing needs to be done."""
