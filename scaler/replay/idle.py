# SPDX-License-Identifier: Apache-2.0
"""Pure: how long GPUs were held and idle, from their duty cycles over time.

The time is cut into steps of equal length. A step of a GPU is idle if its duty cycle was 0 in all
of the step. A step without a reading is unknown: it is neither held nor idle nor free, and it ends
an idle stretch.

Several pods may hold one GPU. Each of them then has an equal part of the GPU's time, so that the
parts add up to the GPU once. A part is idle only while the whole GPU is.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING, TypeAlias

from scaler.replay.idle_model import FreeGpu, IdleReport, IdleRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scaler.model import ObjectRef
    from scaler.readings.gpus import DutySeries

HOUR_SECONDS = 3600.0
LATE_STEPS = 5
"""A GPU whose last reading is older than this is not free now: its node may be gone."""


@dataclass(slots=True)
class _Span:
    """Steps with a reading, and the current and longest run of those that count as idle."""

    first: int = -1
    last: int = -2
    known: int = 0
    run: int = 0
    longest: int = 0

    def add(self, step: int, *, is_idle: bool) -> None:
        if is_idle:
            self.run = self.run + 1 if step == self.last + 1 else 1
            self.longest = max(self.longest, self.run)
        else:
            self.run = 0
        if self.first < 0:
            self.first = step
        self.last = step
        self.known += 1

    @property
    def unknown(self) -> int:
        return self.last - self.first + 1 - self.known


@dataclass(slots=True)
class _Holding:
    """One pod's part of one GPU, in steps."""

    span: _Span = field(default_factory=_Span)
    held: float = 0.0
    idle: float = 0.0
    under: float = 0.0
    is_used: bool = False

    def add(self, step: int, duty: float, share: float, threshold: float) -> None:
        self.span.add(step, is_idle=duty <= 0)
        self.held += share
        if duty <= 0:
            self.idle += share
            self.under += share
        else:
            self.is_used = True
            if duty < threshold:
                self.under += share

    @property
    def unknown(self) -> float:
        """Steps without a reading, for the average part of the GPU."""
        return self.span.unknown * self.held / self.span.known


@dataclass(slots=True)
class _Gpu:
    """One GPU: where it is, its steps with a reading, and those in which it was free."""

    node: str
    model: str | None
    known: _Span = field(default_factory=_Span)
    free: _Span = field(default_factory=_Span)


_Held: TypeAlias = "tuple[_Holding, _Gpu]"


class IdleTally:
    """Adds up series, chunk by chunk in the order of time; keeps sums, not the points."""

    def __init__(
        self, *, begun_unix_seconds: float, step_seconds: float, steps: int, threshold: float
    ) -> None:
        """Points outside of the `steps` are ignored. `threshold` is in percent."""
        self._begun = begun_unix_seconds
        self._step_seconds = step_seconds
        self._steps = steps
        self._threshold = threshold
        self._gpus: dict[str, _Gpu] = {}
        self._holdings: defaultdict[ObjectRef, dict[str, _Holding]] = defaultdict(dict)
        self._held, self._idle, self._free = (array("d", bytes(8 * steps)) for _ in range(3))
        self._next = 0

    def add(self, chunk: Iterable[DutySeries]) -> None:
        """Add the next chunk; steps that the chunks before have reached are ignored."""
        begin = self._next
        gpus: defaultdict[str, dict[ObjectRef | None, dict[int, float]]] = defaultdict(dict)
        for series in chunk:
            gpu = self._gpus.get(series.uuid)
            if gpu is None:
                gpu = self._gpus[series.uuid] = _Gpu(series.node, series.model)
            gpu.node, gpu.model = series.node or gpu.node, series.model or gpu.model
            steps = gpus[series.uuid].setdefault(series.pod, {})
            for time, duty in series.points:
                step = round((time - self._begun) / self._step_seconds) - 1
                # Two series of one pod on one GPU are those of its containers.
                if begin <= step < self._steps and duty >= steps.get(step, 0.0):
                    steps[step] = duty
                    self._next = max(self._next, step + 1)
        for uuid, by_holder in gpus.items():
            free = by_holder.pop(None, {})
            duties = _highest(by_holder.values())
            by_pod = {pod: steps for pod, steps in by_holder.items() if pod is not None}
            self._add_held(uuid, by_pod, duties)
            self._add_known(self._gpus[uuid], free, duties)

    def gpus_without_values(self) -> Sequence[str]:
        """Return the UUIDs of GPUs with series but without any value that counts."""
        return sorted(uuid for uuid, gpu in self._gpus.items() if not gpu.known.known)

    def _add_held(
        self,
        uuid: str,
        by_pod: Mapping[ObjectRef, Mapping[int, float]],
        duties: Mapping[int, float],
    ) -> None:
        holders: dict[int, int] = {}
        if len(by_pod) > 1:
            for steps in by_pod.values():
                for step in steps:
                    holders[step] = holders.get(step, 0) + 1
        for pod, steps in by_pod.items():
            if not steps:
                continue
            holding = self._holdings[pod].setdefault(uuid, _Holding())
            for step in sorted(steps):
                share = 1 / holders.get(step, 1)
                holding.add(step, duties[step], share, self._threshold)

    def _add_known(self, gpu: _Gpu, free: Mapping[int, float], duties: Mapping[int, float]) -> None:
        for step in sorted(free.keys() | duties.keys()):
            # A pod that began or ended in the step held the GPU in it.
            is_free = step not in duties
            gpu.known.add(step, is_idle=False)
            if is_free:
                gpu.free.add(step, is_idle=True)
                self._free[step] += 1
            else:
                self._held[step] += 1
                self._idle[step] += duties[step] <= 0

    def report(
        self,
        *,
        owner_of: Callable[[ObjectRef], ObjectRef | None],
        price_of: Callable[[str | None], float | None],
        namespace: str | None = None,
    ) -> IdleReport:
        """Return the report, with the pods of one namespace or all.

        `price_of` a model is per GPU-hour, None if it is unknown.
        """
        pods: list[IdleRow] = []
        workloads: defaultdict[tuple[str, ObjectRef | None], list[_Held]] = defaultdict(list)
        namespaces: defaultdict[str, list[_Held]] = defaultdict(list)
        counts: Counter[object] = Counter()
        for pod, holdings in self._holdings.items():
            if namespace is not None and pod.namespace != namespace:
                continue
            held = [(holding, self._gpus[uuid]) for uuid, holding in holdings.items()]
            owner = owner_of(pod)
            pods.append(self._row(held, 1, price_of, pod.namespace, owner, pod.name))
            counts.update([(pod.namespace, owner), pod.namespace])
            workloads[pod.namespace, owner] += held
            namespaces[pod.namespace] += held
        every = [one for held in namespaces.values() for one in held]
        gpus = self._gpus.values()
        first = min((gpu.known.first for gpu in gpus if gpu.known.known), default=None)
        return IdleReport(
            begun_unix_seconds=self._begun,
            first_unix_seconds=None if first is None else self._begun + first * self._step_seconds,
            last_unix_seconds=None
            if first is None
            else self._begun + self._next * self._step_seconds,
            step_seconds=self._step_seconds,
            threshold_percent=self._threshold,
            gpus=sum(gpu.known.known > 0 for gpu in gpus),
            known_hours=self._hours(sum(gpu.known.known for gpu in gpus)),
            unknown_hours=self._hours(sum(gpu.known.unknown for gpu in gpus if gpu.known.known)),
            total=self._row(every, len(pods), price_of, "") if every else None,
            namespaces=_by_waste(
                self._row(held, counts[name], price_of, name) for name, held in namespaces.items()
            ),
            workloads=_by_waste(
                self._row(held, counts[name, owner], price_of, name, owner)
                for (name, owner), held in workloads.items()
            ),
            pods=_by_waste(pods),
            free=self._free_gpus(price_of),
            held=self._held,
            idle=self._idle,
            gpus_free=self._free,
            unpriced=tuple(
                sorted({gpu.model or "" for gpu in gpus if price_of(gpu.model) is None})
            ),
        )

    def _hours(self, steps: float) -> float:
        return steps * self._step_seconds / HOUR_SECONDS

    def _row(
        self,
        held: Sequence[_Held],
        pods: int,
        price_of: Callable[[str | None], float | None],
        namespace: str,
        workload: ObjectRef | None = None,
        pod: str | None = None,
    ) -> IdleRow:
        holdings = [holding for holding, _ in held]
        first = min(one.span.first for one in holdings)
        last = max(one.span.last for one in holdings)
        known, unknown = fsum(one.held for one in holdings), fsum(one.unknown for one in holdings)
        return IdleRow(
            namespace=namespace,
            workload=workload,
            pod=pod,
            pods=pods,
            models=tuple(sorted({gpu.model for _, gpu in held if gpu.model is not None})),
            average_gpus=(known + unknown) / (last - first + 1),
            held_hours=self._hours(known),
            idle_hours=self._hours(fsum(one.idle for one in holdings)),
            under_threshold_hours=self._hours(fsum(one.under for one in holdings)),
            unknown_hours=self._hours(unknown),
            longest_idle_seconds=max(one.span.longest for one in holdings) * self._step_seconds,
            never_used=not any(one.is_used for one in holdings),
            last_seen_unix_seconds=self._begun + (last + 1) * self._step_seconds,
            idle_cost=_cost(
                (self._hours(one.idle), price_of(gpu.model)) for one, gpu in held if one.idle > 0
            ),
        )

    def _free_gpus(self, price_of: Callable[[str | None], float | None]) -> tuple[FreeGpu, ...]:
        found = []
        for uuid, gpu in self._gpus.items():
            if not gpu.free.known:
                continue
            hours = self._hours(gpu.free.known)
            is_free = gpu.free.last == gpu.known.last >= self._steps - 1 - LATE_STEPS
            since = self._begun + (gpu.free.last + 1 - gpu.free.run) * self._step_seconds
            found.append(
                FreeGpu(
                    node=gpu.node,
                    gpu=uuid,
                    model=gpu.model,
                    free_hours=hours,
                    longest_free_seconds=gpu.free.longest * self._step_seconds,
                    free_since_unix_seconds=since if is_free else None,
                    free_cost=_cost([(hours, price_of(gpu.model))]),
                )
            )
        return tuple(sorted(found, key=lambda one: (-one.free_hours, one.node, one.gpu)))


def _highest(series: Iterable[Mapping[int, float]]) -> Mapping[int, float]:
    """Return the GPU's duty cycle in each step in which a pod held it."""
    highest: dict[int, float] = {}
    for steps in series:
        if not highest:
            highest = dict(steps)
            continue
        for step, duty in steps.items():
            highest[step] = max(duty, highest.get(step, 0.0))
    return highest


def _cost(hours_and_prices: Iterable[tuple[float, float | None]]) -> float | None:
    costs = []
    for hours, price in hours_and_prices:
        if price is None:
            return None
        costs.append(hours * price)
    return fsum(costs)


def _by_waste(rows: Iterable[IdleRow]) -> tuple[IdleRow, ...]:
    return tuple(
        sorted(
            rows,
            key=lambda row: (
                -(row.idle_cost or 0.0),
                -row.idle_hours,
                row.namespace,
                row.workload or ("", "", ""),
                row.pod or "",
            ),
        )
    )
