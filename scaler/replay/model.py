# SPDX-License-Identifier: Apache-2.0
"""Pure: what a Deployment's load was, and what a policy would have done with it.

Seconds without another word are from the begin of the recording. Milli units are as in
`scaler.model`. Unknown is `None`, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from scaler.decision.proposals import SATURATING_METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import Metric, ObjectRef

AS_IT_WAS = "as it was"
OURS = "gpu-scaler"
HPA = "HPA"
MAX_TARGETS = 20
"""Targets of one metric that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMetric:
    """One metric of a Deployment, one point per step.

    `demand_milli` is the sum over the pods, or the total of the Deployment; None without data.
    Where `floor` is True a pod was saturated and the demand at least that much.
    """

    metric: Metric
    demand_milli: tuple[int | None, ...]
    floor: tuple[bool, ...]

    @property
    def known_share(self) -> float:
        """The share of the steps with a demand, from 0 to 1."""
        return 1 - self.demand_milli.count(None) / max(1, len(self.demand_milli))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What one Deployment did, one point per step.

    Step n covers `step_seconds` from `begun_unix_seconds + n * step_seconds` on. All series are
    equally long. Of the `metrics`, the first is the one whose targets are compared; there is at
    least one. `replicas` are the pods that the Deployment had, None where unknown.
    `start_seconds` is how long a pod took until it served, None where unknown. `notes` are
    sentences for people about what was found in the data, such as gaps. `annotations` and the
    `targets` of the first metric are the texts of the policy, empty where unknown.
    """

    ref: ObjectRef
    metrics: tuple[RecordedMetric, ...]
    begun_unix_seconds: float
    step_seconds: float
    replicas: tuple[int | None, ...]
    gpus_per_replica: int = 1
    gpu_model: str | None = None
    start_seconds: float | None = None
    notes: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()

    @property
    def metric(self) -> Metric:
        """The metric whose targets are compared."""
        return self.metrics[0].metric

    @property
    def seconds(self) -> float:
        """The length of all steps."""
        return len(self.replicas) * self.step_seconds

    @property
    def saturates(self) -> bool:
        """Whether a metric has a top that pods can be seen at."""
        return any(one.metric in SATURATING_METRICS for one in self.metrics)

    def known(self) -> tuple[bool, ...]:
        """Return for each step whether there is a demand of any metric."""
        return tuple(
            any(demand is not None for demand in here)
            for here in zip(*(one.demand_milli for one in self.metrics), strict=True)
        )

    def floors(self) -> tuple[bool, ...]:
        """Return for each step whether the demand of any metric is only a lower bound."""
        return tuple(any(here) for here in zip(*(one.floor for one in self.metrics), strict=True))

    def known_share(self) -> float:
        """Return the share of the steps with a demand of any metric, from 0 to 1."""
        known = self.known()
        return sum(known) / len(known) if known else 0.0

    def floor_share(self) -> float | None:
        """Return the share of the known steps that are only a lower bound, None without any."""
        known = self.known()
        floors = sum(map(all, zip(known, self.floors(), strict=True)))
        return floors / sum(known) if any(known) else None


class ReplicaStep(NamedTuple):
    """The count from `at_seconds` on; None where it is unknown."""

    at_seconds: float
    replicas: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What one policy would have done with a recording.

    `policy` is `AS_IT_WAS`, `OURS` or `HPA`; `target_milli`, that of the
    first metric, is None for `AS_IT_WAS` and where the target is none. `seconds` is the time in
    which both a demand and the count are known, and
    `gpu_hours` and `saturated_share` are of that time. `saturated_share` is the share, 0 to 1, in
    which the demand of any metric was at least what the ready pods can do; for `AS_IT_WAS` the
    share in which a pod was saturated. It is None without any known time, or where nobody said what
    a pod can do.
    `changes` counts the changes of the count, `highest_replicas` is 0 without any count.
    """

    policy: str
    target_milli: int | None
    gpu_hours: float
    saturated_share: float | None
    changes: int
    highest_replicas: int
    seconds: float
    steps: tuple[ReplicaStep, ...]
