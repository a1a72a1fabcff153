# SPDX-License-Identifier: Apache-2.0
"""Leader election on a `coordination.k8s.io/v1` Lease: only one replica acts.

Ages are measured on this process's monotonic clock from the time when it observed a change of the
Lease, so the clocks of the candidates need not agree. The leader may act for `renew_deadline` after
it SENT its last successful renewal; the others wait for the longer `lease_duration` after they
OBSERVED it. A paused process or a slow request therefore ends the leader's term before the next one
begins. Source: client-go `tools/leaderelection`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scaler.kube.errors import ApiError, Conflict, NotFound
from scaler.kube.fields import MAX_NAME_CHARACTERS, text, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.kube.client import JsonObject, KubeClient

log = logging.getLogger(__name__)

STOP_ANNOTATION = "gpu-scaler/paused"
PAGE_ANNOTATION = "gpu-scaler/status-page"
"""SCHEME:HOLDER:PORT of the holder's status page, as the API server's pod proxy takes it."""
JITTER = 0.2
RELEASED_DURATION_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The Lease as last read, and when this content was first observed (monotonic)."""

    resource_version: str
    holder: str
    acquired: str | None
    renewed: str | None
    transitions: int
    duration_seconds: float
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    seen_seconds: float


class LeaseElection:
    """A candidate for leader; `run` acquires and renews the Lease until cancelled."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_duration_seconds: float = 15.0,
        renew_deadline_seconds: float = 10.0,
        retry_period_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Requires `retry_period < renew_deadline < lease_duration`, or two could act at once."""
        if not retry_period_seconds < renew_deadline_seconds < lease_duration_seconds:
            msg = (
                "retry period < renew deadline < lease duration is required, got"
                f" {retry_period_seconds:g} s, {renew_deadline_seconds:g} s,"
                f" {lease_duration_seconds:g} s"
            )
            raise ValueError(msg)
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self._identity = identity
        self._lease_duration_seconds = lease_duration_seconds
        self._renew_deadline_seconds = renew_deadline_seconds
        self._retry_period_seconds = retry_period_seconds
        self.page: Callable[[], tuple[str, int] | None] = lambda: None
        """The scheme and the port of our status page; who looks for it finds it in the Lease."""
        self._clock = clock
        self._seen: _Seen | None = None
        self._renewed_seconds: float | None = None
        self._problem: str | None = None

    def is_leader(self, now_seconds: float) -> bool:
        """Return whether this candidate may act at `now_seconds` (monotonic)."""
        renewed = self._renewed_seconds
        return renewed is not None and now_seconds < renewed + self._renew_deadline_seconds

    def leader(self) -> str | None:
        """Return the holder's identity as last observed, None if there is no holder."""
        return self._seen.holder or None if self._seen is not None else None

    def stop_reason(self) -> str | None:
        """Return why all scaling is stopped, as last observed; None if it is not.

        Any value of the Lease's annotation `gpu-scaler/paused` except "false" stops all scaling.
        """
        value = "" if self._seen is None else self._seen.annotations.get(STOP_ANNOTATION, "")
        if value in ("", "false"):
            return None
        return f"all scaling is stopped: Lease {self._name} has {STOP_ANNOTATION}={value[:80]!r}"

    async def confirm(self) -> str | None:
        """Reread the Lease just before acting; return why not to act, None to act."""
        try:
            async with asyncio.timeout(self._retry_period_seconds):
                seen = self._observe(await self._client.get(self._path))
        except (ApiError, TimeoutError) as error:
            return f"cannot read the Lease before acting: {str(error) or 'timed out'}"
        if seen.holder != self._identity:
            return f"{seen.holder or 'no replica'} holds the Lease"
        return self.stop_reason()

    async def run(self) -> None:
        """Acquire and renew the Lease until cancelled; call `release` after that."""
        was_leader = False
        while True:
            await self.try_once()
            leads = self.is_leader(self._clock())
            if leads != was_leader:
                was_leader = leads
                message = "Leading: this replica scales" if leads else "Stopped leading"
                log.info(message, extra={"identity": self._identity, "leader": self.leader()})
            await asyncio.sleep(self._retry_period_seconds * random.uniform(1, 1 + JITTER))

    async def try_once(self) -> bool:
        """Acquire or renew the Lease if possible; return whether this candidate holds it.

        Logs an API error unless it repeats the last one; the current term is then not extended.
        """
        sent = self._clock()
        try:
            async with asyncio.timeout(self._renew_deadline_seconds / 2):
                try:
                    holds = await self._acquire_or_renew(sent)
                except Conflict:
                    # Another write came first: of a candidate, or of a user's annotation.
                    holds = await self._acquire_or_renew(sent)
        except Conflict:
            holds = False
        except (ApiError, TimeoutError) as error:
            self._note_problem(str(error) or "timed out")
            return self.is_leader(self._clock())
        self._note_problem(None)
        self._renewed_seconds = sent if holds else None
        return holds

    async def release(self) -> None:
        """Release the Lease so that another replica takes over at once; stop acting first."""
        held, self._renewed_seconds = self._renewed_seconds, None
        if held is None:
            return
        try:
            async with asyncio.timeout(self._retry_period_seconds):
                # Reread it: a renewal that was cancelled may still have arrived.
                seen = self._observe(await self._client.get(self._path))
                if seen.holder == self._identity:
                    released = self._body(seen, "", RELEASED_DURATION_SECONDS)
                    await self._client.put(self._path, released)
        except (ApiError, TimeoutError) as error:
            log.warning(
                "Cannot release the Lease; it will expire",
                extra={"lease": self._name, "error": str(error)},
            )

    async def _acquire_or_renew(self, sent: float) -> bool:
        try:
            lease = await self._client.get(self._path)
        except NotFound:
            body = self._body(None, self._identity)
            self._observe(await self._client.post(self._collection, body))
            return True
        seen = self._observe(lease)
        # The holder has to renew within the longer of its duration and ours.
        duration = max(seen.duration_seconds, self._lease_duration_seconds)
        if seen.holder not in ("", self._identity) and sent < seen.seen_seconds + duration:
            return False
        self._observe(await self._client.put(self._path, self._body(seen, self._identity)))
        return True

    def _observe(self, lease: JsonObject) -> _Seen:
        try:
            self._seen = self._decoded(lease)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ApiError(
                request=f"GET {self._path}",
                status=200,
                reason="NotALease",
                message=f"the response is not a Lease: {error!r:.200}",
            ) from error
        return self._seen

    def _decoded(self, lease: JsonObject) -> _Seen:
        spec = lease.get("spec") or {}
        metadata = lease["metadata"]
        # Whoever can write the Lease may write a text of any length, which is logged and shown.
        most = max(MAX_NAME_CHARACTERS, len(self._identity) + 1)
        holder = str(spec.get("holderIdentity") or "")[:most]
        renewed = spec.get("renewTime")
        before = self._seen
        unchanged = before is not None and (before.holder, before.renewed) == (holder, renewed)
        return _Seen(
            resource_version=text(metadata, "resourceVersion"),
            holder=holder,
            acquired=spec.get("acquireTime"),
            renewed=renewed,
            transitions=int(spec.get("leaseTransitions") or 0),
            duration_seconds=float(spec.get("leaseDurationSeconds") or 0),
            annotations=texts(metadata.get("annotations") or {}),
            labels=texts(metadata.get("labels") or {}),
            seen_seconds=before.seen_seconds if before and unchanged else self._clock(),
        )

    def _body(self, seen: _Seen | None, holder: str, duration: int | None = None) -> JsonObject:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        # A PUT would otherwise drop annotations and labels of users.
        annotations = dict(seen.annotations) if seen is not None else {}
        page = self.page()
        if holder and page is not None:
            annotations[PAGE_ANNOTATION] = f"{page[0]}:{holder}:{page[1]}"
        metadata: JsonObject = {"name": self._name, "annotations": annotations}
        acquired, transitions = now, 0
        if seen is not None:
            metadata |= {"resourceVersion": seen.resource_version, "labels": seen.labels}
            transitions = seen.transitions
            if holder == seen.holder:
                acquired = seen.acquired or now
            elif holder:
                transitions += 1
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                # The API knows whole seconds only, and at least one.
                "leaseDurationSeconds": duration or max(1, round(self._lease_duration_seconds)),
                "acquireTime": acquired,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    def _note_problem(self, problem: str | None) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        if problem is not None:
            log.warning(
                "Cannot read or renew the Lease",
                extra={"lease": self._name, "error": problem},
            )
