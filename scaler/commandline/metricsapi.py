"""Pure: the flags of the metrics API -> its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.metricsapi.settings import MetricsApiSettings
from toolkit.addresses import parse_listen_address
from toolkit.durations import parse_duration_within
from toolkit.flags import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toolkit.flags import Flags

    Values = Mapping[str, object]

MAX_INTERVAL_SECONDS = 60.0


def add_metrics_api_arguments(flags: Flags) -> None:
    """Add the flags."""
    flags.switch("metrics-api", "serve custom.metrics.k8s.io for HorizontalPodAutoscalers")
    flags.text(
        "metrics-api.listen-address", "HOST:PORT", ":6443", "address of the metrics API, HTTPS"
    )
    flags.text(
        "metrics-api.service",
        "NAMESPACE/NAME",
        "gpu-scaler/gpu-metrics-api",
        "NAMESPACE/NAME of the Service in front, which the certificate is for",
    )
    flags.text("metrics-api.service-port", "PORT", "443", "port of that Service")
    flags.text(
        "metrics-api.secret",
        "NAME",
        "gpu-metrics-api",
        "Secret in the Service's namespace that keeps the certificate that is made",
    )
    flags.text(
        "metrics-api.tls-cert-file", "FILE", None, "PEM file of another certificate, read again"
    )
    flags.text("metrics-api.tls-key-file", "FILE", None, "PEM file of its private key")
    flags.text(
        "metrics-api.tls-ca-file",
        "FILE",
        None,
        "PEM file of the CAs that verify it, for the APIServices",
    )
    flags.switch("metrics-api.no-register", "leave the APIServices to others")
    flags.text(
        "metrics-api.interval", "DURATION", "5s", "time between two reads of what is asked for"
    )


def parse_metrics_api(values: Values, problems: list[str]) -> MetricsApiSettings | None:
    """Return the settings, None where the API is off; what is wrong is added to `problems`."""

    def text(name: str) -> str | None:
        value = value_of(values, f"metrics-api.{name}")
        return None if value in (None, "") else str(value)

    if not value_of(values, "metrics-api"):
        return None
    namespace, slash, name = (text("service") or "").partition("/")
    if not (namespace and slash and name) or "/" in name:
        problems.append(f"--metrics-api.service: {text('service')!r} is not NAMESPACE/NAME")
    if (text("tls-cert-file") is None) != (text("tls-key-file") is None):
        problems.append("--metrics-api.tls-cert-file and --metrics-api.tls-key-file go together")
    if text("tls-ca-file") and not text("tls-cert-file"):
        problems.append("--metrics-api.tls-ca-file is for --metrics-api.tls-cert-file")
    host, port = _listen_address(text("listen-address") or "", problems)
    return MetricsApiSettings(
        listen_host=host,
        listen_port=port,
        service_namespace=namespace,
        service_name=name,
        service_port=_port(text("service-port") or "", problems),
        secret_name=text("secret") or "",
        cert_file=text("tls-cert-file"),
        key_file=text("tls-key-file"),
        ca_file=text("tls-ca-file"),
        register=not value_of(values, "metrics-api.no-register"),
        interval_seconds=_interval(text("interval") or "", problems),
    )


def _listen_address(text: str, problems: list[str]) -> tuple[str, int]:
    parsed = parse_listen_address(text)
    if parsed is None:
        problems.append(
            f"--metrics-api.listen-address: {text!r} is not HOST:PORT or :PORT with a port up to"
            " 65535 ([HOST]:PORT for IPv6)"
        )
        return "", 0
    return parsed


def _port(text: str, problems: list[str]) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 65535:
        problems.append(f"--metrics-api.service-port: {text!r} is not a port from 1 to 65535")
        return 443
    return int(text)


def _interval(text: str, problems: list[str]) -> float:
    # Values are fresh for 15 s at least, and the average has a sample every 5 s at most.
    try:
        return parse_duration_within(text, highest=MAX_INTERVAL_SECONDS)
    except ValueError as error:
        problems.append(f"--metrics-api.interval: {error}")
        return 5.0
