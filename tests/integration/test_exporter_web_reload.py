# SPDX-License-Identifier: Apache-2.0
"""What a changed, broken or cut-off web configuration file does to a running exporter."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest
import yaml

from tests.cluster.certificates import Authority
from tests.exporterweb import exporter, get, hashed
from tests.waiting import until
from toolkit.web import auth

RELOADED = "nvidia_gpu_exporter_web_config_last_reload_successful"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Look often for changed files."""
    monkeypatch.setattr(auth, "POLL_SECONDS", 0.02)


async def serial(address: str, tls: ssl.SSLContext) -> int:
    """Return the serial number of the server's certificate."""
    host, _, port = address.partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return int(certificate["serialNumber"], 16)


async def test_a_renewed_certificate_is_served_to_new_connections_and_old_ones_go_on(file):
    file.write(tls_server_config=file.tls)
    tls = file.client()
    async with exporter(file) as address, aiohttp.ClientSession() as session:
        first = await serial(address, tls)
        async with session.get(f"https://{address}/metrics", ssl=tls) as response:
            await response.read()
            connection = response.connection
        file.authority.issue("server", hosts=["127.0.0.1"])

        async def is_renewed() -> bool:
            return await serial(address, tls) != first

        await until(is_renewed, what="the new certificate")
        async with session.get(f"https://{address}/metrics", ssl=tls) as response:
            assert response.status == 200
        assert connection is None or not connection.closed


async def test_a_password_that_is_changed(file):
    file.write(basic_auth_users={"prometheus": hashed("first")})
    async with exporter(file) as address:
        assert (await get(address, user=("prometheus", "first")))[0] == 200
        file.write(basic_auth_users={"prometheus": hashed("second")})

        async def is_changed() -> bool:
            return (await get(address, user=("prometheus", "second")))[0] == 200

        await until(is_changed, what="the new password")
        assert (await get(address, user=("prometheus", "first")))[0] == 401


async def test_a_broken_file_leaves_the_one_before_in_use_until_it_is_mended(file, caplog):
    users = {"prometheus": hashed("right")}
    right = ("prometheus", "right")
    file.write(basic_auth_users=users)
    async with exporter(file) as address:

        async def reloaded() -> bool:
            return f"{RELOADED} 1.0" in (await get(address, user=right))[1]

        async def not_reloaded() -> bool:
            return f"{RELOADED} 0.0" in (await get(address, user=right))[1]

        assert await reloaded()
        file.write(basic_auth_users={"prometheus": "not hashed"})
        await until(not_reloaded)
        assert (await get(address))[0] == 401
        file.write(basic_auth_users=users | {"ann": hashed("hers")})
        await until(reloaded)
        assert (await get(address, user=("ann", "hers")))[0] == 200
    messages = [one.message for one in caplog.records if "Cannot reload" in one.message]
    assert messages == ["Cannot reload the web configuration; the previous one stays in use"]


MUTUAL = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}


@pytest.mark.parametrize("kept_lines", range(7))
async def test_a_file_cut_off_anywhere_takes_no_protection_away(file, caplog, kept_lines):
    client = file.authority.issue("prometheus")
    sections = {
        "tls_server_config": file.tls | MUTUAL,
        "basic_auth_users": {"ann": hashed("hers")},
    }
    whole = yaml.safe_dump(sections, sort_keys=False)
    file.path.write_text(whole)
    tls, ann = file.client(certfile=client.certificate, keyfile=client.key), ("ann", "hers")
    async with exporter(file) as address:
        assert (await get(address, tls, user=ann))[0] == 200
        # As an editor or a full disk leaves it, in place.
        file.path.write_text("".join(whole.splitlines(keepends=True)[:kept_lines]))

        async def is_reported() -> bool:
            return f"{RELOADED} 0.0" in (await get(address, tls, user=ann))[1]

        await until(is_reported, what="the refusal")
        assert (await get(address, tls))[0] == 401
        for wrong in (None, file.client()):
            with pytest.raises(aiohttp.ClientError):
                await get(address, wrong, user=ann)
        file.path.write_text(whole + "\n")

        async def is_mended() -> bool:
            return f"{RELOADED} 1.0" in (await get(address, tls, user=ann))[1]

        await until(is_mended, what="the whole file")
    records = [one for one in caplog.records if "Cannot reload" in one.message]
    assert len(records) == 1


@pytest.mark.parametrize("name", ["server.crt", "server.key", "ca.crt"])
@pytest.mark.parametrize("kept_bytes", [0, 200])
async def test_pem_that_is_cut_off_changes_nothing(file, tmp_path, name, kept_bytes):
    client = file.authority.issue("prometheus")
    stranger = Authority(tmp_path, "stranger").issue("prometheus2")
    file.write(tls_server_config=file.tls | MUTUAL)
    tls = file.client(certfile=client.certificate, keyfile=client.key)
    others = (file.client(), file.client(certfile=stranger.certificate, keyfile=stranger.key))
    async with exporter(file) as address:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:kept_bytes])

        async def is_reported() -> bool:
            return f"{RELOADED} 0.0" in (await get(address, tls))[1]

        await until(is_reported, what="the refusal")
        for other in others:
            with pytest.raises(aiohttp.ClientError):
                await get(address, other)


async def test_a_file_that_is_emptied_is_said_once_with_what_it_would_take_away(file, caplog):
    file.write(basic_auth_users={"ann": hashed("hers")})
    async with exporter(file) as address:
        file.path.write_text("")
        await until(lambda: any("Cannot reload" in one.message for one in caplog.records))
        # Looked at many times more.
        for _ in range(5):
            assert (await get(address))[0] == 401
    (record,) = [one for one in caplog.records if "Cannot reload" in one.message]
    assert record.error == (
        f"{file.path}: basic_auth_users was removed; restart the program to serve without it"
    )


async def is_ended(connection: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(connection.read(), 0.1) == b""
    except TimeoutError:
        return False
    except (ConnectionError, ssl.SSLError):
        return True


async def test_connections_end_when_the_ca_that_let_them_in_is_taken_away(file, tmp_path):
    Authority(tmp_path, "other-ca")
    client = file.authority.issue("prometheus")
    file.write(tls_server_config=file.tls | MUTUAL)
    async with exporter(file) as address:
        host, _, port = address.partition(":")
        tls = file.client(certfile=client.certificate, keyfile=client.key)
        connections = [
            await asyncio.open_connection(host, int(port), ssl=tls),
            # In the middle of its handshake.
            await asyncio.open_connection(host, int(port)),
        ]
        assert (await get(address, tls))[0] == 200
        file.write(tls_server_config=file.tls | MUTUAL | {"client_ca_file": "other-ca.crt"})
        for reader, writer in connections:
            await until(lambda reader=reader: is_ended(reader), what="its end")  # type: ignore[misc]
            writer.transport.abort()
        with pytest.raises(aiohttp.ClientError):
            await get(address, tls)


async def test_connections_without_tls_end_when_it_is_switched_on(file):
    file.write()
    async with exporter(file) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await get(address))[0] == 200
        file.write(tls_server_config=file.tls)
        await until(lambda: is_ended(reader), what="its end")
        writer.transport.abort()


async def test_tls_can_be_switched_on_while_running(file):
    file.write()
    async with exporter(file) as address:
        assert (await get(address))[0] == 200
        file.write(tls_server_config=file.tls)

        async def is_on() -> bool:
            try:
                return (await get(address, file.client()))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(is_on, what="TLS")
        with pytest.raises(aiohttp.ClientError):
            await get(address)
