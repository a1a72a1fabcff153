# SPDX-License-Identifier: Apache-2.0
"""Which web configuration files are taken: those that exporter-toolkit takes, and no other."""

from __future__ import annotations

import textwrap

import pytest
from cryptography.hazmat.primitives import serialization

from tests.cluster.certificates import Authority
from toolkit.web import auth
from toolkit.web.model import WebConfigError

FILES = "tls_server_config: {cert_file: server.crt, key_file: server.key%s}"
HASH = "$2y$10$" + "a" * 53
HEADER = "http_server_config: {{headers: {{{}: {}}}}}"

ACCEPTED = {
    "nothing": "",
    "only a comment": "# later",
    "empty sections": "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\nrate_limit:\n",
    "an empty mapping": "tls_server_config: {}",
    "a version without TLS": "tls_server_config: {min_version: TLS12}",
    "files": FILES % "",
    "files and an empty text": FILES % ', cert: "", key: ""',
    "no certificate asked for": FILES % ", client_auth_type: NoClientCert",
    "a certificate asked for and not looked at": FILES % ", client_auth_type: RequestClientCert",
    "given certificates verified by the system": FILES
    % ", client_auth_type: VerifyClientCertIfGiven",
    "certificates verified by the system": FILES % ", client_auth_type: RequireAndVerifyClientCert",
    "certificates verified by a CA": FILES
    % ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt",
    "names of clients": FILES
    % (
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt,"
        ' client_allowed_sans: [one, "2001:db8::1", a@example.com, "spiffe://a/b"]'
    ),
    "names of clients that show one": FILES
    % ", client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: [one]",
    "all ciphers": FILES
    % """, cipher_suites: [
      TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
      TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
      TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
      TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256,
      TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
      TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]""",
    "the client's order of ciphers": FILES
    % (
        ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256],"
        " prefer_server_cipher_suites: false, min_version: TLS12, max_version: TLS12"
    ),
    "ciphers without HTTP/2": FILES
    % ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384], max_version: TLS12"
    + "\nhttp_server_config: {http2: false}",
    "all curves": FILES % ", curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]",
    "one curve": FILES % ", min_version: TLS13, curve_preferences: [CurveP521]",
    "an older least version": FILES % ", min_version: TLS10",
    "users without TLS": f"basic_auth_users:\n  alice: {HASH}\n  bob: {HASH.replace('10', '18')}",
    "users whose names look like something else": f"basic_auth_users: {{no: {HASH}, 42: {HASH}}}",
    "headers": """
        http_server_config:
          headers:
            X-Frame-Options: sameorigin
            X-Content-Type-Options: nosniff
            X-XSS-Protection: 1
            Strict-Transport-Security: max-age=31536000; includeSubDomains
            Content-Security-Policy: |
              default-src 'self' *.example.com
        """,
    "HTTP/2 by another word": "http_server_config: {http2: on}",
    "a rate limit": 'rate_limit: {interval: "1s", burst: 20}',
    "a rate limit without quotes": "rate_limit:\n  interval: 1m30s\n  burst: 20",
    "a rate limit that lets nobody in": 'rate_limit: {interval: "1s", burst: 0}',
    "no rate limit": "rate_limit: {interval: 0, burst: 0}",
    "everything at once": FILES % ""
    + f"\nbasic_auth_users: {{alice: {HASH}}}\nrate_limit: {{interval: 1s, burst: 20}}",
}
REFUSED = {
    "a text": "hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr",
    "a list": "[tls_server_config]",
    "half a mapping": "tls_server_config: {cert_file: server.crt",
    "an unknown section": "tls_config: {}",
    "an unknown key": "tls_server_config: {cert_filse: server.crt}",
    "a key twice": FILES % ", key_file: other.key",
    "a section twice": f"basic_auth_users: {{alice: {HASH}}}\nbasic_auth_users:\n",
    "a certificate without a key": "tls_server_config: {cert_file: server.crt}",
    "a key without a certificate": "tls_server_config: {key_file: server.key}",
    "an empty certificate": 'tls_server_config: {cert: "", key_file: server.key}',
    "an empty certificate file": 'tls_server_config: {cert_file: "", key_file: server.key}',
    "an empty key": 'tls_server_config: {cert_file: server.crt, key: ""}',
    "an empty key file": 'tls_server_config: {cert_file: server.crt, key_file: ""}',
    "client certificates without one of the server": (
        'tls_server_config: {cert_file: "", key_file: "", client_auth_type: x}'
    ),
    "no such certificate": "tls_server_config: {cert_file: none, key_file: server.key}",
    "no such key": "tls_server_config: {cert_file: server.crt, key_file: none}",
    "a key of another certificate": "tls_server_config: {cert_file: ca.crt, key_file: server.key}",
    "a key with a password": "tls_server_config: {cert_file: server.crt, key_file: locked.key}",
    "PEM that is none": "tls_server_config: {cert: a, key: b}",
    "no such CA": FILES % ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: none",
    "an empty CA": FILES % ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: empty.crt",
    "a CA that nobody is asked for": FILES % ", client_ca_file: ca.crt",
    "a client authentication": FILES % ", client_auth_type: x",
    "a cipher": FILES % ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]",
    "no cipher of HTTP/2": FILES
    % ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384], max_version: TLS12",
    "a curve": FILES % ", curve_preferences: [CurveP257]",
    "a version": FILES % ", min_version: TLS111",
    "a password in place of its hash": FILES % "" + "\nbasic_auth_users: {john: doe}",
    "a cost that bcrypt has not": f"basic_auth_users: {{john: {HASH.replace('10', '03')}}}",
    "a value of X-Content-Type-Options": HEADER.format("X-Content-Type-Options", "sniff"),
    "a value of X-Frame-Options": HEADER.format("X-Frame-Options", "foo"),
    "a value in capitals": HEADER.format("X-Frame-Options", "DENY"),
    "another header": HEADER.format("Content-Type", "foo"),
    "HTTP/2 as a number": "http_server_config: {http2: 2}",
    "an interval": "rate_limit: {interval: often}",
    "a burst": "rate_limit: {interval: 1s, burst: many}",
    "a value that cannot be made": "basic_auth_users: !!bool maybe",
    "brackets without an end": "[" * 5000,
}


@pytest.fixture
def folder(tmp_path):
    authority = Authority(tmp_path, "ca")
    authority.issue("server", hosts=["127.0.0.1"])
    key = serialization.load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "empty.crt").touch()
    (tmp_path / "locked.key").write_bytes(locked)
    return tmp_path


def load(folder, text: str) -> auth.Loaded:
    file = folder / "web.yml"
    file.write_text(text)
    return auth.load(str(file))


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in ACCEPTED.items()])
def test_a_file_that_is_taken(folder, text):
    loaded = load(folder, textwrap.dedent(text))
    assert (loaded.tls is not None) == ("cert_file" in text)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in REFUSED.items()])
def test_a_file_that_is_refused(folder, text):
    with pytest.raises(WebConfigError):
        load(folder, text)


@pytest.mark.parametrize("inline", ["cert", "key", "client_ca"])
def test_each_pem_may_stand_in_the_file_itself(folder, inline):
    files = {"cert": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    lines = ["tls_server_config:", "  client_auth_type: RequireAndVerifyClientCert"]
    for key, name in files.items():
        if key == inline:
            lines += [f"  {key}: |", textwrap.indent((folder / name).read_text(), "    ")]
        else:
            lines += [f"  {key}_file: {name}"]
    assert load(folder, "\n".join(lines)).tls is not None
