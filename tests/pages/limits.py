# SPDX-License-Identifier: Apache-2.0
"""The numbers on the pages that the code holds: bounds of clients, ages, intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.cli.config import ExporterConfig
from exporter.nvml.xid import MAX_KINDS, ZERO_XIDS
from exporter.web.server import LIMITS
from scaler.budgets import METRIC_SERIES, SERVER_PAGE_BYTES
from scaler.controller.retry_order import ACT_SECONDS
from scaler.decision import proposals
from scaler.decision.gpu_waits import MAX_WAIT_SECONDS
from scaler.kube.delegated_auth import MAX_AT_ONCE
from scaler.kube.selectors import MAX_REQUIREMENTS, MAX_TEXT_LENGTH
from scaler.metricsapi import certificates, server
from scaler.metricsapi.history import KEPT_SECONDS, SLOT_SECONDS
from scaler.metricsapi.names import WINDOW_SECONDS
from scaler.quantities import format_duration
from scaler.readings import devices, exposition
from scaler.readings.prometheus import queries, source
from scaler.readings.servers import schedule
from scaler.reporting import event_deduplication
from scaler.web import server as status_page
from scaler.web.replay_runner import BUDGET_SECONDS
from tests.pages.markdown import table
from toolkit.http_credentials import REREAD_SECONDS
from toolkit.web import passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from toolkit.listening.limits import Limits

OLDEST_GOES: Final = "the longest silent connection is closed"
CLOSED: Final = "the connection is closed"
WRONG: Final = "status 400"
MIB: Final = 1 << 20


def client_limits() -> str:
    """The bounds of the clients of each listener, and what happens beyond them."""
    every = (LIMITS, status_page.LIMITS, server.LIMITS)
    alone = f"{MAX_TEXT_LENGTH} characters, {MAX_REQUIREMENTS} requirements"
    places = f"{passwords.PLACES_PER_ADDRESS}"
    asked = f"{ExporterConfig().max_requests} (`--web.max-requests`)"
    rows = [
        ("requests answered at once", asked, "", f"{server.MAX_REQUESTS}", "status 503 or 429"),
        _row("connections", every, lambda one: f"{one.connections}", OLDEST_GOES),
        _row("TLS handshakes at once", every, lambda one: f"{one.handshakes}", OLDEST_GOES),
        _row("time for a handshake", every, lambda one: f"{one.handshake_seconds:g} s", CLOSED),
        _row("time without a request", every, lambda one: f"{one.idle_seconds:g} s", CLOSED),
        _row("request line, each header", every, lambda one: f"{one.line_bytes} bytes", WRONG),
        _row("request head, body", every, lambda one: f"{one.request_bytes >> 10} KiB", CLOSED),
        _row("time to read an answer", every, lambda one: f"{one.read_seconds:g} s", CLOSED),
        _row("unsent answers", every, lambda one: f"{one.unsent_bytes // MIB} MiB", CLOSED),
        ("password checks that wait, per address", places, places, "", "status 503"),
        ('replays for "what if" at once', "", f"1, {BUDGET_SECONDS:g} s", "", "status 503"),
        ("path", "", "", f"{server.MAX_PATH_LENGTH} characters", "status 414"),
        ("label selector", "", "", alone, WRONG),
        ("TokenReviews, SubjectAccessReviews at once", "", "", f"{MAX_AT_ONCE}", "the next waits"),
    ]
    return table(("limit of", "exporter", "status page", "metrics API", "beyond it"), rows)


def _row(
    name: str, every: Iterable[Limits], value: Callable[[Limits], str], beyond: str
) -> tuple[str, ...]:
    return (name, *map(value, every), beyond)


def _listed(words: Iterable[object]) -> str:
    *most, last = (str(word) for word in words)
    return f"{', '.join(most)} and {last}"


NUMBERS: Final[Mapping[str, str]] = {
    "xids-from-zero": _listed(ZERO_XIDS),
    "xid-counters": f"{MAX_KINDS + 1}",
    "history-slot-seconds": f"{SLOT_SECONDS:g}",
    "history-window-minutes": f"{WINDOW_SECONDS / 60:g}",
    "history-kept-minutes": f"{KEPT_SECONDS / 60:g}",
    "authority-years": f"{certificates.AUTHORITY_LIFETIME.days // 365}",
    "certificate-days": f"{certificates.SERVING_LIFETIME.days}",
    "certificate-renewal-days": f"{certificates.SERVING_RENEWED_BEFORE.days}",
    "server-quick-seconds": f"{schedule.QUICK_SECONDS:g}",
    "server-page-mib": f"{SERVER_PAGE_BYTES // MIB}",
    "server-metric-series": f"{METRIC_SERIES}",
    "exporter-stale-seconds": f"{exposition.MIN_STALE_AFTER_SECONDS:g}",
    "prometheus-stale-seconds": f"{queries.FRESH_SECONDS:g}",
    "queries-at-once": f"{source.MAX_CONCURRENT_QUERIES}",
    "credentials-reread-seconds": f"{REREAD_SECONDS:g}",
    "saturated-pod-percent": f"{proposals.SATURATED_MILLI // 1000}",
    "saturated-gpu-percent": f"{devices.SATURATED_PERCENT:g}",
    "working-percent": f"{devices.WORKING_PERCENT:g}",
    "hold-event-seconds": f"{event_deduplication.HOLD_SECONDS:g}",
    "act-seconds": f"{ACT_SECONDS:g}",
    "priority-wait": format_duration(MAX_WAIT_SECONDS),
}

PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "client-limits": client_limits,
    **{name: text.__str__ for name, text in NUMBERS.items()},
}
