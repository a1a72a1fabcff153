# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags of `gpu-scaler run` and their environment variables -> one ScalerConfig."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaler.cli.metricsapi import add_metrics_api_arguments, parse_metrics_api
from scaler.cli.servers import add_servers_arguments, parse_servers
from scaler.cli.source import add_source_arguments, parse_exporters, parse_prometheus
from scaler.readings.settings import (
    NAMESPACE,
    ExportersSettings,
    PrometheusSettings,
    ServersSettings,
)
from toolkit.cli.flags import LOG_FORMATS, LOG_LEVELS, Values, flag_groups

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from scaler.metricsapi.settings import MetricsApiSettings
    from toolkit.cli.flags import Flags


ENVIRONMENT_PREFIX = "GPU_SCALER_"
_KIND = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerConfig:
    """The configuration of `gpu-scaler run`; durations in seconds.

    `interval_seconds` is short because a scrape of the exporters takes one hop. The lease durations
    are the defaults of the Kubernetes controllers. `source` provides the GPU values. `prometheus`
    answers queries with either source; it is None without a URL. `servers` is how the model servers
    in pods are read. `metrics_api` is None if it is off. Empty `namespaces` mean all namespaces.
    `idle_all` counts the idle GPUs of all pods, not only of opted-in workloads.
    """

    source: str = "exporters"
    exporters: ExportersSettings = field(default_factory=ExportersSettings)
    prometheus: PrometheusSettings | None = None
    servers: ServersSettings = field(default_factory=ServersSettings)
    metrics_api: MetricsApiSettings | None = None
    kinds: tuple[str, ...] = ("deployments.apps",)
    namespaces: tuple[str, ...] = ()
    exporters_namespace: str = "gpu-exporter"
    interval_seconds: float = 2.0
    scrape_timeout_seconds: float = 2.0
    kubeconfig: str | None = None
    context: str | None = None
    listen_host: str = ""
    listen_port: int = 9446
    web_config_file: str = ""
    grafana_url: str = ""
    leader_elect: bool = True
    lease_namespace: str = "gpu-scaler"
    lease_name: str = "gpu-scaler"
    lease_duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_period_seconds: float = 2.0
    identity: str | None = None
    once: bool = False
    dry_run: bool = False
    idle_all: bool = False
    log_level: str = "info"
    log_format: str = "logfmt"


def add_run_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Add the flags of `gpu-scaler run`; `GPU_SCALER_<FLAG>` overrides the default of each."""
    group = flag_groups(parser, environ, prefix=ENVIRONMENT_PREFIX)
    scaling = group("scaling")
    scaling.text("interval", "DURATION", "2s", "interval between loops")
    scaling.text(
        "kinds",
        "NAMES",
        "deployments.apps",
        "kinds to scale, separated by commas, such as statefulsets.apps or rollouts.argoproj.io",
    )
    scaling.text(
        "namespaces",
        "NAMES",
        "",
        "namespaces to scale in, separated by commas; each needs a Role (default: all namespaces)",
    )
    scaling.switch("dry-run", "decide and report, but change no replica count")
    parser.add_argument("--once", action="store_true", help="run one loop and exit")
    add_source_arguments(group)
    add_servers_arguments(group("model servers in pods"))
    lease = group("leader election")
    lease.switch("no-leader-elect", "act without a Lease; safe only if no other scaler runs")
    add_lease_arguments(lease)
    lease.text(
        "lease-duration",
        "DURATION",
        "15s",
        "time after its last renewal when another replica may take the Lease",
    )
    lease.text(
        "renew-deadline", "DURATION", "10s", "time after its last renewal when the leader stops"
    )
    lease.text(
        "retry-period", "DURATION", "2s", "interval between attempts to acquire or renew the Lease"
    )
    lease.text(
        "identity", "NAME", None, "name of this replica in the Lease (default: the host name)"
    )
    add_metrics_api_arguments(group("metrics API for HorizontalPodAutoscalers"))
    serving = group("status page, metrics and log")
    serving.text(
        "web.listen-address",
        "HOST:PORT",
        ":9446",
        "listen address of the status page, the decisions API, /metrics, /healthz and /readyz",
    )
    serving.text(
        "web.config.file",
        "FILE",
        "",
        "file with TLS certificates and users of that address, in the format of Prometheus'"
        " exporter-toolkit (default: plain HTTP for everybody)",
    )
    serving.text(
        "web.grafana-url",
        "URL",
        "",
        "base URL of the Grafana that has our dashboards, for links on the status page",
    )
    serving.switch(
        "idle.all",
        "count the idle GPU time of all pods, not only of opted-in workloads; reads every exporter"
        " every 10s (30s with 5,000 nodes)",
    )
    serving.text("log.level", "|".join(LOG_LEVELS), "info", "minimum level of log lines")
    serving.text("log.format", "|".join(LOG_FORMATS), "logfmt", "format of log lines")
    add_kubeconfig_arguments(group("Kubernetes API"))


def add_lease_arguments(flags: Flags) -> None:
    """Add the flags that name the acting scaler's Lease."""
    flags.text("lease-namespace", "NAME", "gpu-scaler", "namespace of the acting scaler's Lease")
    flags.text("lease-name", "NAME", "gpu-scaler", "name of the acting scaler's Lease")


def add_kubeconfig_arguments(flags: Flags) -> None:
    """Add the flags that select the cluster."""
    flags.text(
        "kubeconfig",
        "FILE",
        None,
        "kubeconfig file (default: the pod's service account, else $KUBECONFIG, else"
        " ~/.kube/config)",
    )
    flags.text("context", "NAME", None, "kubeconfig context (default: the current context)")


def parse_run_arguments(arguments: argparse.Namespace) -> ScalerConfig:
    """Return the configuration of parsed arguments.

    Raises:
        UsageError: with every invalid value, not only the first.
    """
    values = Values(arguments)
    kinds = values.names("kinds", _KIND, "PLURAL.GROUP, such as statefulsets.apps")
    if not kinds:
        values.problem("kinds", "at least one kind is required, such as deployments.apps")
    exporters_namespace = values.names("exporters.namespace", NAMESPACE, "a namespace name")
    if len(exporters_namespace) != 1:
        values.problem("exporters.namespace", "exactly one namespace is required")
    host, port = values.listen_address("web.listen-address")
    source = values.choice("source", ("exporters", "prometheus"))
    config = ScalerConfig(
        source=source,
        exporters=parse_exporters(values),
        prometheus=parse_prometheus(values, is_source=source == "prometheus"),
        servers=parse_servers(values),
        metrics_api=parse_metrics_api(values),
        kinds=kinds,
        namespaces=values.names("namespaces", NAMESPACE, "a namespace name"),
        exporters_namespace=next(iter(exporters_namespace), ""),
        interval_seconds=values.seconds("interval"),
        scrape_timeout_seconds=values.seconds("scrape-timeout"),
        kubeconfig=values.optional("kubeconfig"),
        context=values.optional("context"),
        listen_host=host,
        listen_port=port,
        web_config_file=values.text("web.config.file"),
        grafana_url=_grafana_url(values),
        leader_elect=not values.switch("no-leader-elect"),
        lease_namespace=values.text("lease-namespace"),
        lease_name=values.text("lease-name"),
        lease_duration_seconds=values.seconds("lease-duration"),
        renew_deadline_seconds=values.seconds("renew-deadline"),
        retry_period_seconds=values.seconds("retry-period"),
        identity=values.optional("identity"),
        once=values.switch("once"),
        dry_run=values.switch("dry-run"),
        idle_all=values.switch("idle.all"),
        log_level=values.choice("log.level", LOG_LEVELS),
        log_format=values.choice("log.format", LOG_FORMATS),
    )
    if not (
        config.retry_period_seconds < config.renew_deadline_seconds < config.lease_duration_seconds
    ):
        values.problems.append(
            "--retry-period must be below --renew-deadline, which must be below --lease-duration:"
            f" got {config.retry_period_seconds:g} s, {config.renew_deadline_seconds:g} s,"
            f" {config.lease_duration_seconds:g} s"
        )
    values.check()
    return config


def _grafana_url(values: Values) -> str:
    url = values.text("web.grafana-url")
    if url and not re.fullmatch(r"https?://[^/\s?#]+[^\s?#]*", url):
        values.problem(
            "web.grafana-url", f"{url!r} is not a URL such as https://grafana.example.com"
        )
    return url.rstrip("/")
