# SPDX-License-Identifier: Apache-2.0
"""Marks on the pods that a scale-down removes, until they are gone or it has come to nothing.

A mark is written before the count, because the ReplicaSet chooses as soon as it sees the count.
What keeps its mark, whoever has set it, loses it: after a restart, a takeover or a failure too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from scaler.cluster.deletion_cost import mark, unmark
from scaler.controller.fair_turns import in_turns
from scaler.decision.victims import MARK_COST, alive_pods
from scaler.kube.errors import ApiError, Conflict, Forbidden, NotFound
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scaler.decision.model import Decision
    from scaler.kube.client import KubeClient
    from scaler.model import DeploymentState, ObjectRef, PodState

log = logging.getLogger(__name__)
MAX_MARKS = 64
"""Pods that are marked for one scale-down; the ReplicaSet chooses the others."""
MAX_TAKEN_BACK = 32
"""Marks that are taken back in one loop."""
MARKING_SECONDS = 2.0
SETTLING_SECONDS = 60.0
"""How long a ReplicaSet may take to delete the marked pods."""
MAX_AGAIN_SECONDS = 3600.0
"""A mark that somebody else has set stays, and is tried again less and less often."""
MISSING_RIGHT = "gpu-scaler may not patch pods/status (chart value scaler.scaleDownPods)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """The pods that were marked for a count, and when."""

    replicas: int
    at_seconds: float
    pods: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """When a mark was taken back last, and how much later it is again if it is still there."""

    at_seconds: float
    again_seconds: float = SETTLING_SECONDS


class PodMarks:
    """Writes and takes back marks; asks `leads` just before."""

    def __init__(
        self, client: KubeClient, *, leads: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._leads = leads
        self._clock = clock
        self._noted: dict[str, _Note] = {}
        self._seen: dict[str, float] = {}
        self._tried: dict[str, _Try] = {}
        self._served: dict[str, None] = {}
        self._outage = OutageLog(log, "Cannot take back the deletion cost of a pod")

    async def mark(self, deployment: DeploymentState, decision: Decision) -> str | None:
        """Mark the pods that a decision removes; return why some have no mark.

        Takes back the marks of pods that an earlier decision would have removed.
        """
        wanted = [one for one in decision.victims if one.needs_mark][:MAX_MARKS]
        if not wanted or not self._leads():
            return None
        now, uids = self._clock(), {one.uid for one in wanted}
        note = self._noted.get(deployment.uid)
        marked = {one.uid for one in deployment.pods if is_ours(one)}
        if note is not None and now - note.at_seconds <= SETTLING_SECONDS:
            marked |= note.pods
        outdated = [one for one in deployment.pods if one.uid in marked - uids and not one.deleting]
        await self._take_back(outdated[:MAX_TAKEN_BACK])
        # The watch still shows marks that were just taken back.
        missing = [one for one in wanted if one.uid not in marked or one.uid in self._tried]
        done = uids - {one.uid for one in missing}
        failures: list[ApiError | TimeoutError] = []

        async def marked_one(pod: ObjectRef, uid: str) -> None:
            try:
                await mark(self._client, pod, uid)
            except (ApiError, TimeoutError) as error:
                failures.append(error)
            else:
                done.add(uid)
                self._tried.pop(uid, None)

        try:
            async with asyncio.timeout(MARKING_SECONDS):
                # The first shows whether the right is there.
                for one in missing[:1]:
                    await marked_one(one.pod, one.uid)
                if not failures or not isinstance(failures[0], Forbidden):
                    await asyncio.gather(*(marked_one(one.pod, one.uid) for one in missing[1:]))
        except TimeoutError:
            return "not all pods were marked in time"
        finally:
            self._noted[deployment.uid] = _Note(
                replicas=decision.desired_replicas, at_seconds=now, pods=frozenset(done)
            )
        if not failures:
            return None
        if isinstance(failures[0], Forbidden):
            return MISSING_RIGHT
        return f"{len(failures)} of {len(missing)} pods could not be marked: {failures[0]}"

    async def take_back(
        self, marked: Sequence[PodState], deployments: Iterable[DeploymentState]
    ) -> None:
        """Take back the marks of pods that stay."""
        now = self._clock()
        self._seen = {one.uid: self._seen.get(one.uid, now) for one in marked}
        oldest = now - SETTLING_SECONDS
        self._noted = {uid: one for uid, one in self._noted.items() if one.at_seconds >= oldest}
        self._tried = {
            uid: one
            for uid, one in self._tried.items()
            if uid in self._seen or one.at_seconds >= oldest
        }
        if not marked:
            return
        settling = {
            pod.uid
            for deployment in deployments
            if self._is_settling(deployment, now)
            for pod in deployment.pods
        }
        waiting = {
            uid for uid, one in self._tried.items() if now - one.at_seconds < one.again_seconds
        }
        done = settling | waiting
        stay: defaultdict[str, list[PodState]] = defaultdict(list)
        for pod in marked:
            if pod.uid not in done and not pod.deleting:
                stay[pod.ref.namespace].append(pod)
        await self._take_back([*islice(in_turns(stay, self._served), MAX_TAKEN_BACK)])

    def _is_settling(self, deployment: DeploymentState, now_seconds: float) -> bool:
        """Whether the ReplicaSet has still to choose."""
        marks = [one.uid for one in deployment.pods if one.marked]
        if not marks:
            return False
        note = self._noted.get(deployment.uid)
        since = max(self._seen.get(uid, now_seconds) for uid in marks)
        if note is not None:
            since = note.at_seconds
        if now_seconds - since > SETTLING_SECONDS:
            return False
        if note is not None and deployment.spec_replicas > note.replicas:
            # The watch does not show the new count yet, or the write failed and is tried again.
            return True
        return len(alive_pods(deployment)) > deployment.spec_replicas

    async def _take_back(self, pods: Sequence[PodState]) -> None:
        if pods and self._leads():
            await asyncio.gather(*(self._taken_back(one) for one in pods))

    async def _taken_back(self, pod: PodState) -> None:
        # The watch shows the mark for a while.
        before = self._tried.get(pod.uid)
        again_seconds = SETTLING_SECONDS if before is None else 2 * before.again_seconds
        tried = self._tried[pod.uid] = _Try(
            at_seconds=self._clock(), again_seconds=min(again_seconds, MAX_AGAIN_SECONDS)
        )
        try:
            await unmark(self._client, pod.ref, pod.uid)
        except (NotFound, Conflict):
            return
        except Exception as error:  # noqa: BLE001  (one pod's mark must not fail the loop)
            # Says nothing about whose mark it is.
            self._tried[pod.uid] = _Try(at_seconds=tried.at_seconds)
            self._outage.failed(repr(error)[:500], pod=str(pod.ref))
        else:
            self._outage.worked()


def is_ours(pod: PodState) -> bool:
    """Return whether a pod has the deletion cost that gpu-scaler has set."""
    return pod.marked and pod.deletion_cost == MARK_COST
