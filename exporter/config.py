"""The exporter's configuration: flags and their environment variables in, one frozen Config out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.flags import (
    ALL_COLLECTORS,
    DEFAULT_SOCKET,
    LOG_FORMATS,
    LOG_LEVELS,
    VALUE_FLAGS,
    UsageError,
    build_parser,
    environment_name,
)
from exporter.model import Collector
from toolkit.addresses import parse_listen_address
from toolkit.durations import parse_duration as parse_duration  # noqa: PLC0414
from toolkit.durations import parse_duration_within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXIT_USAGE: Final = 2
"""The status of a program that was configured wrongly."""
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


class ConfigError(Exception):
    """The command line or the environment is wrong; `problems` has one sentence for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set. An empty `listen_host` means all interfaces, port 0 any free one.

    An empty `pod_resources_socket` switches pod labels off. `collectors` are the extended families
    beside the base set. `dra` and `pod_labels` (a regular expression) ask the Kubernetes API at
    `api_url` with the service account in that folder. `max_requests` are answered at once, 0 means
    any number.
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


def parse(
    arguments: Sequence[str], environment: Mapping[str, str], *, host_name: str, version: str
) -> Config:
    """Return the configuration; a flag wins over its environment variable.

    Raises ConfigError with every problem at once; `--help` and `--version` print and raise
    SystemExit.
    """
    try:
        namespace, unknown = build_parser(version).parse_known_args(arguments)
    except UsageError as error:
        raise ConfigError([f"{error}; see gpu-exporter --help"]) from error
    problems = [f"unknown argument {word!r}; see gpu-exporter --help" for word in unknown]
    given = {flag: value for flag, value in vars(namespace).items() if value is not None}
    config = _Reader(given, environment, problems).config(host_name)
    if problems:
        raise ConfigError(problems)
    return config


class _Reader:
    """Reads one value after the other and notes each problem under the name that the user wrote."""

    def __init__(
        self, given: Mapping[str, str], environment: Mapping[str, str], problems: list[str]
    ) -> None:
        self._given = given
        self._environment = environment
        self._problems = problems

    def config(self, host_name: str) -> Config:
        host, port = self._listen_address()
        node_name = (
            self._text("node-name")
            or self._environment.get("NODE_NAME")
            or self._environment.get("MY_NODE_NAME")
            or host_name
        )
        names = (name.strip() for name in self._text("pod-resources.extra-names").split(","))
        return Config(
            listen_host=host,
            listen_port=port,
            telemetry_path=self._telemetry_path(),
            web_config_file=self._text("web.config.file"),
            max_requests=self._count("web.max-requests"),
            node_name=node_name,
            pod_resources_socket=self._text("pod-resources.socket"),
            extra_resource_names=tuple(name for name in names if name),
            nvml_interval_seconds=self._seconds(
                "nvml.interval", MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS
            ),
            nvml_window_seconds=self._seconds(
                "nvml.window", MIN_INTERVAL_SECONDS, MAX_WINDOW_SECONDS
            ),
            nvml_release_seconds=self._seconds(
                "nvml.release-for", MIN_RELEASE_SECONDS, MAX_RELEASE_SECONDS
            ),
            nvml_required=self._switch("nvml.required"),
            dra=self._switch("dra"),
            pod_labels=self._pattern("pod-labels"),
            api_url=self._api_url(),
            collectors=self._collectors("collectors") - self._collectors("no-collectors"),
            proc_folder=self._text("path.procfs"),
            logs_folder=self._text("path.logs"),
            cgroup_folder=self._text("path.cgroup"),
            log_level=self._choice("log.level", LOG_LEVELS),
            log_format=self._choice("log.format", LOG_FORMATS),
            once=self._switch("once"),
        )

    def _text(self, flag: str) -> str:
        default = VALUE_FLAGS[flag].default if flag in VALUE_FLAGS else "false"
        return self._given.get(flag, self._environment.get(environment_name(flag), default))

    def _problem(self, flag: str, sentence: str) -> None:
        where = f"--{flag}" if flag in self._given else environment_name(flag)
        self._problems.append(f"{where}: {sentence}")

    def _choice(self, flag: str, allowed: tuple[str, ...]) -> str:
        value = self._text(flag)
        if value not in allowed:
            self._problem(flag, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def _collectors(self, flag: str) -> frozenset[Collector]:
        names = {name.strip() for name in self._text(flag).split(",")} - {""}
        for name in sorted(names - {*Collector, ALL_COLLECTORS}):
            self._problem(flag, f"{name!r} is not one of {ALL_COLLECTORS}, {', '.join(Collector)}")
        return frozenset(one for one in Collector if one in names or ALL_COLLECTORS in names)

    def _switch(self, flag: str) -> bool:
        value = self._text(flag).lower()
        if value not in {"true", "false", "1", "0", ""}:
            self._problem(flag, f"{value!r} is not one of true, false, 1, 0")
        return value in {"true", "1"}

    def _pattern(self, flag: str) -> str:
        text = self._text(flag)
        try:
            re.compile(text)
        except re.error as error:
            self._problem(flag, f"{text!r} is not a regular expression: {error}")
        return text

    def _api_url(self) -> str:
        """Where every pod finds the API server."""
        host = self._environment.get("KUBERNETES_SERVICE_HOST", "")
        for flag in ("dra", "pod-labels"):
            if not host and self._text(flag).lower() not in {"", "false", "0"}:
                self._problem(
                    flag,
                    "asks the Kubernetes API, which works in a pod only: KUBERNETES_SERVICE_HOST"
                    " is not set here",
                )
        if not host:
            return ""
        port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
        return f"https://{f'[{host}]' if ':' in host else host}:{port}"

    def _count(self, flag: str) -> int:
        text = self._text(flag)
        if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
            self._problem(flag, f"{text!r} is not a whole number from 0 to 999999")
            return 0
        return int(text)

    def _seconds(self, flag: str, lowest: float, highest: float) -> float:
        try:
            return parse_duration_within(self._text(flag), lowest=lowest, highest=highest)
        except ValueError as error:
            self._problem(flag, str(error))
            return lowest

    def _telemetry_path(self) -> str:
        path = self._text("web.telemetry-path")
        if not re.fullmatch(r"/[\w./~-]*", path) or path in {"/healthz", "/readyz"}:
            self._problem(
                "web.telemetry-path",
                f"{path!r} is not a path such as /metrics (/healthz and /readyz are taken)",
            )
        return path

    def _listen_address(self) -> tuple[str, int]:
        address = self._text("web.listen-address")
        parsed = parse_listen_address(address)
        if parsed is None:
            self._problem(
                "web.listen-address",
                f"{address!r} is not HOST:PORT or :PORT with a port up to 65535 "
                "([HOST]:PORT for IPv6)",
            )
            return "", 0
        return parsed
