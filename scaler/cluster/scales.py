# SPDX-License-Identifier: Apache-2.0
"""Scale subresources of workloads of other kinds than Deployments and StatefulSets.

A scale subresource cannot be watched. It is read when its object changes, a few of a kind at a
time, and retried until that succeeds. A kind that does not answer, such as one whose conversion
webhook hangs, delays no other kind.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.budgets import LOG_BYTES
from scaler.kube.errors import ApiError, NotFound
from scaler.kube.fields import MalformedObject, count
from scaler.kube.selectors import Selector, SelectorError, parse_selector
from toolkit.log_once import OutageLog
from toolkit.party_log import PartyLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.kube.client import JsonObject, KubeClient
    from scaler.model import ObjectRef

log = logging.getLogger(__name__)

MAX_CONCURRENT_READS = 8
"""Of one kind."""
MAX_CONCURRENT_READS_OF_NAMESPACE = 4
CALL_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 5.0
SETTLE_SECONDS = 5.0
"""How long a start waits for scales: until one is read, its workload is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A scale subresource; `selector` is None if it selects nothing or everything.

    `replicas` is `spec.replicas`; `found_replicas` is `status.replicas`, None if it is unknown.
    """

    replicas: int
    selector: Selector | None
    found_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    kind: str
    namespace: str
    path: str


class Scales:
    """Scales by the uid of their object; calls `changed` with the uid after each read."""

    def __init__(self, client: KubeClient, changed: Callable[[str], object]) -> None:
        self._client = client
        self._changed = changed
        self._known: dict[str, Scale] = {}
        self._unread: dict[str, _Request] = {}
        self._failed: dict[str, _Request] = {}
        self._problems: dict[str, str] = {}
        self._awaited_since: dict[str, float] = {}
        self._queued: set[str] = set()
        self._new: dict[str, _Request] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._shares: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._wanted = asyncio.Event()
        self._outages: defaultdict[str, OutageLog] = defaultdict(
            lambda: OutageLog(
                log, "Cannot read scale; its workload is not scaled until it can be read"
            )
        )
        """By kind."""
        self._malformed: set[str] = set()
        self._party_log = PartyLog(log, most_bytes=LOG_BYTES)
        self._settled = asyncio.Event()
        self._settled.set()

    def of(self, uid: str) -> Scale | None:
        """Return the last read scale of an object, None before the first read."""
        return self._known.get(uid)

    def problem(self, uid: str) -> str | None:
        """Return why the scale of an object was never read, None if it was or soon will be."""
        since = self._awaited_since.get(uid)
        if since is not None and time.monotonic() - since >= SETTLE_SECONDS:
            return "not read yet, because the API server answers too slowly for scales of its kind"
        return self._problems.get(uid)

    def want(self, uid: str, ref: ObjectRef, path: str) -> None:
        """Request a read of the scale at `path`, because its object is new or has changed."""
        self._failed.pop(uid, None)
        if uid not in self._known and uid not in self._problems:
            self._awaited_since.setdefault(uid, time.monotonic())
        self._queue(uid, _Request(kind=ref.kind, namespace=ref.namespace, path=path))

    async def wait_settled(self) -> None:
        """Wait until all requested scales were read once, but no longer than `SETTLE_SECONDS`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settled.wait()

    def forget(self, uid: str) -> None:
        """Forget a deleted object."""
        self._known.pop(uid, None)
        self._problems.pop(uid, None)
        self._awaited_since.pop(uid, None)
        self._unread.pop(uid, None)
        self._failed.pop(uid, None)
        self._malformed.discard(uid)

    async def run(self) -> None:
        """Read the requested scales until cancelled; those that cannot be read delay no others."""
        retry_at: float | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async with asyncio.timeout_at(retry_at):
                        await self._wanted.wait()
                except TimeoutError:
                    failed, self._failed, retry_at = self._failed, {}, None
                    for uid, request in failed.items():
                        self._queue(uid, request)
                self._wanted.clear()
                for uid, request in self._new.items():
                    group.create_task(self._read_in_turn(uid, request))
                self._new.clear()
                self._party_log.log_omitted()
                if self._failed and retry_at is None:
                    retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS

    def _queue(self, uid: str, request: _Request) -> None:
        self._unread[uid] = request
        if uid not in self._queued:
            self._queued.add(uid)
            self._new[uid] = request
        self._wanted.set()
        self._settled.clear()

    async def _read_in_turn(self, uid: str, request: _Request) -> None:
        """Read the scale of an object once there is a place for its kind and namespace."""
        places = self._places.setdefault(request.kind, asyncio.Semaphore(MAX_CONCURRENT_READS))
        share = self._shares.setdefault(
            (request.kind, request.namespace),
            asyncio.Semaphore(MAX_CONCURRENT_READS_OF_NAMESPACE),
        )
        async with share, places:
            # A change from now on requests another read; a deleted object needs none.
            latest = self._unread.pop(uid, None)
            if latest is not None:
                await self._read(uid, latest)
                self._awaited_since.pop(uid, None)
        self._queued.discard(uid)
        if uid in self._unread:
            self._queue(uid, self._unread[uid])
        elif not self._queued:
            self._shares.clear()
            self._settled.set()
        # A failure may have to be tried again.
        self._wanted.set()

    async def _read(self, uid: str, request: _Request) -> None:
        path = request.path
        try:
            raw = await self._client.get(path, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except ApiError as error:
            if isinstance(error, NotFound) and error.is_missing(path.split("/")[-2]):
                self._problems.pop(uid, None)
                self._changed(uid)
                return
            if uid not in self._unread:
                self._failed[uid] = request
            if uid not in self._known:
                self._problems[uid] = str(error)
                self._changed(uid)
            self._outages[request.kind].failed(error, path=path)
            return
        self._outages[request.kind].worked()
        try:
            scale = decode_scale(raw) if raw["metadata"].get("uid") == uid else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # The next change of the object requests another read.
            if uid not in self._malformed:
                self._malformed.add(uid)
                self._party_log.log(
                    logging.WARNING,
                    request.namespace,
                    "Scale is malformed; its workload is not scaled until it changes",
                    {"path": path, "error": repr(error)[:200]},
                )
            self._known.pop(uid, None)
            self._problems[uid] = f"malformed: {error!r:.200}"
        else:
            self._problems.pop(uid, None)
            # None: another object has the name.
            if scale is not None:
                self._malformed.discard(uid)
                self._known[uid] = scale
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
