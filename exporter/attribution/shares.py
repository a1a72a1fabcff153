# SPDX-License-Identifier: Apache-2.0
"""Pure: what the processes have of a device, added up by the containers that hold it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exporter.model import Container, ProcessOwner, ProcessUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A container's own part of a device; None where NVML does not report it for every process."""

    memory_used_bytes: int | None
    duty_cycle_percent: float | None


def shares(
    uses: Iterable[ProcessUse] | None, holders: Collection[Container], *, has_duty_cycle: bool
) -> Mapping[Container, Share]:
    """Return the shares of the holders of one device, nothing where they are not known.

    `uses` are those of all processes, None where these are not known for certain. So a holder
    without a process has nothing of the device: 0, also of its time if the device
    `has_duty_cycle`. Where a process could be of several containers of its pod, none of the pod's
    has a share. Processes of pods that do not hold the device are nobody's here.
    """
    if uses is None:
        return {}
    by_container: defaultdict[Container, list[ProcessUse]] = defaultdict(list)
    ambiguous: set[Container] = set()
    for use in uses:
        candidates = [one for one in holders if _is_of(use.owner, one)]
        if len(candidates) == 1:
            by_container[candidates[0]].append(use)
        else:
            ambiguous.update(candidates)
    return {
        container: _sum(by_container[container], has_duty_cycle=has_duty_cycle)
        for container in holders
        if container not in ambiguous
    }


def users(uses: Iterable[ProcessUse], candidates: Collection[Container]) -> set[Container]:
    """Return the candidates that have a process here; not where it could be of another one too."""
    found: set[Container] = set()
    for use in uses:
        possible = [one for one in candidates if _is_of(use.owner, one)]
        if len(possible) == 1:
            found.update(possible)
    return found


def _is_of(owner: ProcessOwner, container: Container) -> bool:
    return (owner.namespace_name, owner.pod_name) == (
        container.namespace_name,
        container.pod_name,
    ) and owner.container_name in (None, container.container_name)


def _sum(uses: Collection[ProcessUse], *, has_duty_cycle: bool) -> Share:
    memory = [use.memory_used_bytes for use in uses]
    percents = [use.duty_cycle_percent for use in uses]
    known_bytes = [one for one in memory if one is not None]
    known_percents = [one for one in percents if one is not None]
    percent = None
    if has_duty_cycle and len(known_percents) == len(percents):
        # Samples of processes are taken one after the other, so that sums may pass the whole.
        percent = min(100.0, round(sum(known_percents), 3))
    return Share(
        memory_used_bytes=sum(known_bytes) if len(known_bytes) == len(memory) else None,
        duty_cycle_percent=percent,
    )
