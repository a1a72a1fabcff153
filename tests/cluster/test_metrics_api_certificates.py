# SPDX-License-Identifier: Apache-2.0
"""Certificates that change while the API server asks: made and renewed here, or others' by flag."""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from scaler.kube.errors import ApiError
from scaler.metricsapi.certificates import (
    AUTHORITY_LIFETIME,
    AUTHORITY_RENEWED_BEFORE,
    SERVING_LIFETIME,
    SERVING_RENEWED_BEFORE,
    Material,
    read_secret,
    renewed,
)
from tests.cluster.api_services import API_SERVICES
from tests.cluster.certificates import Authority
from tests.cluster.metricsapi import installing
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.certificates import Certificate
    from tests.cluster.controlplane import ControlPlane

NODES = f"{installing.API}/v1beta1/nodes/*/duty_cycle_current"
SECRET = f"/api/v1/namespaces/gpu-scaler/secrets/{installing.SERVICE}"
SOON = timedelta(seconds=25)
# Files, and the Secret, are read again every 30 s.
TAKEN_UP_SECONDS = 90.0


class Mounted:
    """The files of a mounted Secret, as cert-manager names them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def flags(self) -> tuple[str, ...]:
        return (
            f"--metrics-api.tls-cert-file={self._folder / 'tls.crt'}",
            f"--metrics-api.tls-key-file={self._folder / 'tls.key'}",
            f"--metrics-api.tls-ca-file={self._folder / 'ca.crt'}",
        )

    def put(self, made: Certificate) -> None:
        (self._folder / "tls.crt").write_bytes(made.certificate.read_bytes())
        (self._folder / "tls.key").write_bytes(made.key.read_bytes())

    def trust(self, *authorities: Authority) -> None:
        (self._folder / "ca.crt").write_bytes(self._bundle(*authorities))

    async def is_trusted(self, admin: KubeClient, *authorities: Authority) -> bool:
        """Whether both APIServices verify by these authorities, and by nothing less."""
        return await _is_trusted(admin, self._bundle(*authorities))

    def _bundle(self, *authorities: Authority) -> bytes:
        return b"".join(one.file.read_bytes() for one in authorities)


@pytest_asyncio.fixture
async def plane(installed: ControlPlane, admin: KubeClient) -> AsyncIterator[ControlPlane]:
    await asyncio.to_thread(installing.install, installed)
    yield installed
    await asyncio.to_thread(installing.uninstall, installed)
    await until(lambda: installing.are_gone(admin), what="the APIServices have gone")


async def test_other_certificates_change_without_dropping_requests(plane, admin, tmp_path):
    """First the certificate under its authority, then the authority, which is trusted before."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    mounted = Mounted(tmp_path / "mounted")
    mounted.put(old.issue("first", hosts=[installing.HOST]))
    mounted.trust(old)
    (port,) = free_ports(1)
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, installing.ACCOUNT)
    async with running_scaler(kubeconfig, *installing.flags(port), *mounted.flags()) as scaler:
        await until(lambda: installing.is_ready(scaler))
        for version in ("v1beta1", "v1beta2"):
            await until(
                lambda version=version: installing.is_available(admin, version),  # type: ignore[misc]
                what=f"the API server verifies {version} by the authority in the file",
            )
        assert await mounted.is_trusted(admin, old)
        secret = await admin.get(SECRET)
        assert not secret.get("data")

        answers: list[Any] = []
        asking = asyncio.create_task(_ask_on_and_on(admin, answers))
        first = await _served_serial(port, old.file.read_bytes())
        mounted.put(old.issue("second", hosts=[installing.HOST]))
        mounted.trust(old, new)
        await until(
            lambda: mounted.is_trusted(admin, old, new),
            deadline_seconds=TAKEN_UP_SECONDS,
            what="the APIServices verify by both authorities",
        )
        second = await _served_serial(port, old.file.read_bytes())
        assert second != first
        mounted.put(new.issue("third", hosts=[installing.HOST]))

        async def is_third() -> bool:
            try:
                return await _served_serial(port, new.file.read_bytes()) not in (first, second)
            except ssl.SSLCertVerificationError:
                return False

        await until(is_third, deadline_seconds=TAKEN_UP_SECONDS, what="the third is served")
        seen = len(answers)
        await until(lambda: len(answers) >= seen + 20, what="requests go on")
        asking.cancel()
        assert {*answers} == {"MetricValueList"}
        for version in ("v1beta1", "v1beta2"):
            assert await installing.is_available(admin, version)


async def test_what_is_made_here_is_renewed_without_dropping_requests(plane, admin):
    """Certificate and authority come of age while two replicas serve with them."""
    old = _soon_to_be_renewed()
    await _put_secret(admin, old)
    ports = free_ports(2)
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, installing.ACCOUNT)
    async with (
        running_scaler(
            kubeconfig, "--identity=one", *installing.flags(ports[0], service_port=ports[1])
        ) as one,
        running_scaler(kubeconfig, "--identity=two", *installing.flags(ports[1])) as two,
    ):
        for replica in (one, two):
            await until(
                lambda replica=replica: installing.is_ready(replica),  # type: ignore[misc]
            )
        for version in ("v1beta1", "v1beta2"):
            await until(
                lambda version=version: installing.is_available(admin, version),  # type: ignore[misc]
            )
        answers: list[Any] = []
        asking = asyncio.create_task(_ask_on_and_on(admin, answers))
        first = {await _served_serial(port, old.bundle_pem()) for port in ports}
        assert first == {_serial(old)}

        async def is_renewed() -> bool:
            served = {await _served_serial(port, old.bundle_pem()) for port in ports}
            return served == {_serial(await _read_secret(admin))} != first

        await until(is_renewed, deadline_seconds=90, what="both serve what is new")
        new = await _read_secret(admin)
        # It is still signed by the authority that everybody trusts; the next one is handed out.
        assert new.authorities[0].certificate == old.authorities[0].certificate
        assert len(new.authorities) == 2
        await until(
            lambda: _is_trusted(admin, new.bundle_pem()),
            what="the APIServices verify by both authorities",
        )
        seen = len(answers)
        await until(lambda: len(answers) >= seen + 20, what="requests go on")
        asking.cancel()
        assert {*answers} == {"MetricValueList"}


def _soon_to_be_renewed() -> Material:
    """An authority and a certificate that are each to be renewed in less than half a minute."""
    now, hosts = datetime.now(UTC), (installing.HOST, f"{installing.HOST}.cluster.local")
    made = now + SOON - (AUTHORITY_LIFETIME - AUTHORITY_RENEWED_BEFORE)
    authority = renewed(None, hosts=hosts, now=made)
    return renewed(
        authority, hosts=hosts, now=now + SOON - (SERVING_LIFETIME - SERVING_RENEWED_BEFORE)
    )


async def _put_secret(admin: KubeClient, material: Material) -> None:
    data = {key: base64.b64encode(value).decode() for key, value in material.to_secret().items()}
    await admin.patch(SECRET, {"data": data})


async def _read_secret(admin: KubeClient) -> Material:
    data = (await admin.get(SECRET))["data"]
    material = read_secret({key: base64.b64decode(value) for key, value in data.items()})
    assert material is not None
    return material


def _serial(material: Material) -> str:
    return f"{material.serving.certificate.serial_number:X}"


async def _is_trusted(admin: KubeClient, bundle: bytes) -> bool:
    wanted = base64.b64encode(bundle).decode()
    specs = [
        (await admin.get(f"{API_SERVICES}/{version}.{installing.GROUP}"))["spec"]
        for version in ("v1beta1", "v1beta2")
    ]
    return all(one["caBundle"] == wanted and not one.get("insecureSkipTLSVerify") for one in specs)


async def _ask_on_and_on(admin: KubeClient, answers: list[Any]) -> None:
    while True:
        try:
            answers.append((await admin.get(NODES))["kind"])
        except ApiError as error:
            answers.append(str(error))
        await asyncio.sleep(0.05)


async def _served_serial(port: int, bundle: bytes) -> str:
    """The serial number of what a new connection is shown, verified by name and authority."""
    context = ssl.create_default_context(cadata=bundle.decode())
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=installing.HOST
    )
    try:
        serial: str = writer.get_extra_info("peercert")["serialNumber"]
        return serial.lstrip("0")
    finally:
        writer.close()
        await writer.wait_closed()
