# SPDX-License-Identifier: Apache-2.0
"""Pure: the average of a GPU's utilization samples over the last seconds."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# NVML's own sample period is between 1/6 s and 1 s, depending on the product, so one sample speaks
# for at most this long; what lies further back was not observed and gets no weight.
MAX_SAMPLE_SPAN_SECONDS: Final = 1.0
_MAX_SPAN_MICROSECONDS: Final = round(MAX_SAMPLE_SPAN_SECONDS * 1e6)


class DutyCycleWindow:
    """A rolling history of (time, percent) samples and their time-weighted mean.

    The driver's ring buffer may hold fewer seconds than the window, so samples are kept here for as
    long as the window needs them. Each sample speaks for the time since the one before it. Times
    are microseconds of one clock of the caller's choice; only differences count.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_microseconds = round(window_seconds * 1e6)
        # The time of each sample, its percentage in thousandths, and for how long it speaks.
        self._samples: deque[tuple[int, int, int]] = deque()
        # Sums over all samples, kept up in whole numbers, so that nothing adds up to an error:
        # adding them all up at each reading would take longer than the driver's answer.
        self._total = 0
        self._weighted = 0

    def add(self, samples: Iterable[tuple[int, float]]) -> None:
        """Add samples in any order; those not newer than the newest one known are ignored."""
        known = self._samples
        newest = known[-1][0] if known else None
        for at, percent in sorted(samples):
            if not 0 <= percent <= 100 or (newest is not None and at <= newest):
                continue
            thousandths = round(percent * 1000)
            span = 0
            if newest is not None:
                span = min(at - newest, _MAX_SPAN_MICROSECONDS)
                if len(known) == 1:
                    # The very first sample has no predecessor: it speaks for as long as the second.
                    first_at, first, _ = known.pop()
                    known.append((first_at, first, span))
                    self._total, self._weighted = span, span * first
            known.append((at, thousandths, span))
            self._total += span
            self._weighted += span * thousandths
            newest = at
        # One sample older than the window stays: it tells when the first one inside began.
        start = 0 if newest is None else newest - self._window_microseconds
        while len(self._samples) > 1 and self._samples[1][0] <= start:
            _, thousandths, span = self._samples.popleft()
            self._total -= span
            self._weighted -= span * thousandths

    def clear(self) -> None:
        """Forget everything, for example because the samples' clock was set back."""
        self._samples.clear()
        self._total = self._weighted = 0

    def mean_percent(self) -> float | None:
        """Return the mean over the window that ends at the newest sample, None without samples."""
        if not self._samples:
            return None
        if len(self._samples) == 1:
            return self._samples[0][1] / 1000
        total, weighted = self._total, self._weighted
        start = self._samples[-1][0] - self._window_microseconds
        # At most the first two reach back before the window.
        for at, thousandths, span in islice(self._samples, 2):
            outside = min(span, max(0, span - (at - start)))
            total -= outside
            weighted -= outside * thousandths
        # The driver counts in whole percents; more digits say nothing.
        return round(weighted / total / 1000, 3)
