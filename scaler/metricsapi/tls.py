"""The server's TLS: its certificate and the clients' authorities change under open connections.

Each handshake takes the newest of both; connections that are open go on with theirs.
"""

from __future__ import annotations

import ssl

from toolkit.web.pem_files import as_file


class ServerTls:
    """`context` is what a new connection is made with; `use` and `trust` make another one."""

    def __init__(self) -> None:
        self._certificate: tuple[bytes, bytes] | None = None
        self._authorities = ""
        self.context = _context()

    @property
    def has_certificate(self) -> bool:
        """Whether there is a certificate: no handshake succeeds before."""
        return self._certificate is not None

    def use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Show this certificate (or chain) from now on; raises ssl.SSLError, then nothing changes.

        Blocks for a moment.
        """
        self._change((certificate_pem, key_pem), self._authorities)

    def trust(self, authorities_pem: str) -> None:
        """Verify clients by these from now on; raises ssl.SSLError, then nothing changes."""
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
    # A client may have none, and a token instead. Who it is, is decided for each request.
    context.verify_mode = ssl.CERT_OPTIONAL
    # Whatever is in the bundle is trusted, an intermediate authority as well.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session brings a certificate that no handshake has verified again. TLS 1.2 may still
    # resume one by its number while the context is the same; who it is, is found out for each
    # request in any case.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
