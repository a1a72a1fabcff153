# SPDX-License-Identifier: Apache-2.0
"""Each wrong use once: what a stranger is told, word for word; and help that fits a terminal."""

from __future__ import annotations

import argparse
import re

import pytest

from exporter.__main__ import main as exporter_main
from exporter.cli.config import parse as exporter_config
from exporter.cli.flags import build_parser as exporter_parser
from scaler.__main__ import main as scaler_main
from scaler.cli.config import parse_run_arguments
from scaler.cli.parser import build_parser
from scaler.policy.annotations import PREFIX
from simulator.demo import main as demo_main
from simulator.virtual_nodes import main as simulator_main

COMMANDS = ("run", "status", "why-not", "explain", "simulate", "idle", "check", "completion")


def run(main, arguments, capsys):
    """Return status, standard output and standard error."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("GPU_SCALER_SERVER", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", "COMMAND is missing; see gpu-scaler --help"),
        (
            "nonsense",
            "'nonsense' is not one of run, status, why-not, explain, simulate, idle, check,"
            " completion; see gpu-scaler --help",
        ),
        ("--nonsense run", "unknown argument '--nonsense'; see gpu-scaler --help"),
        ("run --nonsense", "unknown argument '--nonsense'; see gpu-scaler run --help"),
        ("run --interv=2s", "unknown argument '--interv=2s'; see gpu-scaler run --help"),
        ("run extra", "unknown argument 'extra'; see gpu-scaler run --help"),
        ("run --interval", "--interval: needs a value; see gpu-scaler run --help"),
        ("run --dry-run=x", "--dry-run: takes no value, but got 'x'; see gpu-scaler run --help"),
        ("run --interval=2", "--interval: '2' is not a duration such as 10s, 500ms or 1m30s"),
        ("run --interval=-2s", "--interval: '-2s' is not a duration such as 10s, 500ms or 1m30s"),
        ("run --source=graphite", "--source: 'graphite' is not one of exporters, prometheus"),
        ("run --source=prometheus", "--prometheus.url: required with --source prometheus"),
        (
            "run --web.listen-address=9446",
            "--web.listen-address: '9446' is not HOST:PORT or :PORT with a port up to 65535"
            " ([HOST]:PORT for IPv6)",
        ),
        ("run --namespaces=A_b", "--namespaces: 'A_b' is not a namespace name"),
        (
            "run --kinds=web!",
            "--kinds: 'web!' is not PLURAL.GROUP, such as statefulsets.apps",
        ),
        ("run --log.level=all", "--log.level: 'all' is not one of debug, info, warning, error"),
        (
            "run --retry-period=20s",
            "--retry-period must be below --renew-deadline, which must be below --lease-duration:"
            " got 20 s, 10 s, 15 s",
        ),
        (
            "run --metrics-api --metrics-api.service=x",
            "--metrics-api.service: 'x' is not NAMESPACE/NAME",
        ),
        (
            "status -o xml",
            "-o/--output: 'xml' is not one of text, json, yaml; see gpu-scaler status --help",
        ),
        (
            "status --port=http",
            "--port: 'http' is not a whole number from 1 to 65535; see gpu-scaler status --help",
        ),
        (
            "status --port=99999",
            "--port: '99999' is not a whole number from 1 to 65535; see gpu-scaler status --help",
        ),
        (
            "status --server=host:1",
            "--server: 'host:1' is not a URL such as http://HOST:9446;"
            " see gpu-scaler status --help",
        ),
        ("explain", "NAME is missing; see gpu-scaler explain --help"),
        *(
            (
                f"explain {name}",
                f"'{name}' is not NAMESPACE/NAME of a Deployment such as default/web, and not"
                " deploy/NAME or NAME with --namespace",
            )
            for name in ("/web", "default/", "a/b/c")
        ),
        ("check", "FILE is missing; see gpu-scaler check --help"),
        ("completion", "bash|zsh|fish is missing; see gpu-scaler completion --help"),
        (
            "completion csh",
            "'csh' is not one of bash, zsh, fish; see gpu-scaler completion --help",
        ),
    ],
)
def test_a_wrong_use_of_the_scaler_is_said_in_one_line(command, expected, capsys):
    assert run(scaler_main, command.split(), capsys) == (2, "", f"gpu-scaler: {expected}\n")


NO_ADDRESS = "not HOST:PORT or :PORT with a port up to 65535 ([HOST]:PORT for IPv6)"
NOT_LOCAL = ", unix:/PATH with a path up to 107 bytes, or systemd"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("INTERVAL", "2", "'2' is not a duration such as 10s, 500ms or 1m30s"),
        ("DRY_RUN", "yes", "'yes' is not one of true, false, 1, 0"),
        ("METRICS_API_NO_REGISTER", "yes", "'yes' is not one of true, false, 1, 0"),
        (
            "PROMETHEUS_TLS_INSECURE_SKIP_VERIFY",
            "no",
            "'no' is not one of true, false, 1, 0",
        ),
        ("NO_LEADER_ELECT", "on", "'on' is not one of true, false, 1, 0"),
        ("SOURCE", "x", "'x' is not one of exporters, prometheus"),
        ("EXPORTERS_SCHEME", "ftp", "'ftp' is not one of http, https"),
        ("WEB_LISTEN_ADDRESS", "a:b:80", f"'a:b:80' is {NO_ADDRESS}"),
        ("KINDS", "", "at least one kind is required, such as deployments.apps"),
    ],
)
def test_a_wrong_variable_is_named(variable, value, message, monkeypatch, capsys):
    monkeypatch.setenv(f"GPU_SCALER_{variable}", value)
    expected = f"gpu-scaler: GPU_SCALER_{variable}: {message}\n"
    assert run(scaler_main, ["run"], capsys) == (2, "", expected)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("NVML_INTERVAL", "2", "'2' is not a duration such as 10s, 500ms or 1m30s"),
        ("ONCE", "yes", "'yes' is not one of true, false, 1, 0"),
        ("LOG_FORMAT", "x", "'x' is not one of logfmt, json"),
        ("WEB_LISTEN_ADDRESS", "a:b:80", f"'a:b:80' is {NO_ADDRESS}{NOT_LOCAL}"),
        (
            "DRA",
            "1",
            "asks the Kubernetes API, which works in a pod only: KUBERNETES_SERVICE_HOST is not set"
            " here",
        ),
    ],
)
def test_a_wrong_variable_of_the_exporter_is_named(variable, value, message, monkeypatch, capsys):
    monkeypatch.setenv(f"GPU_EXPORTER_{variable}", value)
    expected = f"gpu-exporter: GPU_EXPORTER_{variable}: {message}\n"
    assert run(exporter_main, [], capsys) == (2, "", expected)


def test_one_of_the_lines_of_a_variable_is_named_by_it(monkeypatch, capsys):
    monkeypatch.setenv("GPU_SCALER_PROMETHEUS_PARAM", "dedup=true\nquery=up")
    flags = ["run", "--source=prometheus", "--prometheus.url=http://a"]
    message = "'query' is not NAME=VALUE with a NAME other than query, time and timeout"
    assert run(scaler_main, flags, capsys) == (
        2,
        "",
        f"gpu-scaler: GPU_SCALER_PROMETHEUS_PARAM: {message}\n",
    )
    flags.append("--prometheus.param=dedup")
    expected = (
        "gpu-scaler: --prometheus.param: 'dedup' is not NAME=VALUE with a NAME other than"
        " query, time and timeout\n"
    )
    assert run(scaler_main, flags, capsys) == (2, "", expected)


def test_a_variable_that_a_flag_overrides_is_not_blamed(monkeypatch, capsys):
    monkeypatch.setenv("GPU_SCALER_DRY_RUN", "maybe")
    assert run(scaler_main, ["run", "--dry-run", "--interval=2"], capsys)[2].count("\n") == 1
    monkeypatch.setenv("GPU_SCALER_INTERVAL", "5s")
    _, _, output = run(scaler_main, ["run", "--interval=2"], capsys)
    assert output.startswith("gpu-scaler: --interval: '2'")


@pytest.mark.parametrize(
    ("value", "is_on"),
    [("true", True), ("TRUE", True), ("1", True), ("false", False), ("0", False), ("", False)],
)
def test_a_switch_may_be_set_by_its_variable(value, is_on):
    parsed = build_parser({"GPU_SCALER_DRY_RUN": value}, "1").parse_args(["run"])
    assert parse_run_arguments(parsed).dry_run is is_on
    assert exporter_config([], {"GPU_EXPORTER_ONCE": value}, host_name="n", version="1").once is (
        is_on
    )


COLLECTORS = (
    "all, info, health, clocks, throttle, power, temperature, memory, performance-state, modes,"
    " memory-bandwidth, video, pcie, nvlink, fabric, ecc, xid, gpm, containers, processes"
)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("--nonsense", "unknown argument '--nonsense'; see gpu-exporter --help"),
        ("doktor", "unknown argument 'doktor'; see gpu-exporter --help"),
        ("doctor --nonsense", "unknown argument '--nonsense'; see gpu-exporter --help"),
        ("--nvml.window", "--nvml.window: needs a value; see gpu-exporter --help"),
        ("--once=x", "--once: takes no value, but got 'x'; see gpu-exporter --help"),
        (
            "--nvml.interval=2",
            "--nvml.interval: '2' is not a duration such as 10s, 500ms or 1m30s",
        ),
        ("--nvml.interval=2h", "--nvml.interval: '2h' is not a duration from 100ms to 1m"),
        ("--collectors=pice", f"--collectors: 'pice' is not one of {COLLECTORS}"),
        ("--no-collectors=x", f"--no-collectors: 'x' is not one of {COLLECTORS}"),
        (
            "--dra",
            "--dra: asks the Kubernetes API, which works in a pod only: KUBERNETES_SERVICE_HOST is"
            " not set here",
        ),
        (
            "--web.listen-address=9445",
            "--web.listen-address: '9445' is not HOST:PORT or :PORT with a port up to 65535"
            f" ([HOST]:PORT for IPv6){NOT_LOCAL}",
        ),
        (
            "--web.telemetry-path=metrics",
            "--web.telemetry-path: 'metrics' is not a path such as /metrics (/healthz and /readyz"
            " are taken)",
        ),
        (
            "--web.max-requests=-1",
            "--web.max-requests: '-1' is not a whole number from 0 to 999999",
        ),
        ("--log.format=xml", "--log.format: 'xml' is not one of logfmt, json"),
        ("completion", "completion needs one of bash, zsh, fish"),
        ("completion csh", "completion needs one of bash, zsh, fish"),
    ],
)
def test_a_wrong_use_of_the_exporter_is_said_in_one_line(command, expected, capsys):
    assert run(exporter_main, command.split(), capsys) == (2, "", f"gpu-exporter: {expected}\n")


def test_a_wrong_pattern_says_where(monkeypatch, capsys):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert run(exporter_main, ["--pod-labels=("], capsys) == (
        2,
        "",
        "gpu-exporter: --pod-labels: '(' is not a regular expression: missing ), unterminated"
        " subpattern at position 0\n",
    )


NOTHING_READ = "gpu-scaler: 0 files, 0 annotated objects: 1 error, 0 warnings\n"


@pytest.mark.parametrize(
    ("content", "status", "out", "err"),
    [
        pytest.param(
            b"a: [b\n",
            1,
            "FILE:2: is not valid YAML: expected ',' or ']', but got '<stream end>'\n",
            None,
            id="wrong YAML",
        ),
        pytest.param(
            b"\xff\xfe",
            1,
            "FILE: cannot be read: not UTF-8 text (invalid start byte)\n",
            NOTHING_READ,
            id="not text",
        ),
        pytest.param(
            b"just text\n",
            0,
            "",
            f"gpu-scaler: nothing to check: no {PREFIX}* annotations in FILE\n",
            id="nothing of ours",
        ),
        pytest.param(
            None,
            1,
            "FILE: cannot be read: No such file or directory\n",
            NOTHING_READ,
            id="no such file",
        ),
    ],
)
def test_a_file_that_cannot_be_checked(content, status, out, err, tmp_path, capsys):
    file = tmp_path / "web.yaml"
    if content is not None:
        file.write_bytes(content)
    found, output, complained = run(scaler_main, ["check", str(file)], capsys)
    assert (found, output.replace(str(file), "FILE")) == (status, out)
    assert err is None or complained.replace(str(file), "FILE") == err


@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("gpu-scaler", scaler_main),
        ("gpu-exporter", exporter_main),
        ("gpu-demo", demo_main),
        ("gpu-simulator", simulator_main),
    ],
)
def test_every_program_tells_its_version(name, main, capsys):
    status, out, err = run(main, ["--version"], capsys)
    assert (status, err) == (0, "")
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(
    ("name", "main"), [("gpu-demo", demo_main), ("gpu-simulator", simulator_main)]
)
def test_the_simulators_refuse_wrong_flags_as_the_programs_do(name, main, capsys):
    status, out, err = run(main, ["--nonsense"], capsys)
    assert (status, out) == (2, "")
    assert err == f"{name}: unknown argument '--nonsense'; see {name} --help\n"


@pytest.mark.parametrize("command", [[], *([one] for one in COMMANDS)], ids=" ".join)
def test_the_scalers_help_fits_a_terminal_and_says_how_it_ends(command, capsys):
    status, out, _ = run(scaler_main, [*command, "--help"], capsys)
    assert status == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "exit status: 0 " in out


def test_the_exporters_help_fits_a_terminal_and_says_how_it_ends(capsys):
    status, out, _ = run(exporter_main, ["--help"], capsys)
    assert status == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "exit status: 0 " in out


def flags_of(parser):
    """Yield each flag with its help, of a parser and the commands in it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags_of(command)
        elif action.option_strings and action.dest not in ("help", "version"):
            yield action.option_strings[-1], action.help


@pytest.mark.parametrize(
    ("parser", "prefix", "without"),
    [
        pytest.param(
            build_parser({}, "1"),
            "GPU_SCALER_",
            {
                *("--once", "--namespace", "--all-namespaces", "--watch", "--output", "--port"),
                *("--history", "--all"),
            },
            id="gpu-scaler",
        ),
        pytest.param(exporter_parser({}, "1"), "GPU_EXPORTER_", set(), id="gpu-exporter"),
    ],
)
def test_help_names_the_variable_of_each_flag(parser, prefix, without):
    for flag, text in flags_of(parser):
        variable = prefix + re.sub(r"[.-]", "_", flag.removeprefix("--")).upper()
        assert (f"[{variable}" in text) != (flag in without), flag
