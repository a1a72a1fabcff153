"""What a web configuration file can ask for, as values."""

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

    The certificate, its key and the clients' CA are each a file or PEM text; clients are verified
    by the system's CAs where no CA is given. `ciphers` are OpenSSL's names for TLS 1.2 and older,
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
        """Whether it names who verifies clients."""
        return bool(self.client_ca_file or self.client_ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`rate_limit`: one request per interval, and `burst` at once."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the file asks for; `users` are bcrypt hashes by name, none means no basic auth."""

    tls: Tls | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None


def lost_protection(before: WebConfig, after: WebConfig) -> str | None:
    """Return what a running exporter would lose by this change, None if it stays as protected.

    A file that is being written is short for a moment: what it does not say yet is not gone.
    """
    if before.tls is not None and after.tls is None:
        return "tls_server_config"
    if before.users and not after.users:
        return "basic_auth_users"
    if before.tls is not None and after.tls is not None:
        required = ClientAuth.REQUIRED
        if before.tls.client_auth is required and after.tls.client_auth is not required:
            return f"tls_server_config.client_auth_type: {required}"
        # The system's CAs would verify clients in its place.
        is_asked = after.tls.client_auth is not ClientAuth.NONE
        if is_asked and before.tls.has_client_ca and not after.tls.has_client_ca:
            return "tls_server_config.client_ca_file"
        if before.tls.client_allowed_sans and not after.tls.client_allowed_sans:
            return "tls_server_config.client_allowed_sans"
    return None
