"""The HOST:PORT of a flag, for all programs alike."""

from __future__ import annotations

import pytest

from exporter.config import ConfigError as ExporterError
from exporter.config import parse as parse_exporter
from toolkit.addresses import parse_listen_address


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
        (":9445 ", None),
    ],
)
def test_what_an_address_says(text, expected):
    assert parse_listen_address(text) == expected
    given = [f"--web.listen-address={text}"]
    if expected is None:
        with pytest.raises(ExporterError, match="is not HOST:PORT"):
            parse_exporter(given, {}, host_name="node", version="1")
    else:
        config = parse_exporter(given, {}, host_name="node", version="1")
        assert (config.listen_host, config.listen_port) == expected
