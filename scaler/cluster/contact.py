# SPDX-License-Identifier: Apache-2.0
"""Which namespaces and kinds are held because their watches have lost contact.

A failing watch affects only the workloads that depend on it. A deleted namespace, or one whose Role
is gone, must not stop the scaling of the others.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scaler.kube.reflector import Reflector

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """A part of the cluster's workloads; None means all namespaces, or all kinds.

    `kind` is as in `ObjectRef.kind`.
    """

    namespace: str | None
    kind: str | None

    def has(self, namespace: str, kind: str) -> bool:
        """Return whether workloads of a namespace and kind are of this part."""
        return self.namespace in (None, namespace) and self.kind in (None, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A watch and the workloads whose decisions depend on it."""

    reflector: Reflector[Any]
    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class LostContact:
    """A part whose watch has no contact, and why."""

    part: Part
    why: str

    def __str__(self) -> str:
        namespace, kind = self.part
        where = "all namespaces" if namespace is None else f"namespace {namespace}"
        what = "" if kind is None else f" ({kind or 'deployments.apps'})"
        return f"{where}{what}: {self.why}"


class ContactTracker:
    """Tracks the contact of all watches; logs once when a part is lost and when it is back."""

    def __init__(
        self, watched: Sequence[Watched], *, namespaces: Collection[str], kinds: Collection[str]
    ) -> None:
        """`namespaces` and `kinds` are those of the workloads; no namespaces mean all."""
        self._watched = watched
        self._parts = tuple((name, kind) for name in namespaces or ("",) for kind in kinds)
        self._reported: Collection[Part] = ()

    def lost(self, now_seconds: float) -> tuple[LostContact, ...]:
        """Return the parts without contact at `now_seconds` (monotonic), each once."""
        found: dict[Part, LostContact] = {}
        for one in self._watched:
            if not one.reflector.is_fresh(now_seconds):
                why = one.reflector.problem or f"no answer to a watch of {one.reflector.path}"
                found.setdefault(one.part, LostContact(part=one.part, why=why))
        # A part for all kinds includes the parts for single kinds.
        return tuple(
            one
            for part, one in found.items()
            if part.kind is None or part._replace(kind=None) not in found
        )

    def is_fresh(self, now_seconds: float) -> bool:
        """Return whether some part of the cluster has contact."""
        return self._some_part(lambda reflector: reflector.is_fresh(now_seconds))

    async def wait_synced(self) -> None:
        """Wait until each watch was tried once, and some part of the cluster is synced."""
        for one in self._watched:
            await one.reflector.tried.wait()
        while not self._some_part(lambda reflector: reflector.synced.is_set()):
            waits = [
                asyncio.ensure_future(one.reflector.synced.wait())
                for one in self._watched
                if not one.reflector.synced.is_set()
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def tell(self, lost: Collection[LostContact]) -> None:
        """Log the parts that were lost or are back since the last call."""
        now = {one.part: one.why for one in lost}
        for part, why in now.items():
            if part not in self._reported:
                extra = part._asdict() | {"error": why}
                log.warning("Watch lost; its workloads are held", extra=extra)
        for part in self._reported:
            if part not in now:
                log.info("Watch is back; its workloads are scaled again", extra=part._asdict())
        self._reported = now

    def _some_part(self, is_seen: Callable[[Reflector[Any]], bool]) -> bool:
        return any(
            all(is_seen(one.reflector) for one in self._watched if one.part.has(*part))
            for part in self._parts
        )
