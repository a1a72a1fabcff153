# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags of the metrics API -> its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.metricsapi.names import MAX_ALIASES, parse_alias
from scaler.metricsapi.settings import MetricsApiSettings

if TYPE_CHECKING:
    from scaler.metricsapi.names import ServedMetric
    from toolkit.cli.flags import Flags, Values

MAX_INTERVAL_SECONDS = 60.0
MAX_PORT = 65535


def add_metrics_api_arguments(flags: Flags) -> None:
    """Add the flags."""
    flags.switch("metrics-api", "serve custom.metrics.k8s.io for HorizontalPodAutoscalers")
    flags.text(
        "metrics-api.listen-address", "HOST:PORT", ":6443", "HTTPS listen address of the API"
    )
    flags.text(
        "metrics-api.service",
        "NAMESPACE/NAME",
        "gpu-scaler/gpu-metrics-api",
        "Service of the API; the serving certificate is valid for its DNS names",
    )
    flags.text("metrics-api.service-port", "PORT", "443", "port of the Service")
    flags.text(
        "metrics-api.secret",
        "NAME",
        "gpu-metrics-api",
        "Secret in the Service's namespace that stores the generated certificate",
    )
    flags.text(
        "metrics-api.tls-cert-file",
        "FILE",
        None,
        "PEM file of the serving certificate, reloaded on change (default: generated)",
    )
    flags.text(
        "metrics-api.tls-key-file", "FILE", None, "PEM file of the serving certificate's key"
    )
    flags.text(
        "metrics-api.tls-ca-file",
        "FILE",
        None,
        "PEM file of the CA certificates for the caBundle of the APIServices",
    )
    flags.switch("metrics-api.no-register", "do not create or update the APIServices")
    flags.text(
        "metrics-api.interval", "DURATION", "5s", "interval between reads of requested metrics"
    )
    flags.repeated(
        "metrics-api.alias",
        "NAME=METRIC[/DIVISOR]",
        "another name of a metric, whose value may be divided into another unit",
    )


def parse_metrics_api(values: Values) -> MetricsApiSettings | None:
    """Return the settings, None where the API is off."""
    if not values.switch("metrics-api"):
        return None
    service = values.text("metrics-api.service")
    namespace, slash, name = service.partition("/")
    if not (namespace and slash and name) or "/" in name:
        values.problem("metrics-api.service", f"{service!r} is not NAMESPACE/NAME")
    cert_file = values.optional("metrics-api.tls-cert-file")
    key_file = values.optional("metrics-api.tls-key-file")
    ca_file = values.optional("metrics-api.tls-ca-file")
    if (cert_file is None) != (key_file is None):
        values.problems.append(
            "--metrics-api.tls-cert-file and --metrics-api.tls-key-file must be set together"
        )
    if ca_file and not cert_file:
        values.problem("metrics-api.tls-ca-file", "requires --metrics-api.tls-cert-file")
    host, port = values.listen_address("metrics-api.listen-address")
    return MetricsApiSettings(
        listen_host=host,
        listen_port=port,
        service_namespace=namespace,
        service_name=name,
        service_port=values.whole_number("metrics-api.service-port", 1, MAX_PORT),
        secret_name=values.text("metrics-api.secret"),
        cert_file=cert_file,
        key_file=key_file,
        ca_file=ca_file,
        register=not values.switch("metrics-api.no-register"),
        # A value stays fresh for at least 15 s. An average keeps at most one sample every 5 s.
        interval_seconds=values.seconds("metrics-api.interval", highest=MAX_INTERVAL_SECONDS),
        aliases=_aliases(values),
    )


def _aliases(values: Values) -> tuple[ServedMetric, ...]:
    found: dict[str, ServedMetric] = {}
    for text in values.repeated("metrics-api.alias"):
        try:
            alias = parse_alias(text)
        except ValueError as error:
            values.problem("metrics-api.alias", str(error))
            continue
        if alias.name in found:
            values.problem("metrics-api.alias", f"{alias.name} is given more than once")
        found[alias.name] = alias
    if len(found) > MAX_ALIASES:
        values.problem("metrics-api.alias", f"{len(found)} are more than {MAX_ALIASES}, the limit")
    return tuple(found.values())
