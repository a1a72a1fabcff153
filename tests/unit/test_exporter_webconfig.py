# SPDX-License-Identifier: Apache-2.0
"""What a web configuration file may say, key by key, and what is said of wrong ones."""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.web.config import parse_web_config
from toolkit.web.model import (
    ClientAuth,
    RateLimit,
    Tls,
    TlsVersion,
    WebConfig,
    WebConfigError,
    lost_protection,
)

FOLDER = PurePosixPath("/etc/exporter")
HASH = "$2y$10$" + "a" * 53
FILES = {"cert_file": "tls.crt", "key_file": "/keys/tls.key"}
IF_GIVEN = {"client_auth_type": "VerifyClientCertIfGiven"}
MUTUAL = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}
USERS = WebConfig(users={"prometheus": HASH, "ann": HASH})


def tls(**keys):
    return {"tls_server_config": FILES | keys}


def plain_tls(**fields):
    return WebConfig(tls=Tls(cert_file="/etc/exporter/tls.crt", key_file="/keys/tls.key", **fields))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(None, WebConfig(), id="an empty file asks for nothing"),
        pytest.param({"tls_server_config": None}, WebConfig(), id="an empty section"),
        pytest.param(tls(), plain_tls(), id="paths are relative to the file"),
        pytest.param(
            tls(**MUTUAL),
            plain_tls(client_auth=ClientAuth.REQUIRED, client_ca_file="/etc/exporter/ca.crt"),
            id="client certificates",
        ),
        pytest.param(
            tls(**MUTUAL, client_allowed_sans=["prometheus"]),
            plain_tls(
                client_auth=ClientAuth.REQUIRED,
                client_ca_file="/etc/exporter/ca.crt",
                client_allowed_sans=("prometheus",),
            ),
            id="some clients only",
        ),
        pytest.param(
            tls(min_version="TLS13", max_version="TLS13"),
            plain_tls(min_version=TlsVersion.TLS_1_3, max_version=TlsVersion.TLS_1_3),
            id="versions",
        ),
        pytest.param(
            tls(
                cipher_suites=[
                    "TLS_AES_128_GCM_SHA256",
                    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                ],
                prefer_server_cipher_suites=True,
            ),
            plain_tls(ciphers=("ECDHE-RSA-AES128-GCM-SHA256",)),
            id="ciphers, where those of TLS 1.3 are always on",
        ),
        pytest.param(
            {"basic_auth_users": {"prometheus": HASH}},
            WebConfig(users={"prometheus": HASH}),
            id="users",
        ),
        pytest.param(
            {"http_server_config": {"http2": True, "headers": {"X-Frame-Options": "deny"}}},
            WebConfig(headers={"X-Frame-Options": "deny"}),
            id="headers",
        ),
        pytest.param(
            {
                "http_server_config": {
                    "headers": {"X-XSS-Protection": "1\n", "X-Frame-Options": "deny"}
                }
            },
            WebConfig(headers={"X-XSS-Protection": "1", "X-Frame-Options": "deny"}),
            id="a block of one line",
        ),
        pytest.param(
            {"tls_server_config": {"cert": "CERT", "key": "KEY", "client_ca": "CA"} | IF_GIVEN},
            WebConfig(
                tls=Tls(cert="CERT", key="KEY", client_ca="CA", client_auth=ClientAuth.IF_GIVEN)
            ),
            id="PEM in the file itself",
        ),
        pytest.param(tls(cert="CERT", key="KEY"), plain_tls(), id="of file and text the file"),
        pytest.param(
            tls(**IF_GIVEN),
            plain_tls(client_auth=ClientAuth.IF_GIVEN),
            id="clients verified by the system's CAs",
        ),
        pytest.param(
            tls(client_auth_type="RequestClientCert"), plain_tls(), id="asked for nothing"
        ),
        pytest.param({"tls_server_config": {"min_version": "TLS13"}}, WebConfig(), id="no TLS"),
        pytest.param(tls(min_version="TLS10"), plain_tls(), id="an older least version"),
        pytest.param(
            tls(curve_preferences=["X25519", "CurveP256"], prefer_server_cipher_suites="no"),
            plain_tls(curve="X25519", prefer_server_ciphers=False),
            id="the first curve",
        ),
        pytest.param(
            {"rate_limit": {"interval": "1m30s", "burst": "20"}},
            WebConfig(rate_limit=RateLimit(interval_seconds=90.0, burst=20)),
            id="a rate limit",
        ),
        pytest.param(
            {"rate_limit": {"interval": 2000000000}},
            WebConfig(rate_limit=RateLimit(interval_seconds=2.0, burst=0)),
            id="a rate limit in nanoseconds, which lets nobody in",
        ),
        pytest.param({"rate_limit": {"interval": "0", "burst": 5}}, WebConfig(), id="no limit"),
    ],
)
def test_what_a_file_asks_for(document, expected):
    assert parse_web_config(document, FOLDER) == expected


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        pytest.param([], "the file: [] is not a mapping", id="a list"),
        pytest.param(
            {"tls_config": {}},
            "tls_config: unknown key; allowed: basic_auth_users, http_server_config,"
            " rate_limit, tls_server_config",
            id="an unknown key",
        ),
        pytest.param(
            {"tls_server_config": {"cert_file": "tls.crt"}},
            "tls_server_config.key_file: missing; TLS requires it, or the PEM text in key",
            id="no private key",
        ),
        pytest.param(
            tls(cipher_suites=["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]),
            "tls_server_config.cipher_suites: HTTP/2 needs one of"
            " TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; add"
            " it, or set http_server_config.http2: false",
            id="no cipher of HTTP/2",
        ),
        pytest.param(
            tls(curve_preferences=["CurveP257"]),
            "tls_server_config.curve_preferences: CurveP257 is not one of CurveP256, CurveP384,"
            " CurveP521, X25519",
            id="a curve",
        ),
        pytest.param(
            {"tls_server_config": {"cert_file": "tls.crt", "key": 42}},
            "tls_server_config.key: int is not a PEM text",
            id="a private key that is none is not shown",
        ),
        pytest.param(
            {"rate_limit": {"interval": "5 minutes"}},
            "rate_limit.interval: '5 minutes' is not a duration such as 10s, 500ms or 1m30s",
            id="an interval",
        ),
        pytest.param(
            {"rate_limit": {"interval": "1s", "burst": -1}},
            "rate_limit.burst: -1 is not a whole number from 0 to 999999999",
            id="a burst",
        ),
        pytest.param(
            tls(client_ca_file="ca.crt"),
            "tls_server_config.client_auth_type: NoClientCert requests no certificate, so"
            " client_ca_file has no effect; allowed with it: VerifyClientCertIfGiven,"
            " RequireAndVerifyClientCert",
            id="a CA that nobody is checked against",
        ),
        pytest.param(
            tls(client_auth_type="RequireAnyClientCert"),
            "tls_server_config.client_auth_type: RequireAnyClientCert accepts any"
            " certificate unverified and is not supported; use RequireAndVerifyClientCert",
            id="unchecked clients",
        ),
        pytest.param(
            tls(client_allowed_sans=["prometheus"]),
            "tls_server_config.client_allowed_sans: requires client_auth_type"
            " RequireAndVerifyClientCert",
            id="names of clients without certificates",
        ),
        pytest.param(
            tls(min_version="TLS1.2"),
            "tls_server_config.min_version: 'TLS1.2' is not one of TLS12, TLS13",
            id="version",
        ),
        pytest.param(
            tls(cert_file=1), "tls_server_config.cert_file: 1 is not a path", id="no path"
        ),
        pytest.param(
            {"basic_auth_users": ["prometheus"]},
            "basic_auth_users: list is not a mapping of user names to hashes",
            id="users in a list",
        ),
        pytest.param(
            {"basic_auth_users": {"a:b": HASH}},
            "basic_auth_users: 'a:b' is not a user name (a string without a colon)",
            id="a name with a colon",
        ),
        pytest.param(
            {"http_server_config": {"http2": "maybe"}},
            "http_server_config.http2: 'maybe' is not true or false",
            id="http2",
        ),
        pytest.param(
            {"http_server_config": {"headers": {"X-Frame-Options": "allow"}}},
            "http_server_config.headers.X-Frame-Options: 'allow' is not one of deny, sameorigin",
            id="a header's value",
        ),
        pytest.param(
            {"http_server_config": {"headers": {"X-XSS-Protection": "0\r\nSet-Cookie: a"}}},
            "http_server_config.headers.X-XSS-Protection: '0\\r\\nSet-Cookie: a' is not a line of"
            " text",
            id="a header in a header",
        ),
    ],
)
def test_what_is_said_of_a_wrong_file(document, problem):
    with pytest.raises(WebConfigError) as raised:
        parse_web_config(document, FOLDER)
    assert raised.value.problems == (problem,)


def test_an_unknown_cipher_is_named_with_those_that_are_known():
    with pytest.raises(WebConfigError, match="cipher_suites: TLS_RSA_WITH_RC4 is not one of TLS_E"):
        parse_web_config(tls(cipher_suites=["TLS_RSA_WITH_RC4"]), FOLDER)


def test_all_problems_are_told_at_once_and_no_password_is():
    document = {"basic_auth_users": {"ann": "secret", "bob": "hunter2"}, "other": 1}
    with pytest.raises(WebConfigError) as raised:
        parse_web_config(document, FOLDER)
    assert len(raised.value.problems) == 3
    assert "basic_auth_users.ann: the value is not a bcrypt hash ($2y$...)" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_configuration_does_not_show_its_hashes():
    assert HASH not in repr(WebConfig(users={"prometheus": HASH}))


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        pytest.param(plain_tls(), WebConfig(), "tls_server_config", id="TLS"),
        pytest.param(USERS, WebConfig(), "basic_auth_users", id="the last user"),
        pytest.param(
            plain_tls(client_auth=ClientAuth.REQUIRED),
            plain_tls(client_auth=ClientAuth.IF_GIVEN),
            "tls_server_config.client_auth_type: RequireAndVerifyClientCert",
            id="the clients' certificates",
        ),
        pytest.param(
            plain_tls(client_auth=ClientAuth.REQUIRED, client_allowed_sans=("a",)),
            plain_tls(client_auth=ClientAuth.REQUIRED),
            "tls_server_config.client_allowed_sans",
            id="the names of clients",
        ),
        pytest.param(
            plain_tls(client_auth=ClientAuth.REQUIRED, client_ca="CA"),
            plain_tls(client_auth=ClientAuth.REQUIRED),
            "tls_server_config.client_ca_file",
            id="the clients' CA",
        ),
        pytest.param(
            plain_tls(client_auth=ClientAuth.REQUIRED, client_ca="CA"),
            plain_tls(client_auth=ClientAuth.REQUIRED, client_ca_file="ca.crt"),
            None,
            id="another CA",
        ),
        pytest.param(USERS, WebConfig(users={"ann": HASH}), None, id="another user"),
        pytest.param(WebConfig(), plain_tls(), None, id="TLS comes"),
        pytest.param(plain_tls(), plain_tls(curve="X25519"), None, id="another curve"),
    ],
)
def test_what_a_change_may_not_take_away(before, after, lost):
    assert lost_protection(before, after) == lost


_KEYS = st.sampled_from(
    [
        *("tls_server_config", "http_server_config", "basic_auth_users", "headers", "http2"),
        *("cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans"),
        *("min_version", "cipher_suites", "X-Frame-Options", "other", "cert", "key", "client_ca"),
        *("curve_preferences", "rate_limit", "interval", "burst", "prefer_server_cipher_suites"),
    ]
)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("TLS12"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.integers(), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(_DOCUMENTS)
def test_any_document_is_a_configuration_or_an_error(document):
    with contextlib.suppress(WebConfigError):
        assert isinstance(parse_web_config(document, FOLDER), WebConfig)
