# SPDX-License-Identifier: Apache-2.0
"""The HOST:PORT of a flag, for all programs alike."""

from __future__ import annotations

import pytest

from exporter.cli.config import parse as parse_exporter
from tests.unit.test_scaler_config import parse as parse_scaler
from toolkit.cli.addresses import (
    listen_address_text,
    parse_listen_address,
    parse_local_address,
)
from toolkit.cli.arguments import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9445", ("", 9445)),
        ("[]:9445", None),
        ("[::]:9445", ("::", 9445)),
        ("0.0.0.0:9445", ("0.0.0.0", 9445)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("[::ffff:10.0.0.1]:80", ("::ffff:10.0.0.1", 80)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
        ("localhost:9445", ("localhost", 9445)),
        ("node-1.example.com:9445", ("node-1.example.com", 9445)),
        ("", None),
        ("9445", None),
        ("host", None),
        (":", None),
        (":65536", None),
        (":-1", None),
        (":\u0661", None),
        ("::1:9445", None),
        ("[::1]", None),
        ("[::1]9445", None),
        ("[::1:9445", None),
        ("a:b:1", None),
        ("a:b:80", None),
        (":9445 ", None),
    ],
)
def test_all_programs_mean_and_refuse_the_same(text, expected):
    assert parse_listen_address(text) == expected

    def exporter():
        flag = f"--web.listen-address={text}"
        config = parse_exporter([flag], {}, host_name="node", version="1")
        return config.listen_host, config.listen_port

    def status_page():
        config = parse_scaler(f"--web.listen-address={text}")
        return config.listen_host, config.listen_port

    def metrics_api():
        found = parse_scaler("--metrics-api", f"--metrics-api.listen-address={text}").metrics_api
        assert found is not None
        return found.listen_host, found.listen_port

    message = f"{text!r} is not HOST:PORT or :PORT with a port up to 65535 ([HOST]:PORT for IPv6)"
    for program in (exporter, status_page, metrics_api):
        if expected is None:
            with pytest.raises(UsageError) as refused:
                program()
            (problem,) = refused.value.problems
            # The exporter goes on with what else it takes.
            assert problem.partition(": ")[2].startswith(message)
        else:
            assert program() == expected


@pytest.mark.parametrize("text", [":9445", "[::]:9445", "127.0.0.1:80", "node-1:9445"])
def test_an_address_reads_as_the_flag_takes_it(text):
    address = parse_listen_address(text)
    assert address is not None
    assert listen_address_text(*address) == text


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("systemd", True),
        ("unix:/run/gpu-exporter.sock", True),
        ("unix:/" + "x" * 106, True),
        ("unix:/" + "x" * 107, False),
        ("unix:/" + "\u00e9" * 54, False),
        ("unix:run/gpu-exporter.sock", False),
        ("unix:", False),
        ("unix:/a\nb", False),
        ("/run/gpu-exporter.sock", False),
    ],
)
def test_what_only_the_exporter_takes(text, is_local):
    assert parse_local_address(text) == (text if is_local else None)
    if is_local:
        config = parse_exporter([f"--web.listen-address={text}"], {}, host_name="n", version="1")
        assert (config.listen_host, config.listen_port) == (text, 0)
        with pytest.raises(UsageError):
            parse_scaler(f"--web.listen-address={text}")
