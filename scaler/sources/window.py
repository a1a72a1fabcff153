"""Pure: averages over `gpu-scaler/window` from the samples that were seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaler.model import PodValue


@dataclass(frozen=True, slots=True, kw_only=True)
class PodWindow:
    """The distinct samples of one pod and metric, oldest first, and since when they are whole."""

    samples: tuple[PodValue, ...]

    def add(self, value: PodValue, *, window_seconds: float) -> PodWindow:
        """Return the window with `value` in it and without samples older than the window."""
        if self.samples and value.sampled_seconds <= self.samples[-1].sampled_seconds:
            return self
        oldest = value.sampled_seconds - window_seconds
        kept = tuple(s for s in self.samples if s.sampled_seconds >= oldest)
        return PodWindow(samples=(*kept, value))

    def span_seconds(self) -> float:
        """Return how much time lies between the oldest and the newest sample."""
        return self.samples[-1].sampled_seconds - self.samples[0].sampled_seconds

    def mean(self) -> PodValue:
        """Return the newest sample with the mean value of all."""
        total = sum(sample.value_milli for sample in self.samples)
        return replace(self.samples[-1], value_milli=total // len(self.samples))
