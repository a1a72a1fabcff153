# SPDX-License-Identifier: Apache-2.0
"""The source of the serving certificate: the Secret that the replicas share, or files."""

from __future__ import annotations

import asyncio
import logging
import ssl
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from scaler.kube.errors import Conflict
from scaler.metricsapi.certificates import MaterialError, read_secret, renewed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaler.kube.secret import SharedSecret
    from scaler.metricsapi.telemetry import Telemetry
    from scaler.metricsapi.tls import ServerTls

log = logging.getLogger(__name__)

MAX_TRIES = 3


class CertificateError(RuntimeError):
    """There is no usable serving certificate; the message says why."""


class ServingCertificate(ABC):
    """Keeps the certificate of a `ServerTls` valid."""

    def __init__(self, tls: ServerTls, telemetry: Telemetry) -> None:
        self._tls = tls
        self._telemetry = telemetry
        self._pems: tuple[bytes, bytes] | None = None

    @abstractmethod
    async def refresh(self) -> bytes | None:
        """Use the latest certificate and return the CA bundle (PEM) that verifies it, if known.

        Raises:
            CertificateError: there is none; the previous one stays in use.
            ApiError: the Secret cannot be read or written.
        """

    def _use(self, certificate_pem: bytes, key_pem: bytes) -> None:
        if self._pems == (certificate_pem, key_pem):
            return
        self._tls.use(certificate_pem, key_pem)
        self._pems = certificate_pem, key_pem
        leaf = x509.load_pem_x509_certificate(certificate_pem)
        self._telemetry.certificate_expiry.set(leaf.not_valid_after_utc.timestamp())
        log.info(
            "Serving certificate in use",
            extra={"serial": f"{leaf.serial_number:x}", "until": str(leaf.not_valid_after_utc)},
        )


class SecretCertificate(ServingCertificate):
    """Generates and renews the certificate, or uses the one that another replica generated."""

    def __init__(
        self,
        secret: SharedSecret,
        tls: ServerTls,
        telemetry: Telemetry,
        *,
        hosts: Sequence[str],
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._secret = secret
        super().__init__(tls, telemetry)
        self._hosts = hosts
        self._wall_clock = wall_clock

    async def refresh(self) -> bytes:
        """See `ServingCertificate.refresh`."""
        for _ in range(MAX_TRIES):
            try:
                found = await self._secret.read()
            except ValueError as error:
                msg = f"the Secret is malformed: {error}"
                raise CertificateError(msg) from error
            try:
                old = read_secret(found.data)
            except MaterialError as error:
                log.warning("Replacing the content of the Secret", extra={"error": str(error)})
                old = None
            new = renewed(old, hosts=self._hosts, now=self._wall_clock())
            if new is not old:
                try:
                    await self._secret.write(new.to_secret(), found.resource_version)
                except Conflict:
                    continue
            self._use(new.serving.certificate_pem(), new.serving.key_pem())
            return new.bundle_pem()
        raise CertificateError(f"another client wrote the Secret during all {MAX_TRIES} attempts")


class FileCertificate(ServingCertificate):
    """Reads certificate files that another program renews, such as cert-manager."""

    def __init__(
        self,
        tls: ServerTls,
        telemetry: Telemetry,
        *,
        cert_file: str,
        key_file: str,
        ca_file: str | None,
    ) -> None:
        super().__init__(tls, telemetry)
        self._files = (cert_file, key_file)
        self._ca_file = ca_file

    async def refresh(self) -> bytes | None:
        """See `ServingCertificate.refresh`."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes | None:
        try:
            certificate, key = (Path(path).read_bytes() for path in self._files)
            self._use(certificate, key)
            return None if self._ca_file is None else Path(self._ca_file).read_bytes()
        except (OSError, ssl.SSLError, ValueError) as error:
            msg = f"cannot use the certificate in {' and '.join(self._files)}: {error}"
            raise CertificateError(msg) from error
