# SPDX-License-Identifier: Apache-2.0
"""Shares of time from the driver's own sample buffer, averaged over a window."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.nvml.calls import (
    ABSENT,
    STAMPS_MICROSECONDS,
    NvmlError,
    field_of,
    member_of,
    raise_if_gone,
)
from exporter.nvml.window import DutyCycleWindow

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.nvml.calls import Calls
    from exporter.nvml.gpu import Gpu

_SAMPLES: Final = "nvmlDeviceGetSamples"
# A buffer without a new sample for this long (or the window, if longer) is not trusted any more.
_BUFFER_STALLED_SECONDS: Final = 5.0
_NOTHING_NEW: Final = frozenset({"NOT_FOUND"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What is averaged: a kind of samples, and the same in nvmlUtilization_t as a fallback."""

    samples: str
    rate: str


KERNELS: Final = Meter(samples="NVML_GPU_UTILIZATION_SAMPLES", rate="gpu")
MEMORY: Final = Meter(samples="NVML_MEMORY_UTILIZATION_SAMPLES", rate="memory")


class _History:
    """What the duty cycle of one GPU is averaged from."""

    def __init__(self, window_seconds: float) -> None:
        self.samples = DutyCycleWindow(window_seconds)
        self.instants = DutyCycleWindow(window_seconds)
        self.cursor_microseconds = 0
        self.newest_microseconds = 0
        self.progress_seconds = time.monotonic()
        self.is_measured = False


class DutyCycles:
    """The averages of one meter over a window in seconds, for all GPUs."""

    def __init__(self, calls: Calls, meter: Meter, window_seconds: float) -> None:
        self._calls = calls
        self._meter = meter
        self._window_seconds = window_seconds
        self._histories: dict[str, _History] = {}

    def keep(self, uuids: Collection[str]) -> None:
        """Forget all other devices."""
        for uuid in self._histories.keys() - uuids:
            del self._histories[uuid]

    def percent(self, gpu: Gpu) -> float | None:
        """Return the mean over the window, 0 to 100; raises NvmlError if the device is gone."""
        calls = self._calls
        history = self._histories.get(gpu.device.uuid)
        if history is None:
            history = self._histories[gpu.device.uuid] = _History(self._window_seconds)
        history.is_measured = False
        if gpu.lacks(_SAMPLES, self._meter.samples):
            return self._instantaneous(gpu, history)
        try:
            value_type, samples = calls.call(
                _SAMPLES,
                gpu.handle,
                getattr(calls.binding, self._meter.samples),
                history.cursor_microseconds,
                expected=_NOTHING_NEW,
            )
        except NvmlError as error:
            raise_if_gone(error)
            if error.code in ABSENT:
                gpu.note_lack(_SAMPLES, self._meter.samples)
                return self._instantaneous(gpu, history)
            if error.code not in _NOTHING_NEW:
                return None
            value_type, samples = 0, []
        member = member_of(value_type)
        percents = [
            (stamp, percent)
            for sample in (samples if member else ())
            if (stamp := field_of(sample, "timeStamp")) in STAMPS_MICROSECONDS
            and 0 <= (percent := getattr(field_of(sample, "sampleValue"), member)) <= 100
        ]
        now = time.monotonic()
        newest = max(percents, default=(0, 0))[0]
        if newest and newest != history.newest_microseconds:
            if newest < history.newest_microseconds:
                history.samples.clear()  # the host's clock was set back
            history.samples.add(percents)
            history.cursor_microseconds = history.newest_microseconds = newest
            history.progress_seconds = now
            history.is_measured = True
            history.instants.clear()
        elif now - history.progress_seconds > max(self._window_seconds, _BUFFER_STALLED_SECONDS):
            # Ask for the whole buffer next time: after the clock was set back, all that is new
            # looks old.
            history.cursor_microseconds = 0
            history.samples.clear()
        mean = history.samples.mean_percent()
        return self._instantaneous(gpu, history) if mean is None else mean

    def is_measured(self, gpu: Gpu) -> bool:
        """Return whether the driver had anything new when last asked; a mean outlives that."""
        history = self._histories.get(gpu.device.uuid)
        return history is not None and history.is_measured

    def _instantaneous(self, gpu: Gpu, history: _History) -> float | None:
        rates = gpu.ask("nvmlDeviceGetUtilizationRates")
        if rates is None or not 0 <= (rate := getattr(rates, self._meter.rate)) <= 100:
            return None
        history.is_measured = True
        history.instants.add([(time.monotonic_ns() // 1000, rate)])
        return history.instants.mean_percent()
