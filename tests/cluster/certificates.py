# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities of the test bed, and what they sign."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_BACKDATED: Final = timedelta(minutes=5)
_LIFETIME: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate and its private key as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; everything is written to `folder` as NAME.crt and NAME.key."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject(name, ())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        unsigned = (
            _unsigned(self._subject, self._subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(_pem(unsigned.sign(self._key, hashes.SHA256())))

    def issue(
        self,
        name: str,
        *,
        common_name: str | None = None,
        organizations: Sequence[str] = (),
        hosts: Sequence[str] = (),
        lifetime: timedelta = _LIFETIME,
    ) -> Certificate:
        """Sign a certificate for clients, and for servers where `hosts` are named.

        One with a negative lifetime has ended; more than 5 minutes ago it had not begun.

        Kubernetes reads the user from `common_name` (default: `name`) and the groups from
        `organizations`.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        unsigned = _unsigned(
            self._subject, _subject(common_name or name, organizations), key.public_key(), lifetime
        )
        if hosts:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
            unsigned = unsigned.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        unsigned = unsigned.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        made = Certificate(
            certificate=self._folder / f"{name}.crt", key=self._folder / f"{name}.key"
        )
        made.certificate.write_bytes(_pem(unsigned.sign(self._key, hashes.SHA256())))
        write_key(made.key, key)
        return made


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            # kube-apiserver does not find the public half in PKCS #8.
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _unsigned(
    issuer: x509.Name,
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    lifetime: timedelta = _LIFETIME,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    return x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
