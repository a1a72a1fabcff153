# SPDX-License-Identifier: Apache-2.0
"""NVML's event sets: who waits for which GPUs' Xid errors."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class EventSet:
    """The GPUs of one set, by UUID, and what they reported since."""

    def __init__(self) -> None:
        self.uuids: set[str] = set()
        self.reported: deque[tuple[str, int]] = deque()


class Events:
    """All event sets of a driver, by the number that stands for the pointer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count(0x5E7_0001)
        self._sets: dict[int, EventSet] = {}
        self._driver_generation: int | None = None

    def begin(self, driver_generation: int) -> None:
        """Forget the sets of another load of the driver: they went with it."""
        with self._changed:
            if driver_generation != self._driver_generation:
                self._driver_generation = driver_generation
                self._sets.clear()

    def create(self) -> int:
        """Return a new, empty set."""
        with self._changed:
            number = next(self._numbers)
            self._sets[number] = EventSet()
            return number

    def free(self, number: int) -> bool:
        """Forget the set; False if there is none."""
        with self._changed:
            return self._sets.pop(number, None) is not None

    def register(self, number: int, uuid: str) -> bool:
        """Add a GPU to the set; False if there is no such set."""
        with self._changed:
            if number not in self._sets:
                return False
            self._sets[number].uuids.add(uuid)
            return True

    def report(self, uuid: str, xid: int) -> None:
        """Put an Xid error into every set with this GPU."""
        with self._changed:
            for event_set in self._sets.values():
                if uuid in event_set.uuids:
                    event_set.reported.append((uuid, xid))
            self._changed.notify_all()

    def registered(self) -> frozenset[str]:
        """Return the GPUs that anybody registered for."""
        with self._changed:
            return frozenset(uuid for one in self._sets.values() for uuid in one.uuids)

    def wait(
        self, number: int, seconds: float, gone: Callable[[set[str]], bool]
    ) -> tuple[str, int] | None:
        """Return the next (UUID, Xid) of the set, None if none came in time.

        Raises KeyError without such a set, LookupError once one of its GPUs is `gone`.
        """
        with self._changed:
            event_set = self._sets[number]
            self._changed.wait_for(lambda: event_set.reported, seconds)
            if event_set.reported:
                return event_set.reported.popleft()
            if gone(event_set.uuids):
                msg = "a GPU of the set is gone"
                raise LookupError(msg)
            return None
