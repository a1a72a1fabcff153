# SPDX-License-Identifier: Apache-2.0
"""Records events on workloads; one background task sends them, so that no decision waits.

A repeated event increments the count of the existing one. A full queue or a refusal of the API
drops events, never decisions; the first of consecutive failures is logged. If the API asks to wait,
the event is sent after that time.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from scaler.budgets import LOG_BYTES
from scaler.cluster.event_queue import EventQueue, largest_share
from scaler.cluster.kinds import Kinds
from scaler.kube.errors import ApiError, NotFound
from scaler.kube.retry_after import MOST_SECONDS
from toolkit.party_log import PartyLog

if TYPE_CHECKING:
    from scaler.kube.client import JsonObject, KubeClient
    from scaler.model import ObjectRef

log = logging.getLogger(__name__)

COMPONENT = "gpu-scaler"
MAX_QUEUED = 1000
MAX_REMEMBERED = 4096
MAX_MESSAGE_LENGTH = 1024
CALL_TIMEOUT_SECONDS = 5.0

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """An event; equal events are counted as one."""

    ref: ObjectRef
    uid: str
    type: EventType
    reason: str
    message: str


@dataclass(slots=True)
class _Sent:
    """An event that exists in the API: its name and its count."""

    name: str
    count: int


class EventRecorder:
    """Queues events. `run` sends them until cancelled; `flush` waits until all are sent."""

    def __init__(self, client: KubeClient, *, host: str, kinds: Kinds | None = None) -> None:
        self._client = client
        self._kinds = kinds or Kinds()
        self._host = host
        self._queue: EventQueue[_Event] = EventQueue(MAX_QUEUED)
        self._waiting: defaultdict[str, dict[asyncio.TimerHandle, None]] = defaultdict(dict)
        self._sent: OrderedDict[_Event, _Sent] = OrderedDict()
        self._failing = False
        self._party_log = PartyLog(log, most_bytes=LOG_BYTES)

    def record(
        self, ref: ObjectRef, uid: str, *, type_: EventType, reason: str, message: str
    ) -> None:
        """Queue an event about the workload `ref`; never waits, never raises."""
        event = _Event(
            ref=ref, uid=uid, type=type_, reason=reason, message=message[:MAX_MESSAGE_LENGTH]
        )
        self._put(event)

    def _put(self, event: _Event) -> None:
        dropped = self._queue.put(event.ref.namespace, event)
        if dropped is not None:
            self._note_failure(dropped, "the event queue is full")

    def _put_later(self, event: _Event, seconds: float) -> None:
        """Queue an event again after a time.

        If too many are waiting, the namespace with the most of them loses its newest.
        """
        namespace = event.ref.namespace

        def put() -> None:
            self._no_longer_waits(namespace, handle)
            self._put(event)

        if sum(map(len, self._waiting.values())) >= MAX_QUEUED:
            longest = largest_share(self._waiting, namespace)
            if longest == namespace:
                return
            newest = next(reversed(self._waiting[longest]))
            newest.cancel()
            self._no_longer_waits(longest, newest)
        handle = asyncio.get_running_loop().call_later(seconds, put)
        self._waiting[namespace][handle] = None

    def _no_longer_waits(self, namespace: str, handle: asyncio.TimerHandle) -> None:
        del self._waiting[namespace][handle]
        if not self._waiting[namespace]:
            del self._waiting[namespace]

    async def run(self) -> None:
        """Send queued events until cancelled."""
        try:
            await self._run()
        finally:
            for handles in self._waiting.values():
                for handle in handles:
                    handle.cancel()

    async def _run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except ApiError as error:
                self._note_failure(event, str(error))
                if error.is_refusal() and error.retry_after_seconds:
                    self._put_later(event, min(error.retry_after_seconds, MOST_SECONDS))
            else:
                self._failing = False
            finally:
                self._queue.sent()
                self._party_log.log_omitted()

    async def flush(self, *, timeout_seconds: float) -> None:
        """Wait until everything queued is sent, at most `timeout_seconds`; needs `run`."""
        try:
            await asyncio.wait_for(self._queue.all_sent(), timeout=timeout_seconds)
        except TimeoutError:
            log.warning("Events not sent before exit", extra={"count": len(self._queue)})

    async def _send(self, event: _Event) -> None:
        collection = f"/api/v1/namespaces/{event.ref.namespace}/events"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sent = self._sent.get(event)
        if sent is not None:
            try:
                await self._client.patch(
                    f"{collection}/{sent.name}",
                    {"count": sent.count + 1, "lastTimestamp": now},
                    timeout_seconds=CALL_TIMEOUT_SECONDS,
                )
            except NotFound:
                # The API server deletes events after an hour: create a new one.
                del self._sent[event]
            else:
                sent.count += 1
                self._sent.move_to_end(event)
                return
        name = f"{event.ref.name[:200]}.{uuid.uuid4().hex[:16]}"
        await self._client.post(
            collection, self._body(event, name, now), timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        self._sent[event] = _Sent(name, 1)
        while len(self._sent) > MAX_REMEMBERED:
            self._sent.popitem(last=False)

    def _body(self, event: _Event, name: str, now: str) -> JsonObject:
        kind = self._kinds.of(event.ref)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": event.ref.namespace},
            "involvedObject": {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "namespace": event.ref.namespace,
                "name": event.ref.name,
                "uid": event.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "source": {"component": COMPONENT, "host": self._host},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    def _note_failure(self, event: _Event, why: str) -> None:
        if self._failing:
            return
        self._failing = True
        self._party_log.log(
            logging.WARNING,
            event.ref.namespace,
            "Event not sent; further failures are not logged until one is sent",
            {"deployment": str(event.ref), "event": event.reason, "error": why},
        )
