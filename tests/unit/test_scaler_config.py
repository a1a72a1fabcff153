# SPDX-License-Identifier: Apache-2.0
"""The command line of `gpu-scaler run`: flags, environment, and every wrong value at once."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from scaler.cli.config import (
    ScalerConfig,
    add_run_arguments,
    parse_run_arguments,
)
from scaler.metricsapi.names import METRICS
from scaler.metricsapi.settings import MetricsApiSettings
from toolkit.cli.arguments import UsageError


def parse(*arguments: str, **environ: str) -> ScalerConfig:
    parser = argparse.ArgumentParser()
    add_run_arguments(parser, environ)
    return parse_run_arguments(parser.parse_args(arguments))


def test_defaults_are_those_of_the_dataclass():
    assert parse() == ScalerConfig()


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        pytest.param(["--interval=500ms"], {}, {"interval_seconds": 0.5}, id="flag"),
        pytest.param([], {"GPU_SCALER_INTERVAL": "1m30s"}, {"interval_seconds": 90}, id="env"),
        pytest.param(
            ["--interval=1s"],
            {"GPU_SCALER_INTERVAL": "9s"},
            {"interval_seconds": 1},
            id="the flag wins over the environment",
        ),
        pytest.param(
            ["--web.listen-address=[::1]:80"],
            {},
            {"listen_host": "::1", "listen_port": 80},
            id="IPv6 address",
        ),
        pytest.param(
            ["--namespaces=team-a, team-b,team-a"],
            {},
            {"namespaces": ("team-a", "team-b")},
            id="some namespaces",
        ),
        pytest.param(["--no-leader-elect"], {}, {"leader_elect": False}, id="no election"),
        pytest.param(
            [], {"GPU_SCALER_LOG_FORMAT": "json"}, {"log_format": "json"}, id="log format"
        ),
    ],
)
def test_values(arguments, environ, expected):
    config = parse(*arguments, **environ)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        pytest.param(
            ["--interval=2"], ["--interval: '2' is not a duration such as 10s"], id="unit"
        ),
        pytest.param(["--interval=0s"], ["--interval: '0s' is not a duration above 0s"], id="zero"),
        pytest.param(["--source=graphite"], ["'graphite' is not one of exporters"], id="source"),
        pytest.param(
            ["--web.listen-address=9446", "--log.level=loud"],
            ["--web.listen-address: '9446' is not HOST:PORT", "'loud' is not one of debug"],
            id="all problems at once",
        ),
        pytest.param(
            ["--namespaces=a/b,ok", "--exporters.namespace="],
            [
                "--namespaces: 'a/b' is not a namespace name",
                "--exporters.namespace: exactly one namespace is required",
            ],
            id="namespaces",
        ),
        pytest.param(
            ["--renew-deadline=20s"],
            ["--renew-deadline, which must be below --lease-duration: got 2 s, 20 s, 15 s"],
            id="lease durations",
        ),
    ],
)
def test_wrong_values(arguments, messages):
    with pytest.raises(UsageError) as error:
        parse(*arguments)
    for message in messages:
        assert message in str(error.value)


def test_the_metrics_api_is_off_unless_asked_for():
    assert parse().metrics_api is None
    assert parse("--metrics-api").metrics_api == MetricsApiSettings()


def test_the_services_name_gives_no_variables_that_flags_are_read_from():
    # The kubelet makes them of the names of Services.
    name = MetricsApiSettings().service_name.replace("-", "_").upper()
    assert not name.startswith("GPU_SCALER_")


def test_the_flags_of_the_metrics_api():
    found = parse(
        "--metrics-api",
        "--metrics-api.listen-address=127.0.0.1:7443",
        "--metrics-api.service=ns/name",
        "--metrics-api.service-port=8443",
        "--metrics-api.secret=kept",
        "--metrics-api.tls-cert-file=a",
        "--metrics-api.tls-key-file=b",
        "--metrics-api.tls-ca-file=c",
        "--metrics-api.no-register",
        "--metrics-api.interval=1s",
        "--metrics-api.alias=DCGM_FI_DEV_GPU_UTIL=duty_cycle_current",
        "--metrics-api.alias=DCGM_FI_DEV_FB_USED=memory_used_bytes_current/1048576",
    ).metrics_api
    assert found == MetricsApiSettings(
        listen_host="127.0.0.1",
        listen_port=7443,
        service_namespace="ns",
        service_name="name",
        service_port=8443,
        secret_name="kept",
        cert_file="a",
        key_file="b",
        ca_file="c",
        register=False,
        interval_seconds=1.0,
        aliases=(
            replace(METRICS["duty_cycle_current"], name="DCGM_FI_DEV_GPU_UTIL"),
            replace(
                METRICS["memory_used_bytes_current"],
                name="DCGM_FI_DEV_FB_USED",
                divisor=1048576.0,
            ),
        ),
    )
    assert found.hosts() == ("name.ns.svc", "name.ns.svc.cluster.local")


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--web.grafana-url=grafana", "'grafana' is not a URL"),
        ("--metrics-api.service=name", "'name' is not NAMESPACE/NAME"),
        ("--metrics-api.service-port=٤٤٣", "'٤٤٣' is not a whole number from 1 to 65535"),
        ("--metrics-api.service-port=0", "'0' is not a whole number from 1 to 65535"),
        ("--metrics-api.listen-address=7443", "'7443' is not HOST:PORT"),
        ("--metrics-api.tls-cert-file=a", "--metrics-api.tls-key-file must be set together"),
        ("--metrics-api.tls-ca-file=a", "requires --metrics-api.tls-cert-file"),
        ("--metrics-api.interval=2m", "'2m' is not a duration above 0s and up to 1m"),
        ("--metrics-api.alias=gpu_util", "'gpu_util' is not NAME=METRIC or NAME=METRIC/DIVISOR"),
        ("--metrics-api.alias=a/b=duty_cycle_current", "is not NAME=METRIC"),
        ("--metrics-api.alias=a=duty_cycle", "'duty_cycle' is not a metric of the metrics API"),
        ("--metrics-api.alias=requests_current=duty_cycle_current", "is already the name"),
        ("--metrics-api.alias=a=duty_cycle_current/0", "'0' is not a divisor"),
        ("--metrics-api.alias=a=duty_cycle_current/nan", "'nan' is not a divisor"),
        ("--metrics-api.alias=a=duty_cycle_current/", "'' is not a divisor"),
    ],
)
def test_wrong_flags_of_the_metrics_api(flag, expected):
    with pytest.raises(UsageError) as wrong:
        parse("--metrics-api", flag)
    assert expected in str(wrong.value)


def test_an_alias_names_one_metric():
    with pytest.raises(UsageError, match="a is given more than once"):
        parse("--metrics-api", *["--metrics-api.alias=a=duty_cycle_current"] * 2)
    many = [f"--metrics-api.alias=a{n}=duty_cycle_current" for n in range(65)]
    with pytest.raises(UsageError, match="65 are more than 64"):
        parse("--metrics-api", *many)
