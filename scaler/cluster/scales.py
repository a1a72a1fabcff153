# SPDX-License-Identifier: Apache-2.0
"""Scale subresources of workloads of other kinds than Deployments and StatefulSets.

A scale subresource cannot be watched. It is read when its object changes, a few at a time, and
retried until that succeeds.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.budgets import LOG_BYTES
from scaler.kube.errors import ApiError, NotFound
from scaler.kube.fields import MalformedObject, count
from scaler.kube.selectors import Selector, SelectorError, parse_selector
from toolkit.party_log import PartyLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.kube.client import JsonObject, KubeClient

log = logging.getLogger(__name__)

MAX_CONCURRENT_READS = 8
CALL_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A scale subresource; `selector` is None if it selects nothing or everything.

    `replicas` is `spec.replicas`; `found_replicas` is `status.replicas`, None if it is unknown.
    """

    replicas: int
    selector: Selector | None
    found_replicas: int | None = None


class Scales:
    """Scales by the uid of their object; calls `changed` with the uid after each read."""

    def __init__(self, client: KubeClient, changed: Callable[[str], object]) -> None:
        self._client = client
        self._changed = changed
        self._known: dict[str, Scale] = {}
        self._unread: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._limit = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._wanted = asyncio.Event()
        self._failing = False
        self._malformed: set[str] = set()
        self._party_log = PartyLog(log, most_bytes=LOG_BYTES)
        self.settled = asyncio.Event()
        self.settled.set()

    def of(self, uid: str) -> Scale | None:
        """Return the last read scale of an object, None before the first read."""
        return self._known.get(uid)

    def problem(self, uid: str) -> str | None:
        """Return why the scale of an object could never be read, None if it was or will be."""
        return self._problems.get(uid)

    def want(self, uid: str, path: str) -> None:
        """Request a read of the scale at `path`, because its object is new or has changed."""
        self._unread[uid] = path
        self._failed.pop(uid, None)
        self._wanted.set()
        self.settled.clear()

    def forget(self, uid: str) -> None:
        """Forget a deleted object."""
        for known in (self._known, self._unread, self._failed, self._problems):
            known.pop(uid, None)
        self._malformed.discard(uid)

    async def run(self) -> None:
        """Read the requested scales until cancelled; those that cannot be read delay no others."""
        retry_at: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(retry_at):
                    await self._wanted.wait()
            except TimeoutError:
                self._unread, self._failed, retry_at = self._failed | self._unread, {}, None
            self._wanted.clear()
            async with asyncio.TaskGroup() as group:
                for uid, path in list(self._unread.items()):
                    group.create_task(self._read(uid, path))
            self.settled.set()
            self._party_log.log_omitted()
            if self._failed and retry_at is None:
                retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS

    async def _read(self, uid: str, path: str) -> None:
        try:
            async with self._limit:
                # A change from now on requests another read.
                self._unread.pop(uid, None)
                raw = await self._client.get(path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except NotFound:
            self._problems.pop(uid, None)
            return
        except ApiError as error:
            if uid not in self._unread:
                self._failed[uid] = path
            if uid not in self._known:
                self._problems[uid] = str(error)
                self._changed(uid)
            if not self._failing:
                self._failing = True
                log.warning(
                    "Cannot read scale; its workload is not scaled until it can be read",
                    extra={"path": path, "error": str(error)},
                )
            return
        self._failing = False
        try:
            if raw["metadata"].get("uid") != uid:
                self._problems.pop(uid, None)
                return
            scale = decode_scale(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # The next change of the object requests another read.
            if uid not in self._malformed:
                self._malformed.add(uid)
                self._party_log.log(
                    logging.WARNING,
                    path.partition("/namespaces/")[2].partition("/")[0],
                    "Scale is malformed; its workload is not scaled until it changes",
                    {"path": path, "error": repr(error)[:200]},
                )
            self._known.pop(uid, None)
            self._problems[uid] = f"malformed: {error!r:.200}"
        else:
            self._malformed.discard(uid)
            self._known[uid] = scale
            self._problems.pop(uid, None)
        self._changed(uid)


def decode_scale(raw: JsonObject) -> Scale:
    """Return the decoded scale; raises ValueError or another error if it is malformed."""
    # The API server omits a count of zero.
    replicas = count((raw.get("spec") or {}).get("replicas") or 0)
    if replicas is None:
        raise MalformedObject(f"spec.replicas is {raw['spec']['replicas']!r:.80}, not a count")
    status = raw.get("status") or {}
    text = status.get("selector") or ""
    try:
        selector = parse_selector(text) if isinstance(text, str) else None
    except SelectorError:
        selector = None
    return Scale(
        replicas=replicas,
        selector=selector if selector and selector.requirements else None,
        found_replicas=count(status.get("replicas") or 0) or None,
    )
