# SPDX-License-Identifier: Apache-2.0
"""Pure: the settings of a web configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class WebConfigError(ValueError):
    """The file cannot be used; `problems` has one sentence for each key."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ClientAuth(StrEnum):
    """`client_auth_type`, by Go's names, without the types that do not verify certificates."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


class TlsVersion(StrEnum):
    """`min_version` and `max_version`; older versions (RFC 8996) are not supported."""

    TLS_1_2 = "TLS12"
    TLS_1_3 = "TLS13"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """`tls_server_config`, with resolved paths.

    The certificate, its key and the clients' CA are each a file or PEM text. Without a CA, clients
    are verified against the system's CAs. `ciphers` are OpenSSL's names for TLS 1.2 and older,
    empty for the library's choice; `curve` is OpenSSL's name, None for the library's choice.
    """

    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    cert: str = ""
    key: str = field(default="", repr=False)
    client_ca: str = ""
    client_auth: ClientAuth = ClientAuth.NONE
    client_allowed_sans: tuple[str, ...] = ()
    min_version: TlsVersion = TlsVersion.TLS_1_2
    max_version: TlsVersion | None = None
    ciphers: tuple[str, ...] = ()
    prefer_server_ciphers: bool = True
    curve: str | None = None

    @property
    def has_client_ca(self) -> bool:
        """Whether a CA for clients is given."""
        return bool(self.client_ca_file or self.client_ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`rate_limit`: one request per interval, and `burst` at once."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """The whole file; `users` are bcrypt hashes by name, and empty without basic auth."""

    tls: Tls | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None


def lost_protection(before: WebConfig, after: WebConfig) -> str | None:
    """Return the key whose protection a running program would lose by this change, or None.

    While a file is being written it is incomplete: a missing key does not mean that it was removed.
    """
    if before.tls is not None and after.tls is None:
        return "tls_server_config"
    if before.users and not after.users:
        return "basic_auth_users"
    if before.tls is not None and after.tls is not None:
        required = ClientAuth.REQUIRED
        if before.tls.client_auth is required and after.tls.client_auth is not required:
            return f"tls_server_config.client_auth_type: {required}"
        # Otherwise the system's CAs would replace it.
        is_asked = after.tls.client_auth is not ClientAuth.NONE
        if is_asked and before.tls.has_client_ca and not after.tls.has_client_ca:
            return "tls_server_config.client_ca_file"
        if before.tls.client_allowed_sans and not after.tls.client_allowed_sans:
            return "tls_server_config.client_allowed_sans"
    return None
