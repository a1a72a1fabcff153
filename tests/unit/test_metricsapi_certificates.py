# SPDX-License-Identifier: Apache-2.0
"""The serving certificate over the years: made, renewed in time, and always trusted."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from scaler.metricsapi.certificates import (
    AUTHORITY_LIFETIME,
    AUTHORITY_RENEWED_BEFORE,
    AUTHORITY_SETTLES,
    SERVING_LIFETIME,
    SERVING_RENEWED_BEFORE,
    Material,
    MaterialError,
    is_issued_by,
    read_secret,
    renewed,
)

HOSTS = ("api.ns.svc", "api.ns.svc.cluster.local")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def at(material: Material | None, now: datetime) -> Material:
    return renewed(material, hosts=HOSTS, now=now)


@pytest.fixture(scope="module")
def made() -> Material:
    return at(None, NOW)


def test_it_is_for_the_services_name_and_signed_by_its_authority(made):
    certificate = made.serving.certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == HOSTS
    (authority,) = made.authorities
    assert is_issued_by(certificate, authority.certificate)
    assert certificate.not_valid_before_utc < NOW
    assert certificate.not_valid_after_utc == NOW + SERVING_LIFETIME
    assert authority.certificate.not_valid_after_utc == NOW + AUTHORITY_LIFETIME
    assert ssl.create_default_context(cadata=made.bundle_pem().decode()).cert_store_stats() == {
        "x509": 1,
        "crl": 0,
        "x509_ca": 1,
    }


def test_a_secret_brings_it_back(made):
    again = read_secret(made.to_secret())
    assert again is not None
    assert again.to_secret() == made.to_secret()
    assert read_secret({}) is None
    assert read_secret({"tls.crt": b""}) is None


def test_it_is_left_as_it_is_while_it_will_do(made):
    assert at(made, NOW) is made
    assert at(made, NOW + SERVING_LIFETIME - SERVING_RENEWED_BEFORE) is made


def test_it_is_renewed_in_time_under_the_same_authority(made):
    new = at(made, NOW + SERVING_LIFETIME - SERVING_RENEWED_BEFORE + timedelta(seconds=1))
    assert new.authorities == made.authorities
    assert new.serving != made.serving
    assert is_issued_by(new.serving.certificate, made.authorities[0].certificate)


def test_another_name_needs_another_certificate(made):
    new = renewed(made, hosts=("other.ns.svc",), now=NOW)
    assert new.authorities == made.authorities
    assert new.serving != made.serving


def test_a_new_authority_is_trusted_for_a_day_before_it_signs(made):
    end = NOW + AUTHORITY_LIFETIME - AUTHORITY_RENEWED_BEFORE
    before = at(made, end - DAY)
    assert len(before.authorities) == 1
    both = at(before, end + timedelta(seconds=1))
    assert both.authorities[0] == made.authorities[0]
    assert len(both.authorities) == 2
    assert both.serving == before.serving
    # Were it to be renewed at once, the old one would still sign.
    soon = renewed(both, hosts=HOSTS[:1], now=end + timedelta(hours=1))
    assert is_issued_by(soon.serving.certificate, made.authorities[0].certificate)
    later = renewed(both, hosts=HOSTS[:1], now=end + AUTHORITY_SETTLES + timedelta(minutes=1))
    assert is_issued_by(later.serving.certificate, both.authorities[1].certificate)
    assert later.authorities == both.authorities


def test_whoever_trusts_what_was_handed_out_trusts_what_is_served():
    """Over 25 years of daily looks: each certificate is known to yesterday's bundle."""
    material = at(None, NOW)
    served = set()
    for day in range(1, 25 * 365):
        now = NOW + day * DAY
        before, material = material, at(material, now)
        leaf = material.serving.certificate
        served.add(leaf.serial_number)
        assert leaf.not_valid_after_utc - now >= SERVING_RENEWED_BEFORE
        if material is not before:
            assert any(is_issued_by(leaf, one.certificate) for one in before.authorities)
            assert any(is_issued_by(leaf, one.certificate) for one in material.authorities)
        assert 1 <= len(material.authorities) <= 2
        assert all(one.certificate.not_valid_after_utc > now for one in material.authorities)
    assert len(served) > 100


def test_after_a_long_sleep_all_is_new(made):
    new = at(made, NOW + 2 * AUTHORITY_LIFETIME)
    assert not set(new.authorities) & set(made.authorities)
    assert is_issued_by(new.serving.certificate, new.authorities[0].certificate)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"tls.key": b""}, id="no key"),
        pytest.param({"tls.crt": b"text"}, id="no certificate"),
        pytest.param({"ca.key": b"text"}, id="no key of the authority"),
        pytest.param({"tls.crt": "ca.crt"}, id="a key of another certificate"),
        pytest.param({"ca.crt": b""}, id="no authority"),
    ],
)
def test_what_is_no_secret_of_ours(made, change):
    data = made.to_secret()
    changed = {key: data.get(value, value) for key, value in change.items()}
    with pytest.raises(MaterialError):
        read_secret(data | changed)


def test_another_kind_of_key_is_refused(made):
    from cryptography.hazmat.primitives import serialization

    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(MaterialError):
        read_secret(made.to_secret() | {"tls.key": key})


def test_an_authority_of_the_same_name_did_not_sign(made):
    other = at(None, NOW)
    assert not is_issued_by(made.serving.certificate, other.authorities[0].certificate)
    # One that was not allowed to is still not the one that did.
    assert not is_issued_by(made.serving.certificate, made.serving.certificate)
