# SPDX-License-Identifier: Apache-2.0
"""The operator's file of credentials by namespace: what it gives, and every wrong entry."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from scaler.readings.servers.credentials_text import (
    MAX_ENTRIES,
    CredentialsError,
    parse_credentials,
    without_credentials,
)
from toolkit.http_access import HttpAccess

FOLDER = PurePosixPath("/etc/servers")
FLAGS = HttpAccess(ca_file="/ca", server_name="llm", bearer_token_file="/flags/token")


def test_each_namespace_gets_the_files_of_its_entry_and_never_the_flags_credentials():
    found = parse_credentials(
        [
            {"namespaces": ["chat", "search"], "bearerTokenFile": "chat/token"},
            {
                "namespaces": ["*"],
                "tlsCAFile": "/other/ca",
                "tlsCertFile": "crt",
                "tlsKeyFile": "key",
            },
        ],
        FOLDER,
        FLAGS,
    )
    chat = HttpAccess(ca_file="/ca", server_name="llm", bearer_token_file="/etc/servers/chat/token")
    rest = HttpAccess(
        ca_file="/other/ca",
        server_name="llm",
        cert_file="/etc/servers/crt",
        key_file="/etc/servers/key",
    )
    assert found == {"chat": chat, "search": chat, "*": rest}


def test_without_credentials_only_the_verification_is_left():
    assert without_credentials(FLAGS) == HttpAccess(ca_file="/ca", server_name="llm")


TOKEN = {"bearerTokenFile": "token"}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (None, "not a list"),
        ({}, "not a list"),
        ([{}] * (MAX_ENTRIES + 1), "not a list"),
        (["chat"], "entry 1"),
        ([{"namespaces": ["a"], **TOKEN, "password": "x"}], "password"),
        ([{1: "x"}], "unknown key"),
        ([TOKEN], "namespaces"),
        ([{"namespaces": [], **TOKEN}], "namespaces"),
        ([{"namespaces": "*", **TOKEN}], "namespaces"),
        ([{"namespaces": ["A_"], **TOKEN}], "A_"),
        ([{"namespaces": [{}], **TOKEN}], "namespaces"),
        ([{"namespaces": ["a"]}], "no file"),
        ([{"namespaces": ["a"], "bearerTokenFile": ["x"]}], "bearerTokenFile"),
        ([{"namespaces": ["a"], "bearerTokenFile": ""}], "bearerTokenFile"),
        ([{"namespaces": ["a"], "tlsCertFile": "x"}], "tlsKeyFile"),
        ([{"namespaces": ["a"], **TOKEN}, {"namespaces": ["b", "a"], **TOKEN}], "entry 2: 'a'"),
    ],
)
def test_a_wrong_entry_refuses_the_file(document, named):
    with pytest.raises(CredentialsError, match=named):
        parse_credentials(document, FOLDER, FLAGS)
