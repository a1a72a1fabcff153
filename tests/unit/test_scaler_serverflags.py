# SPDX-License-Identifier: Apache-2.0
"""The flags of model servers: what they make, and every wrong value with what is allowed."""

from __future__ import annotations

import pytest

from scaler.readings.settings import ServersSettings
from tests.unit.test_scaler_config import parse
from toolkit.cli.arguments import UsageError
from toolkit.http_access import HttpAccess

TOKEN = "--servers.bearer-token-file=/token"
NAMESPACES = "--servers.credentials-namespaces"


def test_without_flags_nobody_gets_credentials():
    assert parse().servers == ServersSettings(timeout_seconds=2.0)


def test_everything_that_can_be_told_of_model_servers():
    found = parse(
        "--servers.timeout=500ms",
        TOKEN,
        "--servers.tls-ca-file=/ca",
        "--servers.tls-cert-file=/crt",
        "--servers.tls-key-file=/key",
        "--servers.tls-server-name=llm",
        "--servers.tls-insecure-skip-verify",
        f"{NAMESPACES}=chat, search,chat",
        "--servers.credentials-file=/credentials.yaml",
    ).servers
    assert found == ServersSettings(
        timeout_seconds=0.5,
        access=HttpAccess(
            ca_file="/ca",
            server_name="llm",
            insecure_skip_verify=True,
            cert_file="/crt",
            key_file="/key",
            bearer_token_file="/token",
        ),
        namespaces=("chat", "search"),
        credentials_file="/credentials.yaml",
    )


def test_verification_alone_is_for_every_namespace():
    found = parse("--servers.tls-ca-file=/ca", "--servers.tls-insecure-skip-verify").servers
    assert found.namespaces == ()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([TOKEN], f"{NAMESPACES}: required"),
        (["--servers.username=u", "--servers.password-file=/p"], f"{NAMESPACES}: required"),
        (["--servers.tls-cert-file=/c", "--servers.tls-key-file=/k"], f"{NAMESPACES}: required"),
        (["--servers.tls-cert-file=/c"], "must be set together"),
        ([f"{NAMESPACES}=chat"], f"{NAMESPACES}: there are no credentials"),
        ([TOKEN, f"{NAMESPACES}=chat,Search"], "'Search' is not a namespace"),
        ([TOKEN, f"{NAMESPACES}=**"], "is not a namespace"),
        (["--servers.timeout=31s"], "--servers.timeout"),
        (["--servers.timeout=0s"], "--servers.timeout"),
    ],
)
def test_a_wrong_flag_is_named(flags, named):
    with pytest.raises(UsageError) as caught:
        parse(*flags)
    assert named in str(caught.value)
