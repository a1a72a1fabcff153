# SPDX-License-Identifier: Apache-2.0
"""Pure: the settings of the sources; secrets are given as paths and never kept here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scaler.readings.prometheus.names import PRESETS, MetricNames
from toolkit.http_access import HttpAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportersSettings:
    """How to read the exporters; `scheme` is http or https."""

    scheme: str = "http"
    access: HttpAccess = field(default_factory=HttpAccess)


ALL_NAMESPACES = "*"
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A DNS label (RFC 1123)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersSettings:
    """How to read the model servers in pods.

    `access` is for the pods of `namespaces`, `*` for all; for the others, only its verification of
    certificates counts. `credentials_file` has the access for further namespaces. With
    `loopback_pods` a pod may have a loopback address, as where the whole cluster is one machine.
    """

    timeout_seconds: float = 2.0
    access: HttpAccess = field(default_factory=HttpAccess)
    namespaces: tuple[str, ...] = ()
    credentials_file: str | None = None
    loopback_pods: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """How to read Prometheus or a server with the same HTTP API.

    `url` is the base URL, without `/api/v1/query`. `matchers` are added to every selector of a GPU
    exporter's series that the scaler writes, `common_matchers` are those of them that hold for all
    series. `params` are sent with every query; an empty value removes a default one.
    """

    url: str
    names: MetricNames = PRESETS["gpu-exporter"]
    matchers: tuple[str, ...] = ()
    common_matchers: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    timeout_seconds: float = 5.0
    max_answer_bytes: int = 64 * 2**20
    max_series: int = 250_000
    access: HttpAccess = field(default_factory=HttpAccess)
