# SPDX-License-Identifier: Apache-2.0
"""Pure: the last three minutes of samples of the requested targets, in bounded memory.

For each family, pod and GPU at most one sample per 5 s is kept. With 16 bytes per sample that is
about 1 KiB with all overhead. Nothing is kept for targets that nobody requests.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from scaler.metricsapi.names import WINDOW_SECONDS, Resource
from scaler.quantities import measured_milli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SLOT_SECONDS = 5.0
MAX_SAMPLES = int(WINDOW_SECONDS / SLOT_SECONDS) + 1
KEPT_SECONDS = 300.0
"""How long a target is still read after its last request."""


class Target(NamedTuple):
    """A family of one pod, node or namespace; `namespace` is "" for nodes."""

    resource: Resource
    namespace: str
    name: str
    family: str


class TargetSample(NamedTuple):
    """One GPU's value, when it was sampled (monotonic), and how long it may be used."""

    value: float
    sampled_seconds: float
    fresh_for_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A target's value: the mean over its GPUs, with the time of the oldest sample.

    `window_seconds` is how many seconds of the window samples cover, None for the newest value.
    """

    value_milli: int
    sampled_seconds: float
    window_seconds: int | None


def over_pods(values: Sequence[Value], *, is_sum: bool) -> Value:
    """Return the sum or the mean over pods, or replicas, that all have a value: at least one."""
    total = sum(one.value_milli for one in values)
    windows = [one.window_seconds for one in values if one.window_seconds is not None]
    if not is_sum:
        # Averages are whole numbers, rounded up; the newest value stays above 0.
        unit = 1000 if windows else 1
        total = -(-total // (len(values) * unit)) * unit
    return Value(
        value_milli=total,
        sampled_seconds=min(one.sampled_seconds for one in values),
        window_seconds=min(windows, default=None),
    )


class TargetSeries:
    """The samples of one target by GPU.

    With `keeps_gpus`, it has no value while a GPU is missing that was there before: a GPU that
    fails loses its series, and the mean over the others says nothing about it.
    """

    __slots__ = (
        "_fresh_for_seconds",
        "_keeps_gpus",
        "_shown",
        "_tracks",
        "look_back_at_seconds",
        "problem",
    )

    def __init__(self, *, keeps_gpus: bool = False) -> None:
        self._keeps_gpus = keeps_gpus
        self._tracks: dict[str, _Track] = {}
        self._shown: tuple[str, ...] = ()
        self._fresh_for_seconds = 0.0
        self.look_back_at_seconds = -math.inf
        """When to read older samples from the source; infinite once that is done."""
        self.problem: str | None = None
        """Why the last read failed, None if it succeeded."""

    def record(self, samples: Mapping[str, TargetSample]) -> None:
        """Add the source's current samples, by GPU."""
        newest = -math.inf
        for uuid, sample in samples.items():
            track = self._tracks.get(uuid)
            if track is None:
                track = self._tracks[uuid] = _Track()
            track.add(sample)
            newest = max(newest, sample.sampled_seconds)
        self._shown = tuple(samples)
        self._fresh_for_seconds = min(
            (one.fresh_for_seconds for one in samples.values()), default=0.0
        )
        for uuid in () if self._keeps_gpus else self._tracks.keys() - samples.keys():
            if self._tracks[uuid].sampled_seconds() < newest - WINDOW_SECONDS:
                del self._tracks[uuid]

    def fill(self, uuid: str, samples: Iterable[TargetSample]) -> None:
        """Insert older samples of a current GPU, oldest first, before the existing ones."""
        track = self._tracks.get(uuid)
        if track is not None:
            track.fill(samples)

    def value(
        self,
        *,
        over_time: bool,
        now_seconds: float,
        since_seconds: float = -math.inf,
        selects: Callable[[str], bool] = lambda _: True,
    ) -> Value | None:
        """Return the value over the GPUs that `selects` accepts, None if any sample is stale.

        Samples from before `since_seconds` belong to an earlier object of the same name.
        """
        tracks = [self._tracks[uuid] for uuid in self._shown if selects(uuid)]
        if not tracks or (self._keeps_gpus and self._misses_any(since_seconds, selects)):
            return None
        sampled = min(track.sampled_seconds() for track in tracks)
        if sampled < since_seconds or now_seconds - sampled > self._fresh_for_seconds:
            return None
        if not over_time:
            mean = math.fsum(track.value() for track in tracks) / len(tracks)
            return Value(
                value_milli=measured_milli(mean), sampled_seconds=sampled, window_seconds=None
            )
        after = max(now_seconds - WINDOW_SECONDS, math.nextafter(since_seconds, -math.inf))
        mean = math.fsum(track.average(after) for track in tracks) / len(tracks)
        longest_step = self._fresh_for_seconds + SLOT_SECONDS
        window = min(
            track.covered_seconds(since_seconds, longest_step_seconds=longest_step)
            for track in tracks
        )
        return Value(
            # Rounded up to a whole number, as in the rules for Prometheus Adapter.
            value_milli=math.ceil(round(mean, 9)) * 1000,
            sampled_seconds=sampled,
            window_seconds=round(window),
        )

    def _misses_any(self, since_seconds: float, selects: Callable[[str], bool]) -> bool:
        for uuid in self._tracks.keys() - set(self._shown):
            if self._tracks[uuid].sampled_seconds() < since_seconds:
                # It belongs to an earlier object of the same name.
                del self._tracks[uuid]
            elif selects(uuid):
                return True
        return False


class _Track:
    """The samples of one GPU, oldest first, as alternating times and values."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples = array("d")

    def sampled_seconds(self) -> float:
        return self._samples[-2]

    def value(self) -> float:
        return self._samples[-1]

    def add(self, sample: TargetSample) -> None:
        samples = self._samples
        if samples:
            last = samples[-2]
            if sample.sampled_seconds <= last:
                return
            if _slot(sample.sampled_seconds) == _slot(last):
                del samples[-2:]
        samples.extend((sample.sampled_seconds, sample.value))
        if len(samples) > 2 * MAX_SAMPLES:
            del samples[: len(samples) - 2 * MAX_SAMPLES]

    def fill(self, older: Iterable[TargetSample]) -> None:
        newer, self._samples = self._samples, array("d")
        for sample in older:
            if not newer or _slot(sample.sampled_seconds) < _slot(newer[0]):
                self.add(sample)
        self._samples.extend(newer)
        del self._samples[: max(0, len(self._samples) - 2 * MAX_SAMPLES)]

    def average(self, after_seconds: float) -> float:
        """Return the mean of the samples after `after_seconds`, or the newest sample."""
        times, values = self._samples[::2], self._samples[1::2]
        newer = (n for n, time in enumerate(times) if time > after_seconds)
        kept = values[next(newer, len(times) - 1) :]
        return math.fsum(kept) / len(kept)

    def covered_seconds(self, since_seconds: float, *, longest_step_seconds: float) -> float:
        """Return how many seconds of the window up to the newest sample are covered by samples.

        A step longer than `longest_step_seconds` and the time before `since_seconds` are not.
        """
        times = [time for time in self._samples[::2] if time >= since_seconds]
        begin = times[-1] - WINDOW_SECONDS
        return sum(
            later - max(time, begin)
            for time, later in pairwise(times)
            if later > begin and later - time <= longest_step_seconds
        )


def _slot(seconds: float) -> int:
    return math.floor(seconds / SLOT_SECONDS)


class TargetStore:
    """The requested targets with the time of their last request, and their series."""

    def __init__(self) -> None:
        self._asked_seconds: dict[Target, float] = {}
        self._histories: dict[Target, TargetSeries] = {}

    def __len__(self) -> int:
        return len(self._asked_seconds)

    def __getitem__(self, target: Target) -> TargetSeries:
        return self._histories[target]

    def ask(self, targets: Iterable[Target], now_seconds: float) -> frozenset[Target]:
        """Record a request for these targets; return the new ones."""
        new = set()
        for target in targets:
            if target not in self._asked_seconds:
                # A pod keeps its GPUs for its whole life.
                self._histories[target] = TargetSeries(keeps_gpus=target.resource is Resource.PODS)
                new.add(target)
            self._asked_seconds[target] = now_seconds
        return frozenset(new)

    def wanted(self, now_seconds: float) -> frozenset[Target]:
        """Return the recently requested targets; forget the others."""
        for target, asked in list(self._asked_seconds.items()):
            if now_seconds - asked > KEPT_SECONDS:
                del self._asked_seconds[target]
                del self._histories[target]
        return frozenset(self._asked_seconds)

    def get(self, target: Target) -> TargetSeries | None:
        """Return the series of a requested target, None for others."""
        return self._histories.get(target)
