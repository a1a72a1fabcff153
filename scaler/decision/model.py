# SPDX-License-Identifier: Apache-2.0
"""Pure: what a decision is made of: scaling history, proposals, limits, conditions, outcomes.

Instants and milli units are as in `scaler.model`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from scaler.budgets import clipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import AnnotationProblem, Metric, ObjectRef, PodValue, ScalingPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A replica count recommended at some instant, before stabilization.

    `down_only` is a count that was found rather than computed (after a start, a takeover or a
    hold): it limits scaling down and not scaling up.
    """

    replicas: int
    at_seconds: float
    down_only: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleEvent:
    """A change that was made: `change` pods were added or removed, always positive."""

    change: int
    at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingHistory:
    """What stabilization and rate limits remember of one Deployment; replaced, never edited.

    `zeroed_seconds` is when the scaler scaled to zero, None otherwise, so that a 0 set by a human
    stays one. `active_seconds` is when the metrics last asked for a pod, None before the first
    decision. `draining_since_seconds` is since when a scale-down has waited for idle pods. `held`
    is True from a hold or a gap in the loop until something is computed again. `replicas` is the
    count as it was left, None before the first decision; `replaced` is the one before the last
    change, at `replaced_seconds`.
    """

    recommendations: tuple[Recommendation, ...] = ()
    scale_ups: tuple[ScaleEvent, ...] = ()
    scale_downs: tuple[ScaleEvent, ...] = ()
    zeroed_seconds: float | None = None
    active_seconds: float | None = None
    draining_since_seconds: float | None = None
    held: bool = field(default=False, compare=False)
    replicas: int | None = field(default=None, compare=False)
    replaced: int | None = field(default=None, compare=False)
    replaced_seconds: float | None = field(default=None, compare=False)

    @property
    def scaled_to_zero(self) -> bool:
        """Whether the scaler scaled to zero."""
        return self.zeroed_seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutPod:
    """A pod whose value a proposal left out, and why."""

    pod: ObjectRef
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A pod that a scale-down removes, and why it is this one.

    `needs_mark` is whether the ReplicaSet takes it only because of a mark.
    """

    pod: ObjectRef
    uid: str
    why: str
    needs_mark: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricProposal:
    """What one metric proposes, with everything that `explain` shows about it.

    `replicas` is None where the metric could not be used; `problem` then says why.
    `mean_milli` is the mean over the pods counted, before any padding.
    `complete` is False where a serving pod had no fresh value: such a proposal never scales down.
    `missing_pods` is the number of such pods.
    `unheld_replicas` is the lower count that missing values hold back, None without a hold.
    `saturated` is True where growth past the HPA's arithmetic applied (contract 3, point 3).
    `waits_for` says what has to happen before all requested pods count, None where they do.
    `target_milli` is None for a queue that only says whether any pod is needed.
    `note` says how the values were found, such as which model server the pods run.
    """

    metric: Metric
    target_milli: int | None
    replicas: int | None
    mean_milli: int | None
    values: Mapping[ObjectRef, PodValue]
    left_out: tuple[LeftOutPod, ...] = ()
    complete: bool = True
    missing_pods: int = 0
    unheld_replicas: int | None = None
    saturated: bool = False
    problem: str | None = None
    waits_for: str | None = None
    note: str | None = None

    def above_target(self, tolerance: float) -> bool:
        """Whether the mean is above the target by more than the tolerance."""
        if self.mean_milli is None or self.target_milli is None:
            return False
        return self.mean_milli > self.target_milli * (1 + tolerance)


class Reason(StrEnum):
    """Why a decision came out as it did, as tables, events and metrics name it.

    The HPA's word where it has one. Each has a row in docs/troubleshooting.md or docs/scaler.md and
    a name on the status page (`scaler/web/wording.py`).
    """

    SUCCESSFUL_RESCALE = "SuccessfulRescale"
    DESIRED_WITHIN_RANGE = "DesiredWithinRange"
    DRY_RUN = "DryRun"
    FAILED_GET_PODS_METRIC = "FailedGetPodsMetric"
    FAILED_GET_EXTERNAL_METRIC = "FailedGetExternalMetric"
    INCOMPLETE_METRICS = "IncompleteMetrics"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    TOO_FEW_REPLICAS = "TooFewReplicas"
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    SCALE_UP_STABILIZED = "ScaleUpStabilized"
    SCALE_DOWN_STABILIZED = "ScaleDownStabilized"
    COOLING_DOWN = "CoolingDown"
    WAITING_FOR_IDLE_PODS = "WaitingForIdlePods"
    INSUFFICIENT_GPU = "InsufficientGPU"
    HIGHER_PRIORITY_WAITS = "HigherPriorityWaits"
    UNSCHEDULABLE = "Unschedulable"
    CONTENDED_REPLICAS = "ContendedReplicas"
    OUT_OF_CONTACT = "OutOfContact"
    WAITING_FOR_ITS_TURN = "WaitingForItsTurn"
    UNKNOWN_ZERO = "UnknownZero"
    LEASE_LOST = "LeaseLost"
    SCALING_STOPPED = "ScalingStopped"
    INVALID_ANNOTATION = "InvalidAnnotation"
    TARGETED_BY_OTHER_CONTROLLER = "TargetedByOtherController"
    PAUSED = "Paused"
    SCALING_DISABLED = "ScalingDisabled"
    FAILED_UPDATE_SCALE = "FailedUpdateScale"
    INTERNAL_ERROR = "InternalError"


class ConditionType(StrEnum):
    """Condition types of the HPA's status."""

    ABLE_TO_SCALE = "AbleToScale"
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition in the HPA's words, such as `ScalingLimited` True `TooManyReplicas`."""

    type: ConditionType
    status: bool
    reason: str
    message: str

    def __post_init__(self) -> None:
        """Clip the message to its budget."""
        object.__setattr__(self, "message", clipped(self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLimit:
    """A step of stabilization or limits that changed the count, in the HPA's words."""

    reason: Reason
    message: str
    replicas_before: int
    replicas_after: int


class Outcome(StrEnum):
    """The outcome of one Deployment in one loop."""

    SCALED = "scaled"
    UNCHANGED = "unchanged"
    HELD = "held"
    DRY_RUN = "dry-run"
    PAUSED = "paused"
    DISABLED = "disabled"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One Deployment's decision with its reasons; the controller applies it.

    `desired_replicas` equals `current_replicas` unless something is to be changed. `proposed` is
    the highest proposal before stabilization and limits, None where nothing could be computed;
    `limits` are the steps that changed it on the way to `desired_replicas`.
    `outcome` is SCALED when the count is to change; the controller turns it into FAILED if the
    API refuses. `reason` is for tables and events, `message` is the sentence.
    `victims` are the pods that a scale-down removes, if it chooses any, and `removal` is what
    `message` says of them.
    `history` is the history to keep if the decision is applied.
    `waits_behind` is the workload of a higher priority whose pods get the next GPUs; `gpu_waits`
    are sentences about priorities that limit others or limit nobody.
    """

    ref: ObjectRef
    current_replicas: int
    desired_replicas: int
    outcome: Outcome
    reason: Reason
    message: str
    at_seconds: float
    policy: ScalingPolicy | None = None
    problems: tuple[AnnotationProblem, ...] = ()
    proposals: tuple[MetricProposal, ...] = ()
    proposed: int | None = None
    limits: tuple[AppliedLimit, ...] = ()
    conditions: tuple[Condition, ...] = ()
    victims: tuple[Victim, ...] = ()
    removal: str = ""
    history: ScalingHistory = field(default_factory=ScalingHistory)
    waits_behind: ObjectRef | None = None
    gpu_waits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Clip the message to its budget, once for every reader."""
        object.__setattr__(self, "message", clipped(self.message))

    def is_held(self) -> bool:
        """Whether the count stays although another one is, or may be, wanted."""
        if self.outcome is Outcome.UNCHANGED:
            return self.reason is not Reason.DESIRED_WITHIN_RANGE
        return self.outcome is Outcome.HELD

    @property
    def above_target(self) -> bool:
        """Whether the mean of a metric is above its target by more than the tolerance."""
        if self.policy is None:
            return False
        tolerance = self.policy.behavior.scale_up.tolerance
        return any(item.above_target(tolerance) for item in self.proposals)
