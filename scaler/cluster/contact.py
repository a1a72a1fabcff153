"""Which part of the cluster is out of sight: a namespace or a kind, or all of it.

A watch that fails costs what it shows and nothing else. A namespace that was deleted, or one whose
Role is gone, must not stop the scaling of the others.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scaler.kube.reflector import Reflector
    from scaler.model import ObjectRef

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A watch, and whose decisions rest on it; None stands for all namespaces, or all kinds.

    `kind` is as in `ObjectRef.kind`.
    """

    reflector: Reflector[Any]
    namespace: str | None
    kind: str | None

    def concerns(self, namespace: str, kind: str) -> bool:
        """Return whether workloads of a namespace and kind are decided on by what it shows."""
        return self.namespace in (None, namespace) and self.kind in (None, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostContact:
    """What cannot be seen just now, and why; None stands for all namespaces, or all kinds."""

    namespace: str | None
    kind: str | None
    why: str

    def hides(self, ref: ObjectRef) -> bool:
        """Return whether a workload is concerned."""
        return self.namespace in (None, ref.namespace) and self.kind in (None, ref.kind)

    def __str__(self) -> str:
        where = "all namespaces" if self.namespace is None else f"namespace {self.namespace}"
        what = "" if self.kind is None else f" ({self.kind or 'deployments.apps'})"
        return f"{where}{what}: {self.why}"


class Contact:
    """Answers which watches are in contact; logs once when a part is lost and when it is back."""

    def __init__(
        self, watched: Sequence[Watched], *, namespaces: Collection[str], kinds: Collection[str]
    ) -> None:
        """`namespaces` and `kinds` are all that workloads may be in; none are all namespaces."""
        self._watched = watched
        self._parts = tuple((name, kind) for name in namespaces or ("",) for kind in kinds)
        self._told: dict[tuple[str | None, str | None], LostContact] = {}

    def lost(self, now_seconds: float) -> tuple[LostContact, ...]:
        """Return what is out of sight at `now_seconds` (monotonic), each part once."""
        found: dict[tuple[str | None, str | None], LostContact] = {}
        for one in self._watched:
            if not one.reflector.is_fresh(now_seconds):
                found.setdefault(
                    (one.namespace, one.kind),
                    LostContact(
                        namespace=one.namespace,
                        kind=one.kind,
                        why=one.reflector.problem
                        or f"no answer to a watch of {one.reflector.path}",
                    ),
                )
        # What is lost of all kinds needs no further word on one of them.
        return tuple(
            one for one in found.values() if one.kind is None or (one.namespace, None) not in found
        )

    def is_fresh(self, now_seconds: float) -> bool:
        """Return whether some part of the cluster is in sight."""
        return self._some_part(lambda reflector: reflector.is_fresh(now_seconds))

    async def wait_synced(self) -> None:
        """Wait until each watch was tried, and some part of the cluster is in sight."""
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
        """Log what was lost since the last call, and what is back."""
        now = {(one.namespace, one.kind): one for one in lost}
        for part, one in now.items():
            if part not in self._told:
                where = {"namespace": one.namespace, "kind": one.kind}
                log.warning("Holding what cannot be seen", extra=where | {"error": one.why})
        for part, one in self._told.items():
            if part not in now:
                log.info("In sight again", extra={"namespace": one.namespace, "kind": one.kind})
        self._told = now

    def _some_part(self, is_seen: Callable[[Reflector[Any]], bool]) -> bool:
        return any(
            all(is_seen(one.reflector) for one in self._watched if one.concerns(*part))
            for part in self._parts
        )
