# SPDX-License-Identifier: Apache-2.0
"""Flags and environment variables -> Config, with every mistake named at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import exporter
from exporter.cli.config import ExporterConfig, parse
from exporter.cli.flags import ENVIRONMENT_PREFIX
from exporter.model import Collector
from toolkit.cli.arguments import UsageError
from toolkit.cli.flags import environment_name

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def configured(*arguments, **environment):
    return parse(arguments, environment, host_name="the-host", version="1.2.3")


def problems(*arguments, **environment):
    with pytest.raises(UsageError) as caught:
        configured(*arguments, **environment)
    return caught.value.problems


def test_the_defaults_are_those_of_the_contract():
    assert configured() == ExporterConfig(
        listen_host="",
        listen_port=9445,
        telemetry_path="/metrics",
        node_name="the-host",
        pod_resources_socket="/var/lib/kubelet/pod-resources/kubelet.sock",
        extra_resource_names=(),
        nvml_interval_seconds=2.0,
        nvml_window_seconds=10.0,
        nvml_required=False,
        collectors=frozenset(),
        log_level="info",
        log_format="logfmt",
        once=False,
    )


def test_embedding_and_command_line_have_the_same_defaults():
    assert configured("--node-name=n") == ExporterConfig(node_name="n")


def test_every_flag():
    assert configured(
        "--web.listen-address=127.0.0.1:0",
        "--web.telemetry-path=/gpus",
        "--node-name",
        "node-1",
        "--pod-resources.socket=/run/kubelet.sock",
        "--pod-resources.extra-names=example.com/gpu, nvidia.com/a100",
        "--nvml.interval=500ms",
        "--nvml.window=1m30s",
        "--nvml.required",
        "--collectors=power, xid",
        "--no-collectors=xid",
        "--log.level=debug",
        "--log.format=json",
        "--nvml.release-for=1h",
        "--dra",
        "--pod-labels=app|team",
        "--job-files=/run/jobs",
        "--once",
        KUBERNETES_SERVICE_HOST="fd00::1",
        KUBERNETES_SERVICE_PORT="6443",
    ) == ExporterConfig(
        listen_host="127.0.0.1",
        listen_port=0,
        telemetry_path="/gpus",
        node_name="node-1",
        pod_resources_socket="/run/kubelet.sock",
        extra_resource_names=("example.com/gpu", "nvidia.com/a100"),
        nvml_interval_seconds=0.5,
        nvml_window_seconds=90.0,
        nvml_required=True,
        collectors=frozenset({Collector.POWER}),
        nvml_release_seconds=3600.0,
        dra=True,
        pod_labels="app|team",
        job_folder="/run/jobs",
        api_url="https://[fd00::1]:6443",
        log_level="debug",
        log_format="json",
        once=True,
    )


@pytest.mark.parametrize(
    ("flag", "value", "field", "expected"),
    [
        pytest.param("web.listen-address", "[::1]:9000", "listen_host", "::1", id="address"),
        pytest.param("web.listen-address", "[::]:9445", "listen_host", "::", id="everything"),
        pytest.param("web.telemetry-path", "/", "telemetry_path", "/", id="path"),
        pytest.param("node-name", "n", "node_name", "n", id="node name"),
        pytest.param("pod-resources.socket", "", "pod_resources_socket", "", id="no socket"),
        pytest.param(
            "pod-resources.extra-names", "a/b", "extra_resource_names", ("a/b",), id="names"
        ),
        pytest.param("nvml.interval", "1s", "nvml_interval_seconds", 1.0, id="interval"),
        pytest.param("nvml.window", "1s", "nvml_window_seconds", 1.0, id="window"),
        pytest.param("nvml.required", "true", "nvml_required", True, id="required"),
        pytest.param("nvml.required", "0", "nvml_required", False, id="not required"),
        pytest.param(
            "collectors", "ecc", "collectors", frozenset({Collector.ECC}), id="collectors"
        ),
        pytest.param("log.level", "error", "log_level", "error", id="level"),
        pytest.param("log.format", "json", "log_format", "json", id="format"),
        pytest.param("once", "1", "once", True, id="once"),
    ],
)
def test_every_flag_has_an_environment_variable(flag, value, field, expected):
    assert (
        getattr(configured(**{environment_name(ENVIRONMENT_PREFIX, flag): value}), field)
        == expected
    )


def test_a_flag_wins_over_its_environment_variable():
    assert configured("--nvml.interval=3s", GPU_EXPORTER_NVML_INTERVAL="4s") == configured(
        "--nvml.interval=3s"
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        pytest.param([], {}, set(), id="none by default"),
        pytest.param(["--collectors="], {}, set(), id="empty"),
        pytest.param(["--collectors=all"], {}, set(Collector), id="all"),
        pytest.param(
            ["--collectors=all", "--no-collectors=pcie,nvlink"],
            {},
            set(Collector) - {Collector.PCIE, Collector.NVLINK},
            id="all but some",
        ),
        pytest.param(
            ["--no-collectors=ecc"],
            {"GPU_EXPORTER_COLLECTORS": "ecc,xid"},
            {Collector.XID},
            id="flag and environment",
        ),
        pytest.param(
            ["--collectors=ecc"],
            {"GPU_EXPORTER_NO_COLLECTORS": "all"},
            set(),
            id="nothing left",
        ),
        pytest.param(["--no-collectors=ecc"], {}, set(), id="none of none"),
    ],
)
def test_the_collectors_are(arguments, environment, expected):
    assert configured(*arguments, **environment).collectors == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, "the-host", id="host name"),
        pytest.param({"MY_NODE_NAME": "my"}, "my", id="MY_NODE_NAME"),
        pytest.param({"MY_NODE_NAME": "my", "NODE_NAME": "node"}, "node", id="NODE_NAME first"),
        pytest.param(
            {"NODE_NAME": "node", "GPU_EXPORTER_NODE_NAME": "own"}, "own", id="own variable first"
        ),
        pytest.param({"NODE_NAME": ""}, "the-host", id="empty is not set"),
    ],
)
def test_the_node_name_comes_from(environment, expected):
    assert configured(**environment).node_name == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--web.listen-address=9445"], "'9445' is not HOST:PORT", id="no colon"),
        pytest.param(["--web.listen-address=:70000"], "port up to 65535", id="port"),
        pytest.param(["--web.listen-address=::1:9445"], "[HOST]:PORT for IPv6", id="bare IPv6"),
        pytest.param(["--web.telemetry-path=metrics"], "'metrics' is not a path", id="path"),
        pytest.param(["--web.telemetry-path=/healthz"], "are taken", id="taken path"),
        pytest.param(["--nvml.interval=5"], "'5' is not a duration", id="no unit"),
        pytest.param(
            ["--nvml.interval=1ms"], "'1ms' is not a duration from 100ms to 1m", id="too fast"
        ),
        pytest.param(
            ["--nvml.window=6m"], "'6m' is not a duration from 100ms to 5m", id="too wide"
        ),
        pytest.param(["--log.level=loud"], "not one of debug, info, warning, error", id="level"),
        pytest.param(["--collectors=gpu,ecc"], "'gpu' is not one of all, info", id="collector"),
        pytest.param(["--no-collectors=x"], "--no-collectors: 'x' is not one of", id="without"),
        pytest.param(["--log.format=xml"], "not one of logfmt, json", id="format"),
        pytest.param(["--nvml.inter=5s"], "unknown argument '--nvml.inter=5s'", id="abbreviated"),
        pytest.param(["extra"], "unknown argument 'extra'", id="positional"),
        pytest.param(
            ["--nvml.window"], "--nvml.window: needs a value; see gpu-exporter", id="value missing"
        ),
    ],
)
def test_a_mistake_says_what_is_allowed(arguments, says):
    (problem,) = problems(*arguments)
    assert says in problem


def test_all_mistakes_are_reported_together_under_the_name_that_was_written():
    found = problems(
        "--nvml.interval=soon", "--what", GPU_EXPORTER_LOG_LEVEL="x", GPU_EXPORTER_ONCE="maybe"
    )
    assert [problem.split(":")[0] for problem in found] == [
        "unknown argument '--what'; see gpu-exporter --help",
        "--nvml.interval",
        "GPU_EXPORTER_LOG_LEVEL",
        "GPU_EXPORTER_ONCE",
    ]


def test_readings_are_published_for_three_intervals_and_at_least_ten_seconds():
    assert ExporterConfig(nvml_interval_seconds=1.0).max_age_seconds == 10.0
    assert ExporterConfig(nvml_interval_seconds=5.0).max_age_seconds == 15.0


def test_version_and_help_end_with_success(capsys):
    for flag in ("--version", "--help"):
        with pytest.raises(SystemExit) as caught:
            configured(flag)
        assert caught.value.code == 0
    assert "gpu-exporter 1.2.3" in capsys.readouterr().out


def test_the_version_is_that_of_the_distribution():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert exporter.__version__ == project["version"]
