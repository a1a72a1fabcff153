"""Which workloads the scaler set to 0, in a ConfigMap beside its Lease.

A count of 0 says not who set it, and only a 0 of the scaler's own may be left again. So that is
written down before the count is changed, outside of the workload, and read by whoever leads next.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scaler.cluster.errors import AlreadyExists, ApiError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from scaler.cluster.client import JsonObject, KubeClient
    from scaler.model import ObjectRef

log = logging.getLogger(__name__)

CALL_TIMEOUT_SECONDS = 2.0


class Zeros:
    """The ConfigMap `namespace`/`name`: a key for each uid, its value the workload's name."""

    def __init__(self, client: KubeClient, *, namespace: str, name: str) -> None:
        self._client = client
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self._title = f"ConfigMap {namespace}/{name}"
        self._uids: set[str] | None = None
        self.problem: str | None = f"{self._title} has not been read yet"
        """Why nobody knows what is written down, None where that is known."""

    def forget(self) -> None:
        """Know nothing any more: another replica leads, and writes."""
        self._uids = None
        self.problem = f"{self._title} has not been read yet"

    async def load(self) -> AbstractSet[str]:
        """Return the uids when they are read for the first time, and nothing after that."""
        if self._uids is not None:
            return frozenset()
        try:
            found = await self._client.get(self._path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except NotFound:
            found = {}
        except ApiError as error:
            self._note(f"{self._title} cannot be read: {error}")
            return frozenset()
        self._note(None)
        self._uids = set(found.get("data") or {})
        return frozenset(self._uids)

    async def add(self, ref: ObjectRef, uid: str) -> None:
        """Write down that a workload is about to be set to 0; raises ApiError."""
        if self._uids is None or uid in self._uids:
            return
        data = {uid: str(ref)}
        try:
            await self._patch(data)
        except NotFound:
            try:
                await self._client.post(
                    self._collection,
                    {"metadata": {"name": self._name}, "data": data},
                    timeout_seconds=CALL_TIMEOUT_SECONDS,
                )
            except AlreadyExists:
                await self._patch(data)
        self._uids.add(uid)

    async def keep_only(self, uids: Iterable[str]) -> None:
        """Strike out all others; what fails is tried again with the next call."""
        gone = () if self._uids is None else sorted(self._uids.difference(uids))
        if not gone or self._uids is None:
            return
        try:
            await self._patch(dict.fromkeys(gone))
        except NotFound:
            pass
        except ApiError as error:
            log.debug("Ended zeros not struck out", extra={"error": str(error)})
            return
        self._uids.difference_update(gone)

    async def _patch(self, data: dict[str, str] | dict[str, None]) -> JsonObject:
        return await self._client.patch(
            self._path, {"data": data}, timeout_seconds=CALL_TIMEOUT_SECONDS
        )

    def _note(self, problem: str | None) -> None:
        if problem is not None and "cannot be read" not in (self.problem or ""):
            log.warning("Own zeros are not known", extra={"why": problem})
        self.problem = problem
