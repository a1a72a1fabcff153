# SPDX-License-Identifier: Apache-2.0
"""Pure: generates and renews the serving certificate and its CA, stored in a Secret.

A new CA is published for a day before it signs anything, and an old one until it expires, so that
clients that trust the CA bundle of the Secret always trust the serving certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

AUTHORITY_LIFETIME = timedelta(days=3650)
AUTHORITY_RENEWED_BEFORE = timedelta(days=365)
AUTHORITY_SETTLES = timedelta(days=1)
SERVING_LIFETIME = timedelta(days=90)
SERVING_RENEWED_BEFORE = timedelta(days=30)
BACKDATED = timedelta(hours=1)
"""The clocks of other machines may be behind."""


class MaterialError(ValueError):
    """The content of the Secret is unusable; the message says why without quoting it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the private key as PEM (PKCS #8, not encrypted)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The CAs, oldest first, and the serving certificate that one of them signed."""

    authorities: tuple[Pair, ...]
    serving: Pair

    def bundle_pem(self) -> bytes:
        """Return the `caBundle` to trust."""
        return b"".join(one.certificate_pem() for one in self.authorities)

    def to_secret(self) -> dict[str, bytes]:
        """Return the data of a Secret with the usual keys `tls.crt`, `tls.key` and `ca.crt`."""
        return {
            "tls.crt": self.serving.certificate_pem(),
            "tls.key": self.serving.key_pem(),
            "ca.crt": self.bundle_pem(),
            "ca.key": b"".join(one.key_pem() for one in self.authorities),
        }


def read_secret(data: Mapping[str, bytes]) -> Material | None:
    """Decode the data of `to_secret`; return None for an empty Secret.

    Raises:
        MaterialError: the Secret has other content.
    """
    if not any(data.values()):
        return None
    try:
        (serving,) = _pairs(data["tls.crt"], data["tls.key"])
        authorities = _pairs(data["ca.crt"], data["ca.key"])
    except (KeyError, ValueError, TypeError) as error:
        msg = f"the keys tls.crt, tls.key, ca.crt and ca.key do not match: {error!r}"
        raise MaterialError(msg) from error
    return Material(authorities=authorities, serving=serving)


def renewed(material: Material | None, *, hosts: Sequence[str], now: datetime) -> Material:
    """Return the same material while it is valid at `now` (UTC), else with renewed parts."""
    authorities = () if material is None else material.authorities
    living = tuple(one for one in authorities if _remaining(one, now) > timedelta(0))
    if not living or _remaining(living[-1], now) < AUTHORITY_RENEWED_BEFORE:
        living = (*living, _authority(now))
    if material is not None and _serves(material.serving, living, hosts, now):
        if living == authorities:
            return material
        return replace(material, authorities=living)
    settled = [one for one in living if _age(one, now) >= AUTHORITY_SETTLES]
    # Nobody trusts another CA than the very first one.
    signer = settled[-1] if settled else living[0]
    return Material(authorities=living, serving=_serving(signer, hosts, now))


def _serves(
    serving: Pair, authorities: Sequence[Pair], hosts: Sequence[str], now: datetime
) -> bool:
    certificate = serving.certificate
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return (
        _remaining(serving, now) >= SERVING_RENEWED_BEFORE
        and set(names.get_values_for_type(x509.DNSName)) == set(hosts)
        and any(is_issued_by(certificate, one.certificate) for one in authorities)
    )


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether the CA's key signed the certificate directly."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001  (either of them may be malformed in any way)
        return False
    return True


def _remaining(pair: Pair, now: datetime) -> timedelta:
    return pair.certificate.not_valid_after_utc - now


def _age(pair: Pair, now: datetime) -> timedelta:
    return now - pair.certificate.not_valid_before_utc - BACKDATED


def _authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # A unique name, which distinguishes two CAs.
    name = _name(f"gpu-scaler metrics API CA {now:%Y-%m-%d} {x509.random_serial_number():x}"[:64])
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
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def _serving(authority: Pair, hosts: Sequence[str], now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    lifetime = min(SERVING_LIFETIME, _remaining(authority, now))
    certificate = (
        _builder(_name(hosts[0][:64]), issuer, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pairs(certificates_pem: bytes, keys_pem: bytes) -> tuple[Pair, ...]:
    certificates = x509.load_pem_x509_certificates(certificates_pem)
    end = b"-----END PRIVATE KEY-----"
    keys = [
        serialization.load_pem_private_key(part + end, password=None)
        for part in keys_pem.split(end)[:-1]
    ]
    pairs = []
    for certificate, key in zip(certificates, keys, strict=True):
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a key is not an elliptic curve key")
        if key.public_key() != certificate.public_key():
            raise ValueError("a key does not belong to its certificate")
        pairs.append(Pair(certificate=certificate, key=key))
    return tuple(pairs)
