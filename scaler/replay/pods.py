# SPDX-License-Identifier: Apache-2.0
"""Pure: the simulated pods of a Deployment: all alike, each serves some time after its creation."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from scaler.decision.grouping import SETTLING_SECONDS, SETTLING_SHARE
from scaler.model import ObjectRef, PodPhase, PodState

PLACED_AFTER_SECONDS = 2.0
"""A pod is Pending for that long; then its container runs and loads with an idle GPU."""
LONG_AGO_SECONDS = -86_400.0
"""Since when the pods that are there at the begin have been Ready."""


class Shape(NamedTuple):
    """How many pods are how far; pods that are equally far are interchangeable.

    `serving` pods have been Ready for the ready age, `young` ones long enough for a value,
    `fresh` ones for less. `loading` pods run and are not Ready, `pending` ones do not run.
    """

    serving: int
    young: int
    fresh: int
    loading: int
    pending: int

    @property
    def ready(self) -> int:
        """The pods that take a share of the load."""
        return self.serving + self.young + self.fresh


class Pods:
    """The pods over time; the youngest leave first, and at once.

    `ready_at_seconds` is when each becomes Ready, the oldest first.
    """

    def __init__(
        self, ref: ObjectRef, *, replicas: int, start_seconds: float, ready_age_seconds: float
    ) -> None:
        self._ref = ref
        self._start_seconds = start_seconds
        settled_seconds = max(SETTLING_SECONDS, SETTLING_SHARE * ready_age_seconds)
        self._ages_seconds = (ready_age_seconds, min(settled_seconds, ready_age_seconds), 0.0)
        self._created = [-float("inf")] * replicas
        self.ready_at_seconds = [LONG_AGO_SECONDS - ready_age_seconds] * replicas
        self._states: dict[int, tuple[PodState, PodState, PodState]] = {}

    @property
    def count(self) -> int:
        """The pods that were asked for."""
        return len(self._created)

    def scale(self, replicas: int, now_seconds: float) -> None:
        """Create or remove pods."""
        for kept in (self._created, self.ready_at_seconds):
            del kept[replicas:]
        for number in [one for one in self._states if one >= replicas]:
            del self._states[number]
        while len(self._created) < replicas:
            self._created.append(now_seconds)
            self.ready_at_seconds.append(now_seconds + self._start_seconds)

    def ready(self, now_seconds: float) -> int:
        """How many pods are Ready."""
        return bisect_right(self.ready_at_seconds, now_seconds)

    def shape(self, now_seconds: float) -> Shape:
        """How far the pods are."""
        counts = [0, 0, 0, 0, 0]
        left = len(self._created)
        # From the youngest on, until all others serve.
        while left:
            group = self._group(left - 1, now_seconds)
            if group == 0:
                break
            counts[group] += 1
            left -= 1
        counts[0] = left
        return Shape(*counts)

    def _group(self, number: int, now_seconds: float) -> int:
        age_seconds = now_seconds - self.ready_at_seconds[number]
        for group, least_seconds in enumerate(self._ages_seconds):
            if age_seconds >= least_seconds:
                return group
        return 3 if now_seconds - self._created[number] >= PLACED_AFTER_SECONDS else 4

    def next_change_seconds(self, now_seconds: float) -> float:
        """When the shape changes next unless the count does; infinity if never."""
        next_seconds = float("inf")
        for created, ready_at in zip(
            reversed(self._created), reversed(self.ready_at_seconds), strict=True
        ):
            if now_seconds - ready_at >= self._ages_seconds[0]:
                break
            for instant in (
                created + PLACED_AFTER_SECONDS,
                *(ready_at + age for age in self._ages_seconds),
            ):
                if now_seconds < instant < next_seconds:
                    next_seconds = instant
        return next_seconds

    def states(self, now_seconds: float) -> tuple[PodState, ...]:
        """The pods as a watch shows them."""
        return tuple(self._state(number, now_seconds) for number in range(self.count))

    def _state(self, number: int, now_seconds: float) -> PodState:
        known = self._states.get(number)
        if known is None:
            known = self._states[number] = self._states_of(number)
        if self.ready_at_seconds[number] <= now_seconds:
            return known[0]
        return known[1 if now_seconds - self._created[number] >= PLACED_AFTER_SECONDS else 2]

    def _states_of(self, number: int) -> tuple[PodState, PodState, PodState]:
        """A pod that is Ready, one that loads and one that is Pending."""

        def state(phase: PodPhase, ready_since_seconds: float | None) -> PodState:
            return PodState(
                ref=ObjectRef(namespace=self._ref.namespace, name=f"{self._ref.name}-{number}"),
                uid=f"{number}",
                phase=phase,
                deleting=False,
                ready_since_seconds=ready_since_seconds,
                node_name="node",
                requests_gpu=True,
            )

        return (
            state(PodPhase.RUNNING, self.ready_at_seconds[number]),
            state(PodPhase.RUNNING, None),
            state(PodPhase.PENDING, None),
        )
