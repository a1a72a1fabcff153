"""Pure: what the sources can be told; secrets are named by their files and never kept here."""

from __future__ import annotations

from dataclasses import dataclass, field

from scaler.readings.prometheus.names import PRESETS, MetricNames


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAccess:
    """How a server is verified, and what it is shown; paths are read again and again.

    `server_name` is what the server's certificate must be for where that is not the URL's host.
    `header_files` are pairs of a header's name and the file with its value.
    """

    ca_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    bearer_token_file: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    header_files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportersSettings:
    """How the exporters are read; `scheme` is http or https."""

    scheme: str = "http"
    access: HttpAccess = field(default_factory=HttpAccess)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """How a Prometheus, or what speaks its HTTP API, is read.

    `url` is what comes before `/api/v1/query`. `matchers` are added to every selector of our own.
    `params` are sent with every query; an empty value leaves one of ours out.
    """

    url: str
    names: MetricNames = PRESETS["gpu-exporter"]
    matchers: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    timeout_seconds: float = 5.0
    max_answer_bytes: int = 64 * 2**20
    max_series: int = 250_000
    access: HttpAccess = field(default_factory=HttpAccess)
