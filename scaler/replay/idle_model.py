# SPDX-License-Identifier: Apache-2.0
"""Pure: what is known of GPUs that were held, idle or free over a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.model import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRow:
    """The GPU time of a pod, of all pods of a workload, or of all pods of a namespace.

    `workload` is None if it is unknown, and for a namespace; `pod` is None but for a single pod.
    `pods` is how many there were in all.
    `average_gpus` is the number of GPUs held between the first and the last reading. Hours are
    GPU-hours: `under_threshold_hours` with a duty cycle under the threshold, also `idle_hours`;
    `unknown_hours` without a reading, between a pod's first and last reading.
    `longest_idle_seconds` is the longest time that one of the GPUs was idle at a stretch.
    `never_used` is whether every reading is 0. `idle_cost` is None if there is no price for one of
    the idle GPUs.
    """

    namespace: str
    workload: ObjectRef | None = None
    pod: str | None = None
    pods: int = 1
    models: tuple[str, ...]
    average_gpus: float
    held_hours: float
    idle_hours: float
    under_threshold_hours: float
    unknown_hours: float
    longest_idle_seconds: float
    never_used: bool
    last_seen_unix_seconds: float
    idle_cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeGpu:
    """A GPU, by its UUID, that no pod held for `free_hours`.

    `free_since_unix_seconds` is when that began, None if the GPU is not free at the end.
    """

    node: str
    gpu: str
    model: str | None
    free_hours: float
    longest_free_seconds: float
    free_since_unix_seconds: float | None
    free_cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleReport:
    """Rows by waste: the highest cost first, then the most idle hours.

    `first_unix_seconds` is the time of the first reading, `last_unix_seconds` the end of the step
    of the last one; both are None if there was no reading. `known_hours` are the GPU-hours with a
    reading, held or free, and `unknown_hours` those without one between a GPU's first and last
    reading. `total` is None if no pod held a GPU. `unpriced` are
    the models of GPUs that have no price. `held`, `idle` and `gpus_free` are the number of GPUs in
    each step that were held, idle while held, and free.
    """

    begun_unix_seconds: float
    first_unix_seconds: float | None
    last_unix_seconds: float | None
    step_seconds: float
    threshold_percent: float
    gpus: int
    known_hours: float
    unknown_hours: float
    total: IdleRow | None
    namespaces: tuple[IdleRow, ...]
    workloads: tuple[IdleRow, ...]
    pods: tuple[IdleRow, ...]
    free: tuple[FreeGpu, ...]
    held: Sequence[float]
    idle: Sequence[float]
    gpus_free: Sequence[float]
    unpriced: tuple[str, ...]
