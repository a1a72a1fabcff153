"""Pure: a web configuration file's content to the TLS, users and headers that it asks for.

The format is that of Prometheus' exporter-toolkit, so that one file serves every exporter of a
node: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import PurePath


class WebConfigError(ValueError):
    """The file cannot be used; `problems` has one sentence for each key."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ClientAuth(StrEnum):
    """`client_auth_type`, by Go's names; what OpenSSL cannot do without checking is not here."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


class TlsVersion(StrEnum):
    """`min_version` and `max_version`; the older ones (RFC 8996) are not offered."""

    TLS_1_2 = "TLS12"
    TLS_1_3 = "TLS13"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """`tls_server_config`; paths as they are to be opened.

    `ciphers` are OpenSSL's names for TLS 1.2 and older, empty for the library's choice.
    """

    cert_file: str
    key_file: str
    client_auth: ClientAuth = ClientAuth.NONE
    client_ca_file: str | None = None
    client_allowed_sans: tuple[str, ...] = ()
    min_version: TlsVersion = TlsVersion.TLS_1_2
    max_version: TlsVersion | None = None
    ciphers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the file asks for; `users` are bcrypt hashes by name, none means no basic auth."""

    tls: Tls | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


_UNCHECKED_AUTH: Final = ("RequestClientCert", "RequireAnyClientCert")
_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""What may be set, and the values where only some are allowed."""
_CIPHERS: Final[Mapping[str, str]] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
_TLS_1_3_CIPHERS: Final = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
"""Accepted and always on: as in Go, those of TLS 1.3 cannot be chosen."""
_BCRYPT: Final = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")

_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_web_config(document: object, folder: PurePath) -> WebConfig:
    """Return what a file asks for; relative paths are relative to `folder`, the file's own.

    Raises:
        WebConfigError: with every wrong key, not only the first.
    """
    reader = _Reader(folder)
    top = reader.mapping(
        {} if document is None else document,
        "",
        {"tls_server_config", "http_server_config", "basic_auth_users"},
    )
    config = WebConfig(
        tls=reader.tls(top.get("tls_server_config")),
        users=reader.users(top.get("basic_auth_users")),
        headers=reader.headers(top.get("http_server_config")),
    )
    if reader.problems:
        raise WebConfigError(reader.problems)
    return config


class _Reader:
    """Reads one part after the other and notes each problem under its key."""

    def __init__(self, folder: PurePath) -> None:
        self._folder = folder
        self.problems: list[str] = []

    def mapping(self, value: object, where: str, allowed: Collection[str]) -> dict[str, Any]:
        """Return a mapping with allowed keys only; upstream refuses unknown ones, too."""
        if not isinstance(value, dict):
            self.problems.append(f"{where or 'the file'}: {value!r} is not a mapping of keys")
            return {}
        for key in sorted(map(str, value.keys() - set(allowed))):
            name = f"{where}.{key}" if where else key
            self.problems.append(f"{name}: unknown; allowed are {', '.join(sorted(allowed))}")
        return {key: one for key, one in value.items() if key in allowed}

    def tls(self, value: object) -> Tls | None:
        """Read `tls_server_config`."""
        if value is None:
            return None
        where = "tls_server_config"
        given = self.mapping(
            value,
            where,
            {
                *("cert_file", "key_file", "client_auth_type", "client_ca_file"),
                *("client_allowed_sans", "min_version", "max_version"),
                *("cipher_suites", "prefer_server_cipher_suites"),
            },
        )
        for key in ("cert_file", "key_file"):
            if not given.get(key):
                self.problems.append(f"{where}.{key}: missing; TLS needs a file of PEM")
        auth = self._client_auth(given.get("client_auth_type"))
        ca_file = self._path(given, "client_ca_file")
        if ca_file is None and auth is not ClientAuth.NONE:
            self.problems.append(
                f"{where}.client_ca_file: missing; client_auth_type {auth} checks against it"
            )
        if ca_file is not None and auth is ClientAuth.NONE:
            self.problems.append(
                f"{where}.client_auth_type: {auth} asks for no certificate, which makes"
                f" client_ca_file meaningless; allowed with it are {ClientAuth.IF_GIVEN},"
                f" {ClientAuth.REQUIRED}"
            )
        sans = self._texts(given, "client_allowed_sans")
        if sans and auth is not ClientAuth.REQUIRED:
            self.problems.append(
                f"{where}.client_allowed_sans: needs client_auth_type {ClientAuth.REQUIRED}"
            )
        return Tls(
            cert_file=self._path(given, "cert_file") or "",
            key_file=self._path(given, "key_file") or "",
            client_auth=auth,
            client_ca_file=ca_file,
            client_allowed_sans=sans,
            min_version=self._choice(given, "min_version", TlsVersion) or TlsVersion.TLS_1_2,
            max_version=self._choice(given, "max_version", TlsVersion),
            ciphers=self._ciphers(given),
        )

    def users(self, value: object) -> dict[str, str]:
        """Read `basic_auth_users`."""
        users: dict[str, str] = {}
        where = "basic_auth_users"
        if value is not None and not isinstance(value, dict):
            self.problems.append(f"{where}: {type(value).__name__} is not a mapping of names")
            return users
        for name, hashed in (value or {}).items():
            # The value may be a password that somebody forgot to hash: never show it.
            if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
                self.problems.append(f"{where}.{name}: the value is not a bcrypt hash ($2y$...)")
            elif not isinstance(name, str) or not name or ":" in name:
                self.problems.append(f"{where}: {name!r} is not a name (text without a colon)")
            else:
                users[name] = hashed
        return users

    def headers(self, value: object) -> dict[str, str]:
        """Read `http_server_config`; `http2` is accepted, and HTTP/1.1 is served in any case."""
        if value is None:
            return {}
        where = "http_server_config"
        given = self.mapping(value, where, {"http2", "headers"})
        if not isinstance(given.get("http2", True), bool):
            self.problems.append(f"{where}.http2: {given['http2']!r} is not true or false")
        if given.get("headers") is None:
            return {}
        headers = self.mapping(given["headers"], f"{where}.headers", _HEADERS)
        for name, text in headers.items():
            allowed = _HEADERS[name]
            if not isinstance(text, str) or not text.isprintable():
                self.problems.append(f"{where}.headers.{name}: {text!r} is not a line of text")
            elif allowed and text.lower() not in allowed:
                self.problems.append(
                    f"{where}.headers.{name}: {text!r} is not one of {', '.join(allowed)}"
                )
        return headers

    def _client_auth(self, value: object) -> ClientAuth:
        if value in (None, ""):
            return ClientAuth.NONE
        if value in _UNCHECKED_AUTH:
            self.problems.append(
                f"tls_server_config.client_auth_type: {value} takes any certificate unchecked,"
                f" which protects nothing and is not offered; use {ClientAuth.REQUIRED}"
            )
            return ClientAuth.NONE
        return self._choice({"client_auth_type": value}, "client_auth_type", ClientAuth) or (
            ClientAuth.NONE
        )

    def _choice(self, given: Mapping[str, Any], key: str, choices: type[_Choice]) -> _Choice | None:
        value = given.get(key)
        if value in (None, ""):
            return None
        if value not in list(choices):
            self.problems.append(
                f"tls_server_config.{key}: {value!r} is not one of {', '.join(choices)}"
            )
            return None
        return choices(value)

    def _path(self, given: Mapping[str, Any], key: str) -> str | None:
        value = given.get(key)
        if value in (None, ""):
            return None
        if not isinstance(value, str):
            self.problems.append(f"tls_server_config.{key}: {value!r} is not a path")
            return None
        return str(self._folder / value)

    def _texts(self, given: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = given.get(key) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.problems.append(f"tls_server_config.{key}: {value!r} is not a list of texts")
            return ()
        return tuple(value)

    def _ciphers(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        wanted = self._texts(given, "cipher_suites")
        for name in wanted:
            if name not in _CIPHERS and name not in _TLS_1_3_CIPHERS:
                self.problems.append(
                    f"tls_server_config.cipher_suites: {name} is not one of"
                    f" {', '.join([*_CIPHERS, *sorted(_TLS_1_3_CIPHERS)])}"
                )
        return tuple(_CIPHERS[name] for name in wanted if name in _CIPHERS)
