# SPDX-License-Identifier: Apache-2.0
"""TLS of the metrics API: its versions, its sessions, and a certificate that changes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime

import pytest

from scaler.metricsapi import tls
from scaler.metricsapi.certificates import renewed
from tests.metricsapidoor import ANY_CIPHER, HOST, PODS, Door
from tests.waiting import until


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_2, True, id="TLS 1.2"),
        pytest.param(ssl.TLSVersion.TLSv1_3, True, id="TLS 1.3"),
        pytest.param(ssl.TLSVersion.TLSv1_1, False, id="TLS 1.1"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_versions_of_tls(door, monkeypatch, version, spoken):
    context = ssl.create_default_context(cadata=door.bundle)
    context.minimum_version = context.maximum_version = version
    # What is refused is refused for its version, not for what OpenSSL thinks of its ciphers.
    make_context = tls._context

    def lenient() -> ssl.SSLContext:
        made = make_context()
        made.set_ciphers(ANY_CIPHER)
        return made

    monkeypatch.setattr(tls, "_context", lenient)
    door.publish()
    for one in (context, door.tls.context):
        one.set_ciphers(ANY_CIPHER)
    host, port = door.url.removeprefix("https://").split(":")

    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=HOST)
        writer.close()
        await writer.wait_closed()

    if spoken:
        await connect()
    else:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_brings_nobody_in_again(door, version):
    """With TLS 1.3 there is none, and none outlives the authorities that it began with."""
    alice = door.cluster.issue("alice")
    context = ssl.create_default_context(cadata=door.bundle)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(alice.certificate, alice.key)
    host, port = door.url.removeprefix("https://").split(":")

    def ask(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None, bool]:
        with (
            socket.create_connection((host, int(port)), timeout=60) as connection,
            context.wrap_socket(connection, server_hostname=HOST, session=session) as tls,
        ):
            tls.sendall(f"GET {PODS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: tls.recv(4096), b""))
            return answer[:12], tls.session, bool(tls.session_reused)

    answer, session, _ = await asyncio.to_thread(ask, None)
    assert answer == b"HTTP/1.1 200"
    answer, session, resumed = await asyncio.to_thread(ask, session)
    assert (answer, resumed) == (b"HTTP/1.1 200", version is ssl.TLSVersion.TLSv1_2)
    door.publish(client_ca_pem=door.stranger.file.read_text())
    try:
        answer, _, _ = await asyncio.to_thread(ask, session)
    except (ssl.SSLError, ConnectionError):
        answer = b""
    # A whole handshake verifies it again, and ends.
    assert answer == b""


async def test_a_new_certificate_drops_no_request(door):
    alice = door.cluster.issue("alice")
    statuses: list[int] = []
    stop = asyncio.Event()
    trusted = [door.bundle]

    async def ask_anew() -> None:
        while not stop.is_set():
            door.bundle = "".join(trusted)
            statuses.append((await door.get(certificate=alice))[0])

    async def ask_on_one_connection() -> None:
        async with door.session(alice) as session:
            while not stop.is_set():
                async with session.get(door.url + PODS, server_hostname=HOST) as answer:
                    await answer.read()
                    statuses.append(answer.status)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask_on_one_connection())
        for _ in range(3):
            group.create_task(ask_anew())
        serials = set()
        for _ in range(4):
            serials.add(await _served_serial(door))
            material = renewed(None, hosts=(HOST,), now=datetime.now(UTC))
            trusted.append(material.bundle_pem().decode())
            await _until_answered(statuses, len(statuses) + 10)
            door.tls.use(material.serving.certificate_pem(), material.serving.key_pem())
        stop.set()
    assert set(statuses) == {200}
    assert len(serials) == 4


async def _until_answered(statuses: list[int], count: int) -> None:
    await until(lambda: len(statuses) >= count, what="more requests are answered")


async def _served_serial(door: Door) -> str:
    host, port = door.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cadata=door.bundle)
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=HOST)
    serial: str = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return serial
