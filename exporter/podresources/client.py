# SPDX-License-Identifier: Apache-2.0
"""The kubelet's pod-resources API v1 over its unix socket.

The last mapping outlives errors for `KEEP_SECONDS`: long enough for a restart of the kubelet or a
refusal under its rate limit, short enough that no pod's name stays on a GPU that went to another.

A kubelet that has just started answers before it has heard of its pods from the API server (it
polls once a second whether it has its own Node object, and only then asks for pods). Where the
exporter is a pod, its own pod is always in a true answer. So an answer without pods of the API
server that lacks a device held before is an error too. Outside of Kubernetes it may be true, and
the devices are then free `KEEP_SECONDS` later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from exporter.podresources.decode import decode
from exporter.podresources.grpc_answer import DEADLINE_EXCEEDED, INTERNAL, GrpcError
from exporter.podresources.unary_call import Channel
from toolkit.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from exporter.model import Allocation
    from exporter.podresources.decode import Listing

log = logging.getLogger(__name__)

LIST_METHOD: Final = "/v1.PodResourcesLister/List"
LIST_REQUEST: Final = b""
"""A message without fields."""
LIST_TIMEOUT_SECONDS: Final = 10.0
# A List answer names every container of the node, with GPUs or without: beyond gRPC's 4 MiB on
# large nodes.
MAX_RECEIVE_BYTES: Final = 64 * 1024 * 1024
KEEP_SECONDS: Final = 30.0
# The kubelet's rate limit is shared by all of its clients, so no fast interval of ours may use it
# up; and a call takes longer than reading 8 GPUs, while pods change seldom. Nor may a slow interval
# outlast the mapping.
MIN_INTERVAL_SECONDS: Final = 2.0
MAX_INTERVAL_SECONDS: Final = 10.0
# Whoever scrapes seldom sees a mapping of up to this age: of the second one, whoever scrapes less
# than once a minute.
UNREAD_INTERVAL_SECONDS: Final = 5.0
LONG_UNREAD_INTERVAL_SECONDS: Final = 15.0
LONG_UNREAD_SECONDS: Final = 60.0
# Stands among gRPC's codes for an answer of a kubelet that does not know its pods yet.
NO_PODS: Final = "NO_PODS"
MAX_LOGGED_CODES: Final = 10
"""Codes logged in one outage."""


class PodResourcesError(Exception):
    """The kubelet did not list; `code` is the name of the gRPC code, such as UNAVAILABLE."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class PodResourcesClient:
    """Calls List."""

    def __init__(
        self, socket_path: str, extra_resource_names: Collection[str], *, node_name: str
    ) -> None:
        self._channel = Channel(socket_path)
        self._extra_resource_names = frozenset(extra_resource_names)
        self._node_name = node_name

    def kept_connected(self) -> AbstractContextManager[None]:
        """Return a context in which all calls share a connection."""
        return self._channel.kept()

    async def list_pods(self) -> Listing:
        """Return what the node's pods hold; raises PodResourcesError."""
        try:
            answer = await self._channel.call(
                LIST_METHOD,
                LIST_REQUEST,
                timeout_seconds=LIST_TIMEOUT_SECONDS,
                max_bytes=MAX_RECEIVE_BYTES,
            )
            return decode(answer, self._extra_resource_names, node_name=self._node_name)
        except GrpcError as error:
            raise PodResourcesError(error.code, error.details) from error
        except Exception as error:
            details = f"the answer cannot be used: {type(error).__name__}: {error}"
            raise PodResourcesError(INTERNAL, details) from error


class Finished(Protocol):
    """Which of the listed pods have finished; `awaits_second_look` says that some may have."""

    awaits_second_look: bool

    def among(self, pods: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Return those (namespace, name) that have finished; blocks."""


class PodResources:
    """Keeps the newest mapping and hands on each one.

    `publish` gets every listed set of allocations; `on_expiry` is called when the last one is too
    old to be used; `on_error` gets the name of each failed call's gRPC code, or NO_PODS.
    """

    def __init__(
        self,
        client: PodResourcesClient,
        *,
        interval_seconds: float,
        publish: Callable[[frozenset[Allocation]], None],
        on_expiry: Callable[[], None],
        on_error: Callable[[str], None],
        finished: Finished | None = None,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._client = client
        self._interval_seconds = min(
            max(interval_seconds, MIN_INTERVAL_SECONDS), MAX_INTERVAL_SECONDS
        )
        self._keep_seconds = keep_seconds
        self._publish = publish
        self._on_expiry = on_expiry
        self._on_error = on_error
        self._finished = finished
        self._is_read = asyncio.Event()
        self._read_seconds: float | None = None
        self.finished_count = 0
        self._listed_seconds: float | None = None
        self._held: frozenset[Allocation] = frozenset()
        # By code, and by the kind of an unexpected error.
        self._logged = LogOnce(limit=MAX_LOGGED_CODES)
        self.problem: str | None = None
        self.last_success_unix_seconds: float | None = None

    def on_scrape(self) -> None:
        """Note that somebody reads the mapping, and may want a newer one soon."""
        self._read_seconds = time.monotonic()
        self._is_read.set()

    async def run(self) -> None:
        """List again and again until cancelled: every interval at most, seldom while nobody reads.

        After a failure, or when a pod seems to have finished, it is tried again in any case.
        """
        with self._client.kept_connected():
            while True:
                self._is_read.clear()
                await self.refresh()
                due_seconds = time.monotonic() + self._interval_seconds
                awaits_look = self._finished is not None and self._finished.awaits_second_look
                if self.problem is None and not awaits_look:
                    await self._until_read()
                await asyncio.sleep(max(0.0, due_seconds - time.monotonic()))

    async def _until_read(self) -> None:
        is_read_often = (
            self._read_seconds is not None
            and time.monotonic() - self._read_seconds < LONG_UNREAD_SECONDS
        )
        seconds = UNREAD_INTERVAL_SECONDS if is_read_often else LONG_UNREAD_INTERVAL_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_read.wait()

    async def refresh(self) -> None:
        """List once; an error is counted, logged when new, and leaves the last mapping a while."""
        try:
            await self._list()
        except Exception as error:
            # The loop must outlive any answer of the kubelet and whatever the node's files hold.
            if self._logged.begins(f"unexpected {type(error).__name__}"):
                log.exception("Processing the pod resources failed unexpectedly; trying again")
            self._failed(INTERNAL, f"{type(error).__name__}: {error}")

    async def _list(self) -> None:
        try:
            async with asyncio.timeout(self._expires_in_seconds()):
                listing = await self._client.list_pods()
        except PodResourcesError as error:
            self._failed(error.code, error.details)
        except TimeoutError:
            self._failed(DEADLINE_EXCEEDED, "no answer before the last mapping became too old")
        else:
            if listing.has_api_pods or self._held <= listing.allocations:
                self._succeeded(listing, await self._running(listing.allocations))
            else:
                self._failed(
                    NO_PODS, "the kubelet lists no pods of the API server, as after its start"
                )

    def _expires_in_seconds(self) -> float | None:
        if self._listed_seconds is None:
            return None
        return max(0.05, self._listed_seconds + self._keep_seconds - time.monotonic())

    async def _running(self, allocations: frozenset[Allocation]) -> frozenset[Allocation]:
        """Return the allocations of pods that have not finished."""
        if self._finished is None:
            return allocations
        pods = {(one.container.namespace_name, one.container.pod_name) for one in allocations}
        finished = await asyncio.to_thread(self._finished.among, pods)
        self.finished_count = len(finished)
        return frozenset(
            one
            for one in allocations
            if (one.container.namespace_name, one.container.pod_name) not in finished
        )

    def _succeeded(self, listing: Listing, running: frozenset[Allocation]) -> None:
        # Without pods nothing is held or shown here; publishing that would forget, for the answers
        # to come, who held a device before the kubelet was away.
        if listing.has_api_pods or listing.allocations:
            self._publish(running)
        if self._logged.has_active or self._listed_seconds is None:
            log.info("The kubelet lists pod resources", extra={"devices": len(listing.allocations)})
        self._logged.end_all()
        self.problem = None
        self._listed_seconds = time.monotonic()
        self.last_success_unix_seconds = time.time()
        self._held = listing.allocations

    def _failed(self, code: str, details: str) -> None:
        if self._logged.begins(code):
            log.warning(
                "Cannot list pod resources; GPUs lose their pod labels",
                extra={
                    "code": code,
                    "error": details,
                    "mapping_kept_seconds": self._keep_seconds,
                },
            )
        self.problem = f"{code}: {details}"
        self._on_error(code)
        if (
            self._listed_seconds is not None
            and time.monotonic() - self._listed_seconds >= self._keep_seconds
        ):
            self._listed_seconds = None
            self._held = frozenset()
            log.warning("The last pod resources are too old; GPUs have no pod labels")
            self._on_expiry()
