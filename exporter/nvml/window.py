# SPDX-License-Identifier: Apache-2.0
"""Pure: the average of a GPU's utilization samples over the last seconds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# NVML's own sample period is between 1/6 s and 1 s, depending on the product, so one sample speaks
# for at most this long; what lies further back was not observed and gets no weight.
MAX_SAMPLE_SPAN_SECONDS: Final = 1.0


class DutyCycleWindow:
    """A rolling history of (time, percent) samples and their time-weighted mean.

    The driver's ring buffer may hold fewer seconds than the window, so samples are kept here for as
    long as the window needs them. Each sample speaks for the time since the one before it. Times
    are seconds of one clock of the caller's choice; only differences count.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, samples: Iterable[tuple[float, float]]) -> None:
        """Add samples in any order; those not newer than the newest one known are ignored."""
        newest = self._samples[-1][0] if self._samples else float("-inf")
        for at_seconds, percent in sorted(samples):
            if at_seconds > newest and 0.0 <= percent <= 100.0:
                self._samples.append((at_seconds, percent))
                newest = at_seconds
        self._trim()

    def clear(self) -> None:
        """Forget everything, for example because the samples' clock was set back."""
        self._samples.clear()

    def mean_percent(self) -> float | None:
        """Return the mean over the window that ends at the newest sample, None without samples."""
        if not self._samples:
            return None
        if len(self._samples) == 1:
            return self._samples[0][1]
        start = self._samples[-1][0] - self._window_seconds
        weighted = total = 0.0
        previous: float | None = None
        for at_seconds, percent in self._samples:
            # The very first sample has no predecessor; it counts like a sample of its successor's
            # span.
            before = 2 * at_seconds - self._samples[1][0] if previous is None else previous
            span = at_seconds - max(before, start, at_seconds - MAX_SAMPLE_SPAN_SECONDS)
            if span > 0:
                weighted += span * percent
                total += span
            previous = at_seconds
        # The driver counts in whole percents; digits beyond these are the noise of its clock.
        return round(weighted / total, 3)

    def _trim(self) -> None:
        # One sample older than the window stays: it tells when the first one inside began.
        start = self._samples[-1][0] - self._window_seconds if self._samples else 0.0
        while len(self._samples) > 1 and self._samples[1][0] <= start:
            self._samples.popleft()
