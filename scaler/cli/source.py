# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags of the metric sources -> the settings of the sources."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scaler.quantities import parse_quantity
from scaler.readings.prometheus.names import PRESETS, MetricNames
from scaler.readings.settings import ExportersSettings, PrometheusSettings
from toolkit.cli.http_access import add_access_arguments, parse_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from toolkit.cli.flags import Flags, Values

MAX_TIMEOUT_SECONDS = 30.0
MAX_PAST_TIMEOUT_SECONDS = 300.0
MAX_ANSWER_BYTES = 2**30
MAX_SERIES = 10_000_000
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_MATCHER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(=|!=|=~|!~)\"([^\"\\\n]|\\.)*\"")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)")


def add_source_arguments(group: Callable[[str], Flags]) -> None:
    """Add the flags of both sources; `group` adds a titled group of flags."""
    flags = group("source of GPU values")
    flags.text(
        "source",
        "exporters|prometheus",
        "exporters",
        "source of GPU values: the exporters themselves, or Prometheus",
    )
    exporters = group("exporters, with --source exporters")
    exporters.text("scrape-timeout", "DURATION", "2s", "timeout for one exporter scrape")
    exporters.text(
        "exporters.namespace",
        "NAME",
        "gpu-exporter",
        "namespace of the exporters; pods in other namespaces are ignored",
    )
    exporters.text("exporters.scheme", "http|https", "http", "URL scheme of all exporters")
    add_access_arguments(exporters, "exporters", "the exporters")
    _add_prometheus_arguments(
        group("Prometheus, for gpu-scaler/query and with --source prometheus"),
        url="base URL of the Prometheus API (required with --source prometheus)",
        matched='default namespace="..." with the name in --exporters.namespace; required with'
        " dcgm",
        timeout=("5s", "timeout for all queries of one loop, up to 30s"),
    )


def add_past_arguments(flags: Flags) -> None:
    """Add the flags of Prometheus for commands that read what it has recorded."""
    _add_prometheus_arguments(
        flags,
        url="base URL of the Prometheus API",
        matched="default: all series",
        timeout=("1m", "timeout for one query, up to 5m"),
    )


def _add_prometheus_arguments(
    flags: Flags, *, url: str, matched: str, timeout: tuple[str, str]
) -> None:
    flags.text("prometheus.url", "URL", "", url)
    flags.text(
        "prometheus.metrics",
        "|".join(PRESETS),
        "gpu-exporter",
        "exporter whose metrics Prometheus has: gpu-exporter, dcgm (dcgm-exporter with labels pod"
        " and namespace) or dcgm-exported (labels exported_pod and exported_namespace)",
    )
    for name, what in (
        ("namespace-label", "label that holds the pod namespace"),
        ("pod-label", "label that holds the pod name"),
        ("container-label", "label that holds the container name"),
        ("device-labels", "labels that identify a GPU, separated by commas"),
    ):
        flags.text(f"prometheus.{name}", "LABEL", None, what)
    flags.text(
        "prometheus.exporters-matcher",
        "MATCHER",
        None,
        f"matcher that only series of the GPU exporters themselves satisfy ({matched})",
    )
    for name, metavar, what in (
        ("matcher", "MATCHER", 'matcher for the series to read, such as cluster="eu-1"'),
        ("param", "NAME=VALUE", "parameter of every query; NAME= removes a default one"),
        ("header", "'NAME: VALUE'", "header of every query"),
        ("header-file", "'NAME: FILE'", "header of every query whose value is in a file"),
    ):
        flags.repeated(f"prometheus.{name}", metavar, what)
    flags.text("prometheus.timeout", "DURATION", *timeout)
    flags.text("prometheus.max-answer-size", "BYTES", "64Mi", "maximum size of one response")
    flags.text("prometheus.max-series", "NUMBER", "250000", "maximum series in one response")
    add_access_arguments(flags, "prometheus", "Prometheus")


def parse_exporters(values: Values) -> ExportersSettings:
    """Return the settings of the exporters source."""
    scheme = values.choice("exporters.scheme", ("http", "https"))
    return ExportersSettings(scheme=scheme, access=parse_access(values, "exporters"))


def parse_prometheus(values: Values, *, is_source: bool) -> PrometheusSettings | None:
    """Return the settings of Prometheus, None if neither GPU values nor queries use it.

    `is_source` is whether GPU values come from Prometheus, too.
    """
    if not is_source and not values.text("prometheus.url"):
        return None
    exporters = _exporters_matcher(values, required=is_source)
    return _settings(values, exporters, longest_seconds=MAX_TIMEOUT_SECONDS)


def parse_past(values: Values) -> PrometheusSettings | None:
    """Return the settings of the flags of `add_past_arguments`, None without a URL."""
    if not values.text("prometheus.url"):
        return None
    exporters = values.optional("prometheus.exporters-matcher")
    given = (exporters,) if exporters else ()
    _check_matchers(values, "prometheus.exporters-matcher", given)
    return _settings(values, given, longest_seconds=MAX_PAST_TIMEOUT_SECONDS)


def _settings(
    values: Values, exporters: tuple[str, ...], *, longest_seconds: float
) -> PrometheusSettings:
    matchers = values.repeated("prometheus.matcher")
    _check_matchers(values, "prometheus.matcher", matchers)
    return PrometheusSettings(
        url=_url(values, "prometheus.url"),
        names=_names(values),
        matchers=(*exporters, *matchers),
        common_matchers=matchers,
        params=_pairs(values, "prometheus.param"),
        timeout_seconds=values.seconds("prometheus.timeout", highest=longest_seconds),
        max_answer_bytes=_whole(values, "prometheus.max-answer-size", MAX_ANSWER_BYTES),
        max_series=_whole(values, "prometheus.max-series", MAX_SERIES),
        access=replace(
            parse_access(values, "prometheus"),
            headers=_headers(values, "prometheus.header"),
            header_files=_headers(values, "prometheus.header-file"),
        ),
    )


def _check_matchers(values: Values, flag: str, matchers: Iterable[str]) -> None:
    for text in matchers:
        if not _MATCHER.fullmatch(text):
            values.problem(flag, f'{text!r} is not a matcher such as cluster="eu-1"')


def _exporters_matcher(values: Values, *, required: bool) -> tuple[str, ...]:
    """Return the matcher that excludes series of scraped pods that pose as an exporter."""
    flag = "prometheus.exporters-matcher"
    given = values.optional(flag)
    if given:
        _check_matchers(values, flag, [given])
        return (given,)
    if required and values.text("prometheus.metrics") != "gpu-exporter":
        values.problem(
            flag,
            "required with --prometheus.metrics dcgm and dcgm-exported, because without"
            " it any scraped pod can report GPU values for other pods; for example"
            ' job="nvidia-dcgm-exporter"',
        )
        return ()
    return (f'namespace="{values.text("exporters.namespace")}"',)


def _url(values: Values, flag: str) -> str:
    """Return the URL without a trailing slash; refuse a password, which logs would show."""
    url = values.text(flag)
    if not url:
        values.problem(flag, "required with --source prometheus")
        return ""
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_right = urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        values.problem(
            flag,
            "must not contain a user name or password; use --prometheus.username and"
            " --prometheus.password-file",
        )
    elif parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right:
        values.problem(flag, f"{url!r} is not http://HOST[:PORT][/PATH] or https://...")
    elif parts.query or parts.fragment:
        values.problem(flag, f"{url!r} has a query or a fragment; use --prometheus.param")
    elif re.search(r"/api/v1(/query)?/?$", parts.path):
        values.problem(flag, f"{url!r} must end before /api/v1")
    return url.rstrip("/")


def _names(values: Values) -> MetricNames:
    preset = values.choice("prometheus.metrics", PRESETS)
    names = PRESETS.get(preset, PRESETS["gpu-exporter"])

    def labels(flag: str, *texts: str) -> tuple[str, ...]:
        for text in texts:
            if not _LABEL.fullmatch(text):
                values.problem(flag, f"{text!r} is not a label name")
        return texts

    def label(flag: str) -> str | None:
        given = values.optional(flag)
        return None if given is None else labels(flag, given)[0]

    devices = values.optional("prometheus.device-labels")
    return replace(
        names,
        namespace_label=label("prometheus.namespace-label") or names.namespace_label,
        pod_label=label("prometheus.pod-label") or names.pod_label,
        container_label=label("prometheus.container-label") or names.container_label,
        device_labels=names.device_labels
        if devices is None
        else labels("prometheus.device-labels", *devices.split(",")),
    )


def _pairs(values: Values, flag: str) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in values.repeated(flag)]
    for name, equals, _ in pairs:
        if not name or not equals or name in ("query", "time", "timeout"):
            values.problem(
                flag,
                f"{name!r} is not NAME=VALUE with a NAME other than query, time and timeout",
            )
    return tuple((name, value) for name, _, value in pairs)


def _headers(values: Values, flag: str) -> tuple[tuple[str, str], ...]:
    found = []
    for text in values.repeated(flag):
        match = _HEADER.fullmatch(text)
        if match is None or not match[2]:
            # The message leaves out the text, which may contain a secret.
            values.problem(flag, "a value is not 'NAME: VALUE' such as 'X-Scope-OrgID: team-a'")
        elif match[1].lower() == "authorization" and flag.endswith("header"):
            values.problem(flag, f"Authorization holds a secret; use --{flag}-file")
        else:
            found.append((match[1], match[2].strip()))
    return tuple(found)


def _whole(values: Values, flag: str, highest: int) -> int:
    text = values.text(flag)
    try:
        number = int(parse_quantity(text))
    except ValueError:
        number = 0
    if not 0 < number <= highest:
        values.problem(flag, f"{text!r} is not a number above 0 and up to {highest}")
    return number
