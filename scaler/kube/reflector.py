# SPDX-License-Identifier: Apache-2.0
"""A cache of one kind of object, kept by list and watch, decoded to the fields that are needed.

Each watch has a timeout of half a minute, and must end shortly after it, which detects half-open
connections within that time. Bookmarks and the versions of events let the next watch continue where
the last one ended; 410 Gone and ERROR events cause a new list. Objects missing from a list are
deleted from the cache.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson

from scaler.budgets import LOG_BYTES
from scaler.kube.client import MAX_RESPONSE_BYTES
from scaler.kube.errors import ApiError, Forbidden, Gone, NotFound, from_status
from scaler.kube.fields import MalformedObject
from scaler.kube.lines import LineSplitter
from scaler.kube.retry_after import MOST_SECONDS
from toolkit.party_log import PartyLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.kube.client import JsonObject, KubeClient

log = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS = 30
IDLE_GRACE_SECONDS = 5.0
"""How much longer than the server's timeout to wait for a silent watch to end."""
DISCONNECTED_SECONDS = 10.0
"""How long the cache may be used without a connection."""
ABSENT_RETRY_SECONDS = 60.0
BACKOFF_SECONDS = (0.2, 15.0)
LEAST_WATCH_SECONDS = 1.0
MAX_MALFORMED = 1000
"""How many malformed objects are remembered, so that each is logged once."""


class Reflector(Generic[T]):
    """Keeps `objects` by uid in sync with the server while `run` runs.

    `decode(raw, previous)` returns the decoded object, or None to ignore it; `previous` is its
    earlier decoded form. `changed(old, new)` is called for each difference, with None for an object
    that did not exist or was deleted. `optional` marks a kind that the cluster may not serve, or
    may forbid if it `may_be_hidden`: it then counts as synced and empty, and is retried every
    minute. A kind that was readable before counts as out of contact instead.
    """

    def __init__(  # noqa: PLR0913  (the seams of the tests)
        self,
        client: KubeClient,
        path: str,
        decode: Callable[[JsonObject, T | None], T | None],
        *,
        changed: Callable[[T | None, T | None], None] | None = None,
        optional: bool = False,
        may_be_hidden: bool = True,
        watch_seconds: int = WATCH_SECONDS,
        idle_grace_seconds: float = IDLE_GRACE_SECONDS,
        backoff_seconds: tuple[float, float] = BACKOFF_SECONDS,
    ) -> None:
        self._client = client
        self.path = path
        """The path that is listed and watched."""
        self._decode = decode
        self._changed = changed or (lambda old, new: None)
        self._optional = optional
        self._may_be_hidden = may_be_hidden
        self._watch_seconds = watch_seconds
        self._idle_seconds = watch_seconds + idle_grace_seconds
        self._backoff_seconds = backoff_seconds
        self._objects: dict[str, T] = {}
        self._version: str | None = None
        self.problem: str | None = None
        """Why there is no contact, None while there is."""
        self._warned = False
        self._was_listed = False
        self._failures = 0
        self._contact_seconds: float | None = None
        self._good_for_seconds = 0.0
        self._malformed: set[str] = set()
        self._party_log = PartyLog(log, most_bytes=LOG_BYTES)
        self.synced = asyncio.Event()
        self.tried = asyncio.Event()
        """Set once the first attempt has ended, whether it succeeded or not."""

    @property
    def objects(self) -> Mapping[str, T]:
        """The decoded objects by uid."""
        return self._objects

    def age_seconds(self, now_seconds: float) -> float | None:
        """Return the time since the last contact with the server; None if there was none."""
        return None if self._contact_seconds is None else now_seconds - self._contact_seconds

    def is_fresh(self, now_seconds: float) -> bool:
        """Return whether `objects` can be trusted at `now_seconds` (monotonic).

        True while a watch is open and not overdue, and for 10 s after contact was lost.
        """
        age = self.age_seconds(now_seconds)
        return self.synced.is_set() and age is not None and age <= self._good_for_seconds

    async def run(self) -> None:
        """List and watch until cancelled; failures are logged when they begin and end."""
        while True:
            error: ApiError | None = None
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except ApiError as failure:
                error = failure
            pause_seconds = self._pause_after(error)
            self.tried.set()
            await asyncio.sleep(pause_seconds)

    def _pause_after(self, error: ApiError | None) -> float:
        """Return the pause before the next attempt; records and logs the result of the last one."""
        if error is not None and self._is_absence(error):
            return self._absent(error)
        self._failures += 1
        if isinstance(error, Gone):
            self._version = None
        elif error is not None:
            return max(self._failed(error), min(error.retry_after_seconds or 0.0, MOST_SECONDS))
        # A regular end or a first 410 needs no pause, but a server or proxy that ends each watch at
        # once must not cause a busy loop.
        return self._backoff() if self._failures > 1 else 0.0

    def _is_absence(self, error: ApiError) -> bool:
        """Return whether the kind is not served or forbidden, and was never readable."""
        is_hidden = isinstance(error, Forbidden) and self._may_be_hidden and not self._was_listed
        # A 404 for a kind that may not be hidden comes from a starting API server or a proxy.
        is_not_served = isinstance(error, NotFound) and (
            self._may_be_hidden or not self._was_listed
        )
        return self._optional and (is_not_served or is_hidden)

    async def _list(self) -> None:
        found: dict[str, T] = {}
        page: JsonObject = {}
        async for page in self._client.pages(self.path):
            for raw in page.get("items") or ():
                uid = _uid(raw)
                thing = self._slim(raw, uid)
                if thing is not None:
                    found[uid] = thing
            self._in_contact(DISCONNECTED_SECONDS)
        version = (page.get("metadata") or {}).get("resourceVersion")
        if not isinstance(version, str):
            raise self._not_understood(f"a list without a resourceVersion: {page!r:.200}")
        before, self._objects = self._objects, found
        for uid, old in before.items():
            if uid not in found:
                self._changed(old, None)
        for uid, new in found.items():
            was = before.get(uid)
            if was != new:
                self._changed(was, new)
        self._version = version
        self._was_listed = True
        self._recovered()
        self.synced.set()
        self.tried.set()

    async def _watch(self, version: str) -> None:
        params = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._watch_seconds),
        }
        opened = None
        try:
            async with self._client.stream(
                self.path, params=params, idle_timeout_seconds=self._idle_seconds
            ) as chunks:
                opened = time.monotonic()
                self._in_contact(self._idle_seconds)
                self._recovered()
                splitter = LineSplitter()
                async for chunk in chunks:
                    self._in_contact(self._idle_seconds)
                    for line in splitter.feed(chunk):
                        self._apply(line)
                    if splitter.held_bytes > MAX_RESPONSE_BYTES:
                        self._version = None
                        raise self._not_understood(
                            f"a line of the watch exceeds {MAX_RESPONSE_BYTES} bytes"
                        )
        finally:
            self._good_for_seconds = DISCONNECTED_SECONDS
            if opened is not None and time.monotonic() - opened >= LEAST_WATCH_SECONDS:
                self._failures = 0
        self._in_contact(DISCONNECTED_SECONDS)

    def _apply(self, line: bytes) -> None:
        try:
            event = orjson.loads(line)
            type_, raw = event["type"], event["object"]
            code = int(raw.get("code") or 500) if type_ == "ERROR" else 0
            version = "" if code else str(raw["metadata"]["resourceVersion"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._version = None
            raise self._not_understood(
                f"a line of the watch is not an event: {line[:200]!r}"
            ) from error
        if code:
            self._version = None
            raise from_status(request=f"GET {self.path}?watch", status=code, body=raw)
        if type_ != "BOOKMARK":
            uid = _uid(raw)
            new = None if type_ == "DELETED" else self._slim(raw, uid)
            self._replace(uid, new)
        self._version = version
        self._failures = 0

    def _not_understood(self, message: str) -> ApiError:
        return ApiError(request=f"GET {self.path}", status=200, reason="NotJSON", message=message)

    def _replace(self, uid: str, new: T | None) -> None:
        old = self._objects.get(uid)
        if new is None:
            self._objects.pop(uid, None)
        else:
            self._objects[uid] = new
        if old != new:
            self._changed(old, new)

    def _slim(self, raw: JsonObject, uid: str) -> T | None:
        try:
            if not uid:
                raise MalformedObject("the object has no uid")
            return self._decode(raw, self._objects.get(uid))
        except MemoryError:
            # Not the object's fault, and an omitted pod would look like a deleted one.
            raise
        except Exception as error:  # noqa: BLE001  (one object must not affect the others)
            if uid not in self._malformed:
                if len(self._malformed) >= MAX_MALFORMED:
                    self._malformed.clear()
                self._malformed.add(uid)
                title = _title(raw)
                self._party_log.log(
                    logging.WARNING,
                    title.rpartition("/")[0],
                    "Malformed object ignored",
                    {"path": self.path, "object": title, "error": repr(error)[:200]},
                )
            return None

    def _absent(self, error: ApiError) -> float:
        for old in self._objects.values():
            self._changed(old, None)
        self._objects = {}
        self._version = None
        self._was_listed = False
        if isinstance(error, Forbidden) and not self._warned:
            self._warned = True
            log.warning(
                "Optional kind is forbidden; it is treated as absent",
                extra={"path": self.path, "error": error.message},
            )
        self.problem = f"absent: {error.message}"
        self._failures = 0
        self._in_contact(ABSENT_RETRY_SECONDS + 2 * DISCONNECTED_SECONDS)
        self.synced.set()
        return ABSENT_RETRY_SECONDS

    def _failed(self, error: ApiError) -> float:
        # A single broken connection is normal: a load balancer, or an API server that restarts.
        if not self._warned and (self._failures > 1 or error.status is not None):
            self._warned = True
            log.warning(
                "Watch failed; it will be retried",
                extra={"path": self.path, "error": str(error)},
            )
        self.problem = str(error)
        return self._backoff()

    def _backoff(self) -> float:
        first, most = self._backoff_seconds
        return min(most, first * 2.0 ** min(self._failures - 1, 16)) * random.uniform(0.5, 1.0)

    def _recovered(self) -> None:
        if self._warned:
            log.info("Watch works again", extra={"path": self.path})
        self._warned = False
        self.problem = None

    def _in_contact(self, good_for_seconds: float) -> None:
        self._contact_seconds = time.monotonic()
        self._good_for_seconds = good_for_seconds
        self._party_log.log_omitted()


def _uid(raw: JsonObject) -> str:
    """Return an object's uid, empty if it has none."""
    try:
        uid = raw["metadata"]["uid"]
    except (KeyError, TypeError):
        return ""
    return uid if isinstance(uid, str) else ""


def _title(raw: JsonObject) -> str:
    """Return `namespace/name` of an object that may be malformed."""
    try:
        metadata = raw["metadata"]
        return f"{metadata.get('namespace') or ''}/{metadata.get('name')}".lstrip("/")[:200]
    except (KeyError, TypeError, AttributeError):
        return f"{raw!r:.80}"
