# SPDX-License-Identifier: Apache-2.0
"""Pure: which pod is asked next, shared fairly between namespaces."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


class Lane:
    """A queue of pods for a number of places, of which one namespace may have half.

    Namespaces take turns, so that thousands of hanging pods delay no other namespace's.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: OrderedDict[str, deque[str]] = OrderedDict()
        self._queued: set[str] = set()
        self._busy: Counter[str] = Counter()

    @property
    def is_idle(self) -> bool:
        """Whether no pod waits or is being asked."""
        return not self._queued and not self._busy

    def put(self, namespace: str, pod: str, *, first: bool = False) -> None:
        """Queue a pod, `first` of its namespace; nothing happens if it waits already."""
        if pod in self._queued:
            return
        self._queued.add(pod)
        pods = self._waiting.setdefault(namespace, deque())
        if first:
            pods.appendleft(pod)
        else:
            pods.append(pod)

    def take(self) -> tuple[str, str] | None:
        """Return the namespace and the pod to ask now, None if nobody may be; `leave` follows."""
        if self._busy.total() >= self._places:
            return None
        share = max(1, self._places // 2)
        for namespace, pods in self._waiting.items():
            if self._busy[namespace] < share:
                pod = pods.popleft()
                self._queued.discard(pod)
                if pods:
                    self._waiting.move_to_end(namespace)
                else:
                    del self._waiting[namespace]
                self._busy[namespace] += 1
                return namespace, pod
        return None

    def leave(self, namespace: str) -> None:
        """Free the place of a pod that was asked."""
        self._busy[namespace] -= 1
        if not self._busy[namespace]:
            del self._busy[namespace]

    def keep_only(self, pods: Container[str]) -> None:
        """Forget all other pods that wait."""
        self._queued = {pod for pod in self._queued if pod in pods}
        for namespace, waiting in list(self._waiting.items()):
            kept = deque(pod for pod in waiting if pod in pods)
            if kept:
                self._waiting[namespace] = kept
            else:
                del self._waiting[namespace]
