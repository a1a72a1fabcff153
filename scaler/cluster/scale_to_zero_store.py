# SPDX-License-Identifier: Apache-2.0
"""The workloads that the scaler has scaled to 0, stored in a ConfigMap next to its Lease.

A count of 0 does not say who set it, and the scaler may only wake workloads that it has scaled to 0
itself. It therefore records that before it changes the count, and the next leader reads it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from scaler.cluster.kinds import Kinds
from scaler.cluster.scale import count_of
from scaler.kube.errors import AlreadyExists, ApiError, NotFound
from scaler.model import workload_ref

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from scaler.kube.client import KubeClient
    from scaler.model import ObjectRef

log = logging.getLogger(__name__)

CALL_TIMEOUT_SECONDS = 2.0
MAX_LOOKS = 4
"""How many unwatched workloads are looked up per loop."""
LOOK_SECONDS = 0.5
"""How long a look may take: a kind that hangs delays neither loops nor the records of others."""


class ScaleToZeroStore:
    """The ConfigMap `namespace`/`name`: its keys are uids, its values workload names."""

    def __init__(
        self, client: KubeClient, *, namespace: str, name: str, kinds: Kinds | None = None
    ) -> None:
        self._client = client
        self._kinds = kinds or Kinds()
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self._title = f"ConfigMap {namespace}/{name}"
        self._written: dict[str, str] | None = None
        self._retracted: set[str] = set()
        self.problem: str | None = f"{self._title} has not been read yet"
        """Why the record is unknown, None if it has been read."""

    @property
    def uids(self) -> AbstractSet[str]:
        """The recorded uids; empty while the record is unknown."""
        return frozenset() if self._written is None else self._written.keys()

    def forget(self) -> None:
        """Forget the record, because another replica leads and writes it."""
        self._written = None
        self._retracted.clear()
        self.problem = f"{self._title} has not been read yet"

    async def load(self) -> bool:
        """Read the record if it is unknown; return whether this call has read it."""
        if self._written is not None:
            return False
        try:
            self._written = await self._read()
        except Exception as error:  # noqa: BLE001  (a broken record affects scale to zero only)
            why = error if isinstance(error, ApiError) else repr(error)
            self._note(f"{self._title} cannot be read: {why}")
            return False
        self._note(None)
        return True

    async def add(self, ref: ObjectRef, uid: str) -> None:
        """Record that a workload is about to be scaled to 0; raises ApiError."""
        await self._write({uid: str(ref)})
        self._retracted.discard(uid)
        if self._written is not None:
            self._written[uid] = str(ref)

    def retract(self, uid: str) -> None:
        """Note that an added workload was not scaled: its 0 may be set by a human."""
        self._retracted.add(uid)

    async def reconcile(self, counts: Mapping[str, int], own: AbstractSet[str]) -> None:
        """Remove outdated entries, restore deleted ones; a failure is retried by the next call.

        `counts` are the replicas of the watched workloads, `own` those that the scaler has scaled
        to 0: any other 0 of them is somebody else's. The entry of an unwatched workload is removed
        only if the API server says that it is gone or has replicas: it may have lost its
        annotation, or its kind may be hidden.
        """
        written = self._written or {}
        ended = {uid for uid in written if uid in counts or uid in self._retracted} - own
        unseen = {uid: ref for uid, ref in written.items() if uid not in counts}
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                ended |= await self._ended_unseen(unseen)
                found = await self._read()
                changes: dict[str, str | None] = {
                    uid: ref
                    for uid, ref in written.items()
                    if uid not in found and uid not in ended
                }
                changes |= dict.fromkeys(sorted(ended & found.keys()))
                if changes:
                    await self._write(changes)
        except Exception as error:  # noqa: BLE001  (likewise)
            log.debug("Cannot update the scale-to-zero record", extra={"error": repr(error)})
            return
        self._retracted -= ended | own
        for uid in ended:
            written.pop(uid, None)

    async def _ended_unseen(self, unseen: Mapping[str, str]) -> AbstractSet[str]:
        """Look up a few unwatched workloads; return those whose entry is outdated."""
        chosen = random.sample(sorted(unseen), min(MAX_LOOKS, len(unseen)))
        async with asyncio.TaskGroup() as group:
            looks = {uid: group.create_task(self._has_ended(uid, unseen[uid])) for uid in chosen}
        return {uid for uid, look in looks.items() if look.result()}

    async def _has_ended(self, uid: str, written: str) -> bool:
        namespace, _, name = written.partition("/")
        ref = workload_ref(namespace, name)
        kind = next((one for one in self._kinds if one.ref_kind == ref.kind), None)
        if kind is None:
            return False
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await count_of(self._client, ref, kind=kind, uid=uid) != 0
        except Exception:  # noqa: BLE001  (an answer of this one tells nothing about the others)
            return False

    async def _read(self) -> dict[str, str]:
        try:
            found = await self._client.get(self._path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except NotFound as error:
            if not error.is_missing(self._name):
                raise
            return {}
        return dict(found.get("data") or {})

    async def _write(self, data: Mapping[str, str | None]) -> None:
        try:
            await self._patch(data)
        except NotFound:
            there = {uid: ref for uid, ref in data.items() if ref is not None}
            if not there:
                return
            try:
                await self._client.post(
                    self._collection,
                    {"metadata": {"name": self._name}, "data": there},
                    timeout_seconds=CALL_TIMEOUT_SECONDS,
                )
            except AlreadyExists:
                await self._patch(data)

    async def _patch(self, data: Mapping[str, str | None]) -> None:
        await self._client.patch(self._path, {"data": data}, timeout_seconds=CALL_TIMEOUT_SECONDS)

    def _note(self, problem: str | None) -> None:
        if problem is not None and "cannot be read" not in (self.problem or ""):
            log.warning("Cannot read the scale-to-zero record", extra={"error": problem})
        self.problem = problem
