# SPDX-License-Identifier: Apache-2.0
"""Pure: the user of a request, from the verified client certificate and the headers.

The front proxy (the API server's aggregation layer) names the user in headers; headers of other
clients are ignored. Source: apiserver `pkg/authentication/request/{headerrequest,x509}`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from scaler.metricsapi.certificates import is_issued_by
from scaler.model import User

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from scaler.kube.request_header_auth import RequestHeaderAuth

    Headers = Sequence[tuple[str, str]]

AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the API server publishes, with its CAs decoded.

    Empty `allowed_names` allow any name that the front proxy's CA signed.
    """

    published: RequestHeaderAuth
    front_proxy_authorities: tuple[x509.Certificate, ...] = ()
    client_authorities: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A client certificate with the CAs that signed it, cached."""

    certificate: x509.Certificate
    front_proxy: tuple[x509.Certificate, ...] = field(repr=False)
    client: tuple[x509.Certificate, ...] = field(repr=False)


def peer_of(der: bytes, trust: Trust) -> Peer | None:
    """Return a certificate with the CAs that signed it, None if it cannot be parsed."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return None
    return Peer(
        certificate=certificate,
        front_proxy=_issuers(certificate, trust.front_proxy_authorities),
        client=_issuers(certificate, trust.client_authorities),
    )


def caller_of(peer: Peer, headers: Headers, trust: Trust, now: datetime) -> User | None:
    """Return the user of a request at `now` (UTC), None if the certificate names none.

    Checks the dates again, because the certificate may have expired since the handshake.
    """
    if not _is_valid(peer.certificate, now):
        return None
    names = _attributes(peer.certificate, NameOID.COMMON_NAME)
    name = names[-1] if names else ""
    allowed_names = trust.published.allowed_names
    may_vouch = not allowed_names or name in allowed_names
    if may_vouch and any(_is_valid(one, now) for one in peer.front_proxy):
        vouched = _vouched_for(headers, trust.published)
        if vouched is not None:
            return vouched
    if name and any(_is_valid(one, now) for one in peer.client):
        groups = _attributes(peer.certificate, NameOID.ORGANIZATION_NAME)
        return User(name=name, groups=tuple(dict.fromkeys((*groups, AUTHENTICATED))))
    return None


def bearer_token(headers: Headers) -> str | None:
    """Return the token of the Authorization header."""
    for name, value in headers:
        scheme, _, token = value.strip().partition(" ")
        if name.lower() == "authorization" and scheme.lower() == "bearer" and token.strip():
            # A valid token is ASCII; other text could not be reviewed.
            return token.strip() if token.isascii() else None
    return None


def _vouched_for(headers: Headers, published: RequestHeaderAuth) -> User | None:
    by_name: dict[str, list[str]] = {}
    for header, value in headers:
        by_name.setdefault(header.lower(), []).append(value)
    name = next(_values(by_name, published.user_headers), None)
    if name is None:
        return None
    extra = {
        # Keys are percent-encoded, because header names allow fewer characters.
        unquote(header.removeprefix(prefix)): tuple(values)
        for prefix in map(str.lower, published.extra_prefixes)
        for header, values in by_name.items()
        if header.startswith(prefix) and header != prefix
    }
    return User(
        name=name,
        groups=tuple(_values(by_name, published.group_headers)),
        uid=next(_values(by_name, published.uid_headers), ""),
        extra=tuple(sorted(extra.items())),
    )


def _values(by_name: Mapping[str, Sequence[str]], headers: Sequence[str]) -> Iterator[str]:
    """Yield the values of these headers that are not empty; `by_name` is in lower case."""
    return (value for header in headers for value in by_name.get(header.lower(), ()) if value)


def _issuers(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    return tuple(one for one in authorities if is_issued_by(certificate, one))


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _attributes(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(one.value) for one in certificate.subject.get_attributes_for_oid(oid)]
