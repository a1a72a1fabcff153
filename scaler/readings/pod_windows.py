# SPDX-License-Identifier: Apache-2.0
"""Pure: the windows of pods' values, for sources that see one value at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scaler.model import MetricReading, PodValue
from scaler.readings.exposition import MIN_STALE_AFTER_SECONDS
from scaler.readings.window import NEEDED_SHARE, PodWindow, not_yet, serving_since

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.model import Metric, ObjectRef, PodState
    from scaler.readings.source import ReadingRequest

STEP_INTERVALS = 3
"""Samples of a window further apart than this many intervals have a gap between them."""


class PodAnswer(NamedTuple):
    """A pod's value, or why there is none, asked for at `asked_seconds` (monotonic).

    `fresh_for_seconds` is how far apart values may be measured, 0 if they are as of the request.
    """

    pod: PodState
    value: PodValue | str
    asked_seconds: float
    fresh_for_seconds: float = 0.0


class PodWindows:
    """A window for each Deployment, pod and metric that is averaged over one."""

    def __init__(self, *, interval_seconds: float) -> None:
        """`interval_seconds` is how often values are read if nothing delays that."""
        self._step_seconds = max(MIN_STALE_AFTER_SECONDS, STEP_INTERVALS * interval_seconds)
        self._reads = 0
        self._read_seconds = 0.0
        self._windows: dict[tuple[ObjectRef, str, Metric], tuple[int, PodWindow]] = {}

    def begin_read(self) -> None:
        """Count a read: a pod that has no value in it has an outage."""
        self._reads += 1

    def end_read(self, requests: Iterable[ReadingRequest], *, read_seconds: float = 0.0) -> None:
        """Forget the windows of others; the next values may come `read_seconds` later."""
        living = {
            (request.deployment, pod.uid, metric)
            for request in requests
            if request.window_seconds > 0
            for pod in request.pods
            for metric in request.metrics
        }
        for key in self._windows.keys() - living:
            del self._windows[key]
        self._read_seconds = read_seconds

    def reading(
        self,
        request: ReadingRequest,
        metric: Metric,
        answers: Iterable[PodAnswer],
        *,
        note: str | None = None,
    ) -> MetricReading:
        """Return the reading of each pod's value, averaged if the request has a window."""
        values: dict[ObjectRef, PodValue] = {}
        missing: dict[ObjectRef, str] = {}
        is_averaged = request.window_seconds > 0
        for answer in answers:
            value = answer.value
            if is_averaged and isinstance(value, PodValue):
                value = self._mean(request, metric, answer, value)
            if isinstance(value, PodValue):
                values[answer.pod.ref] = value
            else:
                missing[answer.pod.ref] = value
        return MetricReading(metric=metric, values=values, missing=missing, note=note)

    def _mean(
        self, request: ReadingRequest, metric: Metric, answer: PodAnswer, value: PodValue
    ) -> PodValue | str:
        """Add a value and return the mean over the window, or why there is none yet."""
        pod, now_seconds = answer.pod, answer.asked_seconds
        key = (request.deployment, pod.uid, metric)
        last_read, before = self._windows.get(key, (0, PodWindow(samples=())))
        step = 0.0
        if last_read == self._reads - 1:
            step = max(self._step_seconds, answer.fresh_for_seconds) + self._read_seconds
        window = before.add(value, window_seconds=request.window_seconds, longest_step_seconds=step)
        self._windows[key] = self._reads, window
        since = max(serving_since(pod, now_seconds), now_seconds - request.window_seconds)
        covered = window.covered_seconds(since, now_seconds)
        if covered < request.window_seconds * NEEDED_SHARE:
            return not_yet(covered, request.window_seconds)
        return window.mean(since)
