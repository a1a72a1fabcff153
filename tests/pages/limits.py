"""The numbers on the pages that the code holds: bounds of clients, ages, intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.cli.config import ExporterConfig
from exporter.nvml.xid import MAX_KINDS, ZERO_XIDS
from exporter.web.server import LIMITS
from scaler.controller.retry_order import ACT_SECONDS
from scaler.decision import proposals
from scaler.kube.delegated_auth import MAX_AT_ONCE
from scaler.kube.selectors import MAX_REQUIREMENTS, MAX_TEXT_LENGTH
from scaler.metricsapi import certificates, server
from scaler.metricsapi.history import KEPT_SECONDS, SLOT_SECONDS
from scaler.metricsapi.names import WINDOW_SECONDS
from scaler.readings import devices, exposition, http
from scaler.readings.prometheus import join, source
from scaler.reporting import event_deduplication
from scaler.web import server as status_page
from tests.pages.markdown import table
from toolkit.web import passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from toolkit.listening.limits import Limits

OLDEST_GOES: Final = "the connection that has been silent longest is closed"
CLOSED: Final = "the connection is closed"
MIB: Final = 1 << 20


def exporter_limits() -> str:
    """The bounds of the exporter's clients."""
    return _table(
        [
            (
                "requests answered at once (`--web.max-requests`)",
                f"{ExporterConfig().max_requests}",
                "status 503",
            ),
            *_of_clients(LIMITS),
            (
                "password checks that wait, for each client address",
                f"{passwords.PLACES_PER_ADDRESS}",
                "status 503",
            ),
        ]
    )


def metrics_api_limits() -> str:
    """The bounds of the metrics API's callers."""
    return _table(
        [
            ("requests answered at once", f"{server.MAX_REQUESTS}", "status 429"),
            *_of_clients(server.LIMITS),
            ("path", f"{server.MAX_PATH_LENGTH} characters", "status 414"),
            (
                "label selector",
                f"{MAX_TEXT_LENGTH} characters, {MAX_REQUIREMENTS} requirements",
                "status 400",
            ),
            ("TokenReviews, and SubjectAccessReviews, at once", f"{MAX_AT_ONCE}", "the next waits"),
        ]
    )


def status_page_limits() -> str:
    """The bounds of the clients of the scaler's status page and metrics."""
    return _table(_of_clients(status_page.LIMITS))


def _of_clients(limits: Limits) -> list[tuple[str, str, str]]:
    return [
        ("connections", f"{limits.connections}, or half of the open-file limit", OLDEST_GOES),
        ("TLS handshakes at once", f"{limits.handshakes}", OLDEST_GOES),
        ("time for a TLS handshake", f"{limits.handshake_seconds:g} s", CLOSED),
        ("time without a request", f"{limits.idle_seconds:g} s", CLOSED),
        ("request line, and each header", f"{limits.line_bytes} bytes", "status 400"),
        ("whole request head, and body", f"{limits.request_bytes >> 10} KiB", CLOSED),
        ("time to read an answer", f"{limits.read_seconds:g} s", CLOSED),
        (
            "unsent answers, all connections",
            f"{limits.unsent_bytes // MIB} MiB",
            "a connection of the address with the most is closed",
        ),
    ]


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    return table(("limit of", "value", "beyond it"), rows)


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
    "exporter-stale-seconds": f"{exposition.MIN_STALE_AFTER_SECONDS:g}",
    "prometheus-stale-seconds": f"{join.STALE_AFTER_SECONDS:g}",
    "queries-at-once": f"{source.MAX_CONCURRENT_QUERIES}",
    "credentials-reread-seconds": f"{http.REREAD_SECONDS:g}",
    "saturated-pod-percent": f"{proposals.SATURATED_MILLI // 1000}",
    "saturated-gpu-percent": f"{devices.SATURATED_PERCENT:g}",
    "working-percent": f"{devices.WORKING_PERCENT:g}",
    "hold-event-seconds": f"{event_deduplication.HOLD_SECONDS:g}",
    "act-seconds": f"{ACT_SECONDS:g}",
}

PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "exporter-limits": exporter_limits,
    "metrics-api-limits": metrics_api_limits,
    "status-page-limits": status_page_limits,
    **{name: text.__str__ for name, text in NUMBERS.items()},
}
