# SPDX-License-Identifier: Apache-2.0
"""Pure: what a Deployment's load was, and what a policy would have done with it.

Seconds without another word are from the begin of the recording. Milli units are as in
`scaler.model`. Unknown is `None`, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scaler.model import Metric, ObjectRef

AS_IT_WAS = "as it was"
OURS = "gpu-scaler"
HPA = "HPA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What one Deployment did, one point per step.

    Step n covers `step_seconds` from `begun_unix_seconds + n * step_seconds` on. The three series
    are equally long. `demand_milli` is the sum over the pods, or the total of the Deployment; None
    without data. Where `floor` is True a pod was saturated and the demand at least that much.
    `replicas` are the pods that the Deployment had, None where unknown. `start_seconds` is how long
    a pod took until it served, None where unknown. `notes` are sentences for people about what was
    found in the data, such as gaps.
    """

    ref: ObjectRef
    metric: Metric
    begun_unix_seconds: float
    step_seconds: float
    demand_milli: tuple[int | None, ...]
    floor: tuple[bool, ...]
    replicas: tuple[int | None, ...]
    gpus_per_replica: int = 1
    gpu_model: str | None = None
    start_seconds: float | None = None
    notes: tuple[str, ...] = ()


class ReplicaStep(NamedTuple):
    """The count from `at_seconds` on; None where it is unknown."""

    at_seconds: float
    replicas: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What one policy would have done with a recording.

    `policy` is `AS_IT_WAS`, `OURS` or `HPA`; `target_milli` is None for `AS_IT_WAS` and where the
    target is none. `seconds` is the time in which both the demand and the count are known, and
    `gpu_hours` and `saturated_share` are of that time. `saturated_share` is the share, 0 to 1, in
    which the demand was at least what the ready pods can do; for `AS_IT_WAS` the share in which a
    pod was saturated. It is None without any known time, or where nobody said what a pod can do.
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
