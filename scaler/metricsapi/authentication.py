# SPDX-License-Identifier: Apache-2.0
"""Authenticates clients by a certificate of the front proxy's or the clients' CA, or by a token.

User headers count only together with the front proxy's certificate.
"""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509

from scaler.kube.request_header_auth import RequestHeaderAuth
from scaler.metricsapi.identity import Peer, Trust, bearer_token, caller_of, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.kube.delegated_auth import DelegatedAuth
    from scaler.metricsapi.identity import Headers
    from scaler.metricsapi.tls import ServerTls
    from scaler.model import User

log = logging.getLogger(__name__)

MAX_PEERS = 256


class Authentication:
    """Authenticates clients; `follow` updates the CAs and headers that the API server publishes."""

    def __init__(
        self,
        tls: ServerTls,
        reviews: DelegatedAuth,
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tls = tls
        self._reviews = reviews
        self._wall_clock = wall_clock
        self._trust = Trust(published=RequestHeaderAuth())
        self._peers: dict[bytes, Peer | None] = {}

    @property
    def knows_front_proxy(self) -> bool:
        """Whether the CA of the front proxy is known."""
        return bool(self._trust.front_proxy_authorities)

    def follow(self, published: RequestHeaderAuth) -> None:
        """Trust these CAs and headers from now on; ignore them if they are invalid."""
        try:
            trust = Trust(
                published=published,
                front_proxy_authorities=_certificates(published.front_proxy_ca_pem),
                client_authorities=_certificates(published.client_ca_pem),
            )
            self._tls.trust(f"{published.client_ca_pem}\n{published.front_proxy_ca_pem}".strip())
        except (ValueError, ssl.SSLError) as error:
            log.error(
                "Cannot read the published CAs; the previous ones stay in use",
                extra={"error": str(error)},
            )
            return
        self._trust = trust
        self._peers.clear()
        log.info(
            "Client CAs updated",
            extra={
                "front_proxy": len(trust.front_proxy_authorities),
                "clients": len(trust.client_authorities),
                "allowed_names": ",".join(sorted(published.allowed_names)) or "any",
            },
        )

    async def user_of(self, certificate_der: bytes | None, headers: Headers) -> User | None:
        """Return the user, None if the client is not authenticated.

        The TLS handshake has verified the certificate. Raises ApiError if a token review fails.
        """
        if certificate_der is not None:
            peer = self._peer(certificate_der)
            if peer is not None:
                user = caller_of(peer, headers, self._trust, self._wall_clock())
                if user is not None:
                    return user
        token = bearer_token(headers)
        return None if token is None else await self._reviews.user_of(token)

    def _peer(self, der: bytes) -> Peer | None:
        if der not in self._peers:
            if len(self._peers) >= MAX_PEERS:
                self._peers.clear()
            self._peers[der] = peer_of(der, self._trust)
        return self._peers[der]


def _certificates(pem: str) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(pem.encode())) if pem.strip() else ()
