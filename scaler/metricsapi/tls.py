# SPDX-License-Identifier: Apache-2.0
"""The server's TLS context: the certificate and the clients' CAs can change at any time.

Each handshake uses the latest of both; open connections are not affected.
"""

from __future__ import annotations

import ssl

from toolkit.web.pem_files import as_file


class ServerTls:
    """Holds the `context` of new connections; `use` and `trust` replace it."""

    def __init__(self) -> None:
        self._certificate: tuple[bytes, bytes] | None = None
        self._authorities = ""
        self.context = _context()

    @property
    def has_certificate(self) -> bool:
        """Whether there is a certificate; without it no handshake succeeds."""
        return self._certificate is not None

    def use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Serve this certificate (or chain) from now on; on ssl.SSLError nothing changes.

        Blocks.
        """
        self._change((certificate_pem, key_pem), self._authorities)

    def trust(self, authorities_pem: str) -> None:
        """Verify clients by these CAs from now on; on ssl.SSLError nothing changes."""
        self._change(self._certificate, authorities_pem)

    def _change(self, certificate: tuple[bytes, bytes] | None, authorities: str) -> None:
        context = _context()
        if certificate is not None:
            with as_file(b"\n".join(certificate)) as path:
                context.load_cert_chain(path)
        if authorities:
            context.load_verify_locations(cadata=authorities)
        self._certificate, self._authorities, self.context = certificate, authorities, context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A client may use a token instead. Each request is authenticated by itself.
    context.verify_mode = ssl.CERT_OPTIONAL
    # Trust every certificate of the bundle, also intermediate CAs.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session has a certificate that was not verified again. TLS 1.2 can still resume one
    # by its ID while the context is the same, but each request is authenticated in any case.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
