"""The server's TLS: its certificate and the clients' authorities change under open connections.

Each handshake takes the newest of both; connections that are open go on with theirs.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from toolkit.web.pem_files import as_file

if TYPE_CHECKING:
    from ssl import SSLContext, SSLObject


class ServerTls:
    """`context` is what the server is made with; `use` and `trust` change what it does."""

    def __init__(self) -> None:
        self.context = _context()
        self.context.sni_callback = self._choose
        self._certificate: tuple[bytes, bytes] | None = None
        self._authorities = ""
        self._current: SSLContext | None = None

    @property
    def has_certificate(self) -> bool:
        """Whether there is a certificate: no handshake succeeds before."""
        return self._current is not None

    def use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Show this certificate (or chain) from now on; raises ssl.SSLError, then nothing changes.

        Blocks for a moment.
        """
        self._change((certificate_pem, key_pem), self._authorities)

    def trust(self, authorities_pem: str) -> None:
        """Verify clients by these from now on; raises ssl.SSLError, then nothing changes."""
        self._change(self._certificate, authorities_pem)

    def _change(self, certificate: tuple[bytes, bytes] | None, authorities: str) -> None:
        context = None
        if certificate is not None:
            context = _context()
            with as_file(b"\n".join(certificate)) as path:
                context.load_cert_chain(path)
            if authorities:
                context.load_verify_locations(cadata=authorities)
        self._certificate, self._authorities, self._current = certificate, authorities, context

    def _choose(self, connection: SSLObject, server_name: str | None, _: SSLContext) -> int | None:
        # Called in every handshake, without a server name as well.
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None


def _context() -> SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A client may have none, and a token instead. Who it is, is decided for each request.
    context.verify_mode = ssl.CERT_OPTIONAL
    # Whatever is in the bundle is trusted, an intermediate authority as well.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session brings a certificate that no handshake has verified again. TLS 1.2 may still
    # resume one by its number; who it is, is found out for each request in any case.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
