# SPDX-License-Identifier: Apache-2.0
"""The status server: metrics, probes, the last decisions as JSON, and the status page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from scaler.reporting.serialization import decision_document, decision_run_document
from scaler.web.answers import add_security_headers
from scaler.web.metrics_page import MetricsPage
from scaler.web.page import workload_of
from toolkit.listening.limits import Limits
from toolkit.web.server import probe_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.controller.loop import Controller
    from scaler.model import ObjectRef
    from scaler.reporting.metrics import ScalerMetrics
    from scaler.reporting.serialization import DecisionDocument
    from scaler.reporting.status_store import DecisionRecord
    from scaler.web.page import StatusPage

LIMITS: Final = Limits(
    connections=512,
    # Longer than the intervals at which Prometheus users scrape.
    idle_seconds=60.0,
    # A behavior of any length that is allowed, escaped.
    line_bytes=16 * 1024,
    request_bytes=32 * 1024,
    unsent_bytes=64 * 1024 * 1024,
)


class StatusServer:
    """The handlers of the status server; all are read-only."""

    def __init__(
        self,
        *,
        controller: Controller,
        metrics: ScalerMetrics,
        not_ready_because: Callable[[], str | None],
        not_alive_because: Callable[[], str | None],
        page: StatusPage,
        held: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`held` returns the held parts of the cluster while the scaler scales the others."""
        self._controller = controller
        self._metrics = metrics
        self._not_ready_because = not_ready_because
        self._not_alive_because = not_alive_because
        self._page = page
        self._decisions_of: Mapping[ObjectRef, DecisionRecord] | None = None
        self._decisions_text = b"[]"
        self._held = held

    def application(self) -> web.Application:
        """Return the aiohttp application with all routes."""
        app = web.Application()
        app.on_response_prepare.append(add_security_headers)
        self._page.add_routes(app)
        metrics = MetricsPage(self._metrics.registry, lambda: self._controller.status_store.records)
        app.router.add_get("/metrics", metrics.handle)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/api/v1/decisions", self._decisions)
        app.router.add_get("/api/v1/decisions/{namespace}/{name}", self._decision)
        app.router.add_get("/api/v1/decisions/{namespace}/{name}/history", self._history)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return probe_answer(self._not_alive_because())

    async def _readyz(self, _: web.Request) -> web.Response:
        held = "".join(f"held: {one}\n" for one in self._held())
        return probe_answer(self._not_ready_because(), more=held)

    async def _decisions(self, _: web.Request) -> web.Response:
        records = self._controller.status_store.records
        if records is not self._decisions_of:
            # Encode once per loop, however many clients poll.
            documents = [_document(records[ref]) for ref in sorted(records)]
            self._decisions_of, self._decisions_text = records, msgspec.json.encode(documents)
        return self._answer({"decisions": msgspec.Raw(self._decisions_text)})

    async def _decision(self, request: web.Request) -> web.Response:
        ref = workload_of(request)
        record = self._controller.status_store.records.get(ref)
        if record is None:
            return self._unknown(ref)
        return self._answer({"decision": _document(record)})

    async def _history(self, request: web.Request) -> web.Response:
        ref = workload_of(request)
        runs = self._controller.status_store.decision_runs.get(ref)
        if runs is None:
            return self._unknown(ref)
        return self._answer({"history": [decision_run_document(one) for one in runs]})

    def _unknown(self, ref: ObjectRef) -> web.Response:
        message = (
            f"no decision for {ref.title}: it does not exist, is being deleted, does not have"
            " the annotation gpu-scaler/enabled, or this replica is not the leader"
        )
        return self._answer({"error": message}, status=404)

    def _answer(self, document: Mapping[str, object], *, status: int = 200) -> web.Response:
        body = msgspec.json.encode({**self._page.replica(), **document})
        return web.Response(status=status, body=body, content_type="application/json")


def _document(record: DecisionRecord) -> DecisionDocument:
    return decision_document(
        record.decision,
        decided_unix_seconds=record.decided_unix_seconds,
        created_unix_seconds=record.created_unix_seconds,
    )
