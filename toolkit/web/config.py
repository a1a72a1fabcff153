# SPDX-License-Identifier: Apache-2.0
"""Pure: parse a web configuration file into TLS settings, users and headers.

The format is that of Prometheus' exporter-toolkit, so that one file serves every exporter of a
node: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from toolkit.durations import parse_duration
from toolkit.web.model import (
    ClientAuth,
    RateLimit,
    Tls,
    TlsVersion,
    WebConfig,
    WebConfigError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import PurePath

_UNCHECKED_AUTH: Final = ("RequireAnyClientCert", "RequireClientCert")
_OLD_VERSIONS: Final = ("TLS10", "TLS11")
_TLS_KEYS: Final = (
    *("cert_file", "key_file", "client_ca_file", "cert", "key", "client_ca", "client_auth_type"),
)
"""Keys that turn TLS on; the others configure it."""
_CURVES: Final[Mapping[str, str]] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
_HTTP2_CIPHERS: Final = frozenset(
    {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    }
)
"""HTTP/2 requires one of them: exporters in Go do not start without one."""
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}
_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""The headers that may be set, with the allowed values if not all are."""
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
"""Accepted and always on: as in Go, the TLS 1.3 suites cannot be chosen."""
_BCRYPT: Final = re.compile(r"\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")

_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_web_config(document: object, folder: PurePath) -> WebConfig:
    """Return the configuration in a file; relative paths are relative to `folder`, the file's own.

    Raises:
        WebConfigError: with every invalid key, not only the first.
    """
    reader = _ConfigReader(folder)
    top = reader.mapping(
        {} if document is None else document,
        "",
        {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"},
    )
    http2, headers = reader.http(top.get("http_server_config"))
    config = WebConfig(
        tls=reader.tls(top.get("tls_server_config"), http2=http2),
        users=reader.users(top.get("basic_auth_users")),
        headers=headers,
        rate_limit=reader.rate_limit(top.get("rate_limit")),
    )
    if reader.problems:
        raise WebConfigError(reader.problems)
    return config


class _ConfigReader:
    """Reads one section after the other and collects the problems by key."""

    def __init__(self, folder: PurePath) -> None:
        self._folder = folder
        self.problems: list[str] = []

    def mapping(self, value: object, where: str, allowed: Collection[str]) -> dict[str, Any]:
        """Return a mapping with only the allowed keys; upstream also rejects unknown ones."""
        if not isinstance(value, dict):
            self.problems.append(f"{where or 'the file'}: {value!r} is not a mapping")
            return {}
        for key in sorted(map(str, value.keys() - set(allowed))):
            name = f"{where}.{key}" if where else key
            self.problems.append(f"{name}: unknown key; allowed: {', '.join(sorted(allowed))}")
        return {key: one for key, one in value.items() if key in allowed}

    def tls(self, value: object, *, http2: bool) -> Tls | None:
        """Read `tls_server_config`."""
        if value is None:
            return None
        where = "tls_server_config"
        given = self.mapping(
            value,
            where,
            {
                *_TLS_KEYS,
                *("client_allowed_sans", "min_version", "max_version"),
                *("cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
            },
        )
        pem = self._pem(given, "cert") | self._pem(given, "key") | self._pem(given, "client_ca")
        tls = Tls(
            **pem,
            client_auth=self._client_auth(given),
            client_allowed_sans=self._texts(given, "client_allowed_sans"),
            min_version=self._min_version(given),
            max_version=self._choice(given, "max_version", TlsVersion),
            ciphers=self._ciphers(given, http2=http2),
            prefer_server_ciphers=self._is_on(where, given, "prefer_server_cipher_suites"),
            curve=self._curve(given),
        )
        is_asked_for = any(given.get(key) not in (None, "") for key in _TLS_KEYS)
        if is_asked_for:
            for key in ("cert", "key"):
                if not given.get(key) and not given.get(f"{key}_file"):
                    self.problems.append(
                        f"{where}.{key}_file: missing; TLS requires it, or the PEM text in {key}"
                    )
        if tls.has_client_ca and tls.client_auth is ClientAuth.NONE:
            self.problems.append(
                f"{where}.client_auth_type: {tls.client_auth} requests no certificate, so"
                f" client_ca_file has no effect; allowed with it: {ClientAuth.IF_GIVEN},"
                f" {ClientAuth.REQUIRED}"
            )
        if tls.client_allowed_sans and tls.client_auth is ClientAuth.NONE:
            self.problems.append(
                f"{where}.client_allowed_sans: requires client_auth_type {ClientAuth.REQUIRED}"
            )
        return tls if is_asked_for else None

    def users(self, value: object) -> dict[str, str]:
        """Read `basic_auth_users`."""
        users: dict[str, str] = {}
        where = "basic_auth_users"
        if value is not None and not isinstance(value, dict):
            self.problems.append(
                f"{where}: {type(value).__name__} is not a mapping of user names to hashes"
            )
            return users
        for name, hashed in (value or {}).items():
            # The value may be a plain-text password by mistake: never show it.
            if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
                self.problems.append(f"{where}.{name}: the value is not a bcrypt hash ($2y$...)")
            elif not isinstance(name, str) or not name or ":" in name:
                self.problems.append(
                    f"{where}: {name!r} is not a user name (a string without a colon)"
                )
            else:
                users[name] = hashed
        return users

    def http(self, value: object) -> tuple[bool, dict[str, str]]:
        """Read `http_server_config`: whether HTTP/2 is enabled, and the headers of all responses.

        HTTP/1.1 is served in any case.
        """
        if value is None:
            return True, {}
        where = "http_server_config"
        given = self.mapping(value, where, {"http2", "headers"})
        http2 = self._is_on(where, given, "http2")
        if given.get("headers") is None:
            return http2, {}
        headers = {}
        for name, text in self.mapping(given["headers"], f"{where}.headers", _HEADERS).items():
            allowed = _HEADERS[name]
            line = "" if text is None else str(text).strip()
            if isinstance(text, dict | list) or not line.isprintable():
                self.problems.append(f"{where}.headers.{name}: {text!r} is not a line of text")
            elif allowed and line not in allowed:
                self.problems.append(
                    f"{where}.headers.{name}: {text!r} is not one of {', '.join(allowed)}"
                )
            elif line:
                headers[name] = line
        return http2, headers

    def rate_limit(self, value: object) -> RateLimit | None:
        """Read `rate_limit`; an interval of 0 means no limit."""
        if value is None:
            return None
        where = "rate_limit"
        given = self.mapping(value, where, {"interval", "burst"})
        interval, burst = (_written(given.get(key)) for key in ("interval", "burst"))
        if not re.fullmatch(r"\d{1,9}", burst, re.ASCII):
            self.problems.append(
                f"{where}.burst: {given['burst']!r} is not a whole number from 0 to 999999999"
            )
            burst = "0"
        try:
            # As in Go, a number without a unit is in nanoseconds.
            seconds = parse_duration(f"{interval}ns" if interval.isdigit() else interval)
        except ValueError as error:
            self.problems.append(f"{where}.interval: {error}")
            return None
        return RateLimit(interval_seconds=seconds, burst=int(burst)) if seconds else None

    def _is_on(self, section: str, given: Mapping[str, Any], key: str) -> bool:
        """Return whether something is on, as it is by default."""
        value = given.get(key)
        known = True if value is None else _BOOLEANS.get(str(value).lower())
        if known is None:
            self.problems.append(f"{section}.{key}: {value!r} is not true or false")
        return known is not False

    def _client_auth(self, given: Mapping[str, Any]) -> ClientAuth:
        value = given.get("client_auth_type")
        # RequestClientCert requests a certificate but never verifies it, so it protects nothing.
        if value == "RequestClientCert":
            return ClientAuth.NONE
        if value in _UNCHECKED_AUTH:
            self.problems.append(
                f"tls_server_config.client_auth_type: {value} accepts any certificate"
                f" unverified and is not supported; use {ClientAuth.REQUIRED}"
            )
            return ClientAuth.NONE
        return self._choice(given, "client_auth_type", ClientAuth) or ClientAuth.NONE

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

    def _min_version(self, given: Mapping[str, Any]) -> TlsVersion:
        # A client that may use an older version can also use the supported ones.
        if given.get("min_version") in _OLD_VERSIONS:
            return TlsVersion.TLS_1_2
        return self._choice(given, "min_version", TlsVersion) or TlsVersion.TLS_1_2

    def _pem(self, given: Mapping[str, Any], key: str) -> dict[str, str]:
        """Return the field of the file or PEM text; if both are set the file wins, as upstream."""
        fields: dict[str, str] = {}
        for name, kind in ((f"{key}_file", "path"), (key, "PEM text")):
            value = given.get(name)
            if value is not None and not isinstance(value, str):
                # A private key must not be shown.
                shown = type(value).__name__ if name == "key" else repr(value)
                self.problems.append(f"tls_server_config.{name}: {shown} is not a {kind}")
            elif value and not fields:
                fields[name] = str(self._folder / value) if kind == "path" else value
        return fields

    def _texts(
        self, given: Mapping[str, Any], key: str, allowed: Collection[str] | None = None
    ) -> tuple[str, ...]:
        value = given.get(key) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.problems.append(f"tls_server_config.{key}: {value!r} is not a list of strings")
            return ()
        for name in value:
            if allowed is not None and name not in allowed:
                self.problems.append(
                    f"tls_server_config.{key}: {name} is not one of {', '.join(allowed)}"
                )
        return tuple(value)

    def _ciphers(self, given: Mapping[str, Any], *, http2: bool) -> tuple[str, ...]:
        wanted = self._texts(given, "cipher_suites", [*_CIPHERS, *sorted(_TLS_1_3_CIPHERS)])
        only_1_3 = given.get("min_version") == TlsVersion.TLS_1_3
        if wanted and http2 and not only_1_3 and not _HTTP2_CIPHERS & set(wanted):
            self.problems.append(
                f"tls_server_config.cipher_suites: HTTP/2 needs one of"
                f" {', '.join(sorted(_HTTP2_CIPHERS))}; add it, or set"
                " http_server_config.http2: false"
            )
        return tuple(_CIPHERS[name] for name in wanted if name in _CIPHERS)

    def _curve(self, given: Mapping[str, Any]) -> str | None:
        """Return the most preferred curve: OpenSSL takes one or none."""
        wanted = self._texts(given, "curve_preferences", _CURVES)
        return next((_CURVES[name] for name in wanted if name in _CURVES), None)


def _written(value: object) -> str:
    """Return a number or a duration as written, 0 for nothing."""
    return "0" if value in (None, "") else str(value)
