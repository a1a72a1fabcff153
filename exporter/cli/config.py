# SPDX-License-Identifier: Apache-2.0
"""The exporter's configuration: flags and their environment variables in, one frozen Config out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from exporter.cli.flags import ALL_COLLECTORS, DEFAULT_SOCKET, build_parser, build_top_parser
from exporter.model import Collector
from toolkit.cli.flags import LOG_FORMATS, LOG_LEVELS, Values
from toolkit.cli.http_access import parse_access
from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from toolkit.cli.arguments import Parser

SERVICE_ACCOUNT_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
# Below 100 ms one cycle over many GPUs takes longer than its interval; beyond a minute no reader
# would call the values current.
MIN_INTERVAL_SECONDS: Final = 0.1
MAX_INTERVAL_SECONDS: Final = 60.0
MAX_WINDOW_SECONDS: Final = 300.0
MIN_RELEASE_SECONDS: Final = 1.0
MAX_RELEASE_SECONDS: Final = 86400.0
# A short interval must not make a single slow cycle empty the exposition.
MIN_MAX_AGE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterConfig:
    """Everything that can be set. An empty `listen_host` means all interfaces, port 0 any free one;
    it may be unix:/PATH or `systemd` as well.

    An empty `pod_resources_socket` switches pod labels off. `collectors` are the extended families
    beside the base set. `dra` and `pod_labels` (a regular expression) ask the Kubernetes API at
    `api_url` with the service account in that folder. An empty `job_folder` has no jobs.
    `max_requests` are answered at once, 0 means any number.
    """

    listen_host: str = ""
    listen_port: int = 9445
    telemetry_path: str = "/metrics"
    web_config_file: str = ""
    max_requests: int = 40
    node_name: str = ""
    pod_resources_socket: str = DEFAULT_SOCKET
    extra_resource_names: tuple[str, ...] = ()
    nvml_interval_seconds: float = 2.0
    nvml_window_seconds: float = 10.0
    nvml_release_seconds: float = 600.0
    nvml_required: bool = False
    collectors: frozenset[Collector] = frozenset()
    dra: bool = False
    pod_labels: str = ""
    job_folder: str = ""
    api_url: str = ""
    service_account_folder: str = SERVICE_ACCOUNT_FOLDER
    proc_folder: str = "/proc"
    logs_folder: str = "/var/log"
    cgroup_folder: str = "/sys/fs/cgroup"
    log_level: str = "info"
    log_format: str = "logfmt"
    once: bool = False

    @property
    def max_age_seconds(self) -> float:
        """The age in seconds past which readings are not published: 3 intervals, at least 10."""
        return max(3 * self.nvml_interval_seconds, MIN_MAX_AGE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopConfig:
    """What `gpu-exporter top` shows: the page at `url`, or the node as `exporter` reads it.

    `access` is for the URL.
    """

    exporter: ExporterConfig
    url: str | None
    watch: bool
    access: HttpAccess = field(default_factory=HttpAccess)


def parse(
    arguments: Sequence[str], environment: Mapping[str, str], *, host_name: str, version: str
) -> ExporterConfig:
    """Return the configuration; a flag wins over its environment variable.

    Raises UsageError with every problem at once; `--help` and `--version` print and raise
    SystemExit.
    """
    values = _values(build_parser(environment, version), arguments)
    config = _config(values, environment, host_name)
    values.check()
    return config


def parse_top(
    arguments: Sequence[str], environment: Mapping[str, str], *, host_name: str, version: str
) -> TopConfig:
    """Return the configuration of `gpu-exporter top`, as `parse` does."""
    values = _values(build_top_parser(environment, version), arguments)
    config = TopConfig(
        exporter=_config(values, environment, host_name),
        url=_page_url(values),
        watch=values.switch("watch"),
        access=_page_access(values),
    )
    values.check()
    # The other collectors take their time and fill no column.
    collectors = config.exporter.collectors & {Collector.CONTAINERS}
    return replace(config, exporter=replace(config.exporter, collectors=collectors))


def _values(parser: Parser, arguments: Sequence[str]) -> Values:
    parsed, problems = parser.parse_with_problems(arguments)
    values = Values(parsed)
    values.problems.extend(problems)
    return values


def _page_url(values: Values) -> str | None:
    """Return the URL, with the exporter's default path if it has none."""
    text = values.optional("url")
    if text is None:
        return None
    try:
        url = urlsplit(text)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        # It may hold a password.
        shown = text.rpartition("@")[2]
        values.problem("url", f"{shown!r} is not http://HOST[:PORT][/PATH] or https://...")
        return None
    return text if url.path not in ("", "/") else url._replace(path="/metrics").geturl()


def _page_access(values: Values) -> HttpAccess:
    access = parse_access(values, "url")
    text = values.text("url")
    if not text and access != HttpAccess():
        values.problems.append("--url.* flags are set, but apply only with --url")
    if "@" in text and (access.username or access.bearer_token_file):
        values.problems.append(
            "--url: with --url.username or --url.bearer-token-file it must have no user"
        )
    return access


def _config(values: Values, environment: Mapping[str, str], host_name: str) -> ExporterConfig:
    host, port = values.listen_address("web.listen-address", local=True)
    dra = values.switch("dra")
    node_name = (
        values.text("node-name")
        or environment.get("NODE_NAME")
        or environment.get("MY_NODE_NAME")
        or host_name
    )
    names = (name.strip() for name in values.text("pod-resources.extra-names").split(","))
    return ExporterConfig(
        listen_host=host,
        listen_port=port,
        telemetry_path=_telemetry_path(values),
        web_config_file=values.text("web.config.file"),
        max_requests=values.whole_number("web.max-requests", 0, 999_999),
        node_name=node_name,
        pod_resources_socket=values.text("pod-resources.socket"),
        extra_resource_names=tuple(name for name in names if name),
        nvml_interval_seconds=values.seconds(
            "nvml.interval", lowest=MIN_INTERVAL_SECONDS, highest=MAX_INTERVAL_SECONDS
        ),
        nvml_window_seconds=values.seconds(
            "nvml.window", lowest=MIN_INTERVAL_SECONDS, highest=MAX_WINDOW_SECONDS
        ),
        nvml_release_seconds=values.seconds(
            "nvml.release-for", lowest=MIN_RELEASE_SECONDS, highest=MAX_RELEASE_SECONDS
        ),
        nvml_required=values.switch("nvml.required"),
        dra=dra,
        pod_labels=_pattern(values, "pod-labels"),
        job_folder=values.text("job-files"),
        api_url=_api_url(values, environment, dra=dra),
        collectors=_collectors(values, "collectors") - _collectors(values, "no-collectors"),
        proc_folder=values.text("path.procfs"),
        logs_folder=values.text("path.logs"),
        cgroup_folder=values.text("path.cgroup"),
        log_level=values.choice("log.level", LOG_LEVELS),
        log_format=values.choice("log.format", LOG_FORMATS),
        once=values.switch("once"),
    )


def _collectors(values: Values, flag: str) -> frozenset[Collector]:
    names = {name.strip() for name in values.text(flag).split(",")} - {""}
    for name in sorted(names - {*Collector, ALL_COLLECTORS}):
        values.problem(flag, f"{name!r} is not one of {ALL_COLLECTORS}, {', '.join(Collector)}")
    return frozenset(one for one in Collector if one in names or ALL_COLLECTORS in names)


def _pattern(values: Values, flag: str) -> str:
    text = values.text(flag)
    try:
        re.compile(text)
    except re.error as error:
        values.problem(flag, f"{text!r} is not a regular expression: {error}")
    return text


def _api_url(values: Values, environment: Mapping[str, str], *, dra: bool) -> str:
    """Return where every pod finds the API server."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    for flag, asks in (("dra", dra), ("pod-labels", values.text("pod-labels"))):
        if not host and asks:
            values.problem(
                flag,
                "asks the Kubernetes API, which works in a pod only: KUBERNETES_SERVICE_HOST"
                " is not set here",
            )
    if not host:
        return ""
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _telemetry_path(values: Values) -> str:
    path = values.text("web.telemetry-path")
    if not re.fullmatch(r"/[\w./~-]*", path) or path in {"/healthz", "/readyz"}:
        values.problem(
            "web.telemetry-path",
            f"{path!r} is not a path such as /metrics (/healthz and /readyz are taken)",
        )
    return path
