# SPDX-License-Identifier: Apache-2.0
"""Pure: averages over `gpu-scaler/window`, and how much of a window samples cover.

Samples from before a pod was Ready show only its loading. A window counts by the seconds that
samples cover: two samples with an outage between them say nothing about the outage.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.model import ObjectRef, PodState, PodValue

NEEDED_SHARE = 1 / 2
"""The part of a window that samples must cover."""
RANGES = 20
"""How many lengths a shortened Prometheus window may have: each is a part of the query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodWindow:
    """The distinct samples of one pod and metric, oldest first.

    Each is with how long before it samples were continuous, in seconds.
    """

    samples: tuple[tuple[PodValue, float], ...]

    def add(
        self, value: PodValue, *, window_seconds: float, longest_step_seconds: float = 0.0
    ) -> PodWindow:
        """Return the window with `value` and without samples older than the window.

        The time since the previous sample is covered if it is at most `longest_step_seconds`.
        """
        step = math.inf
        if self.samples:
            step = value.sampled_seconds - self.samples[-1][0].sampled_seconds
            if step <= 0:
                return self
        oldest = value.sampled_seconds - window_seconds
        kept = [pair for pair in self.samples if pair[0].sampled_seconds >= oldest]
        kept.append((value, step if step <= longest_step_seconds else 0.0))
        return PodWindow(samples=tuple(kept))

    def covered_seconds(self, since_seconds: float, now_seconds: float) -> float:
        """Return how many seconds since then samples cover; the newest one counts until now."""
        if not self.samples or self.samples[-1][0].sampled_seconds < since_seconds:
            return 0.0
        covered = sum(
            min(covers, sample.sampled_seconds - since_seconds)
            for sample, covers in self.samples
            if sample.sampled_seconds >= since_seconds
        )
        return covered + max(0.0, now_seconds - self.samples[-1][0].sampled_seconds)

    def mean(self, since_seconds: float = -math.inf) -> PodValue:
        """Return the newest sample with the mean of all values since then, rounded up."""
        values = [s.value_milli for s, _ in self.samples if s.sampled_seconds >= since_seconds]
        return replace(self.samples[-1][0], value_milli=-(-sum(values) // len(values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRanges:
    """A Prometheus window, and the pods for which it must be shorter.

    `milliseconds` is its length for pods that have been Ready for less than the window. `too_young`
    is how many seconds the pods have been Ready that have too few samples.
    """

    window_seconds: float
    milliseconds: Mapping[ObjectRef, int] = field(default_factory=dict)
    too_young: Mapping[ObjectRef, float] = field(default_factory=dict)

    def pods_by_length(self) -> Mapping[int, Sequence[str]]:
        """Return the names of the pods by shorter length."""
        names: defaultdict[int, set[str]] = defaultdict(set)
        for pod, milliseconds in self.milliseconds.items():
            names[milliseconds].add(pod.name)
        return {milliseconds: sorted(some) for milliseconds, some in names.items()}


def serving_since(pod: PodState, now_seconds: float) -> float:
    """Return since when a pod's samples show it serving, or now if none do.

    For a pod that is not Ready now, this covers the time that it has served before.
    """
    if pod.ready_since_seconds is not None:
        return min(pod.ready_since_seconds, now_seconds)
    return now_seconds - (pod.served_seconds or 0.0)


def pod_ranges(pods: Iterable[PodState], window_seconds: float, now_seconds: float) -> PodRanges:
    """Return how much of the window each pod's samples may be averaged over."""
    quantum = window_seconds / RANGES
    milliseconds: dict[ObjectRef, int] = {}
    too_young: dict[ObjectRef, float] = {}
    for pod in pods:
        seconds = now_seconds - serving_since(pod, now_seconds)
        if seconds < window_seconds * NEEDED_SHARE:
            too_young[pod.ref] = seconds
        elif seconds < window_seconds:
            milliseconds[pod.ref] = int(math.floor(seconds / quantum) * quantum * 1000)
    return PodRanges(window_seconds=window_seconds, milliseconds=milliseconds, too_young=too_young)


def not_yet(covered_seconds: float, window_seconds: float) -> str:
    """Return why a pod has no mean yet."""
    return (
        f"samples cover only {math.floor(covered_seconds)} s of the {window_seconds:g} s window"
        " since the pod became Ready; half of it is required"
    )
