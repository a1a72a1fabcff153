# SPDX-License-Identifier: Apache-2.0
"""Pure: the average of a GPU's utilization samples over the last seconds."""

from __future__ import annotations

from collections import deque
from operator import mul
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
        # Of each sample, in step. Sums over columns take a tenth of a loop over rows.
        self._times: deque[float] = deque()
        self._percents: deque[float] = deque()
        self._spans: deque[float] = deque()

    def add(self, samples: Iterable[tuple[float, float]]) -> None:
        """Add samples in any order; those not newer than the newest one known are ignored."""
        newest = self._times[-1] if self._times else None
        for at_seconds, percent in sorted(samples):
            if not 0.0 <= percent <= 100.0 or (newest is not None and at_seconds <= newest):
                continue
            span = 0.0 if newest is None else min(at_seconds - newest, MAX_SAMPLE_SPAN_SECONDS)
            if len(self._times) == 1:
                # The very first sample has no predecessor; it speaks for as long as the second.
                self._spans[0] = span
            self._times.append(at_seconds)
            self._percents.append(percent)
            self._spans.append(span)
            newest = at_seconds
        self._trim()

    def clear(self) -> None:
        """Forget everything, for example because the samples' clock was set back."""
        self._times.clear()
        self._percents.clear()
        self._spans.clear()

    def mean_percent(self) -> float | None:
        """Return the mean over the window that ends at the newest sample, None without samples."""
        if not self._times:
            return None
        if len(self._times) == 1:
            return self._percents[0]
        total = sum(self._spans)
        weighted: float = sum(map(mul, self._spans, self._percents))
        start = self._times[-1] - self._window_seconds
        # At most the first two reach back before the window.
        for at_seconds, percent, span, _ in zip(
            self._times, self._percents, self._spans, range(2), strict=False
        ):
            outside = min(span, max(0.0, span - (at_seconds - start)))
            total -= outside
            weighted -= outside * percent
        # The driver counts in whole percents; digits beyond these are the noise of its clock.
        return round(weighted / total, 3)

    def _trim(self) -> None:
        # One sample older than the window stays: it tells when the first one inside began.
        start = self._times[-1] - self._window_seconds if self._times else 0.0
        while len(self._times) > 1 and self._times[1] <= start:
            self._times.popleft()
            self._percents.popleft()
            self._spans.popleft()
