# SPDX-License-Identifier: Apache-2.0
"""What clients do to an exporter that do not go on, come in crowds, or send what is no request."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from dataclasses import replace

import aiohttp
import pytest

from exporter.web.server import LIMITS
from tests.exporterweb import exporter, get, hashed
from tests.listeningclients import BROKEN_GZIP, NO_HTTP, answer_to
from tests.waiting import until
from toolkit.listening import listener, request_limits
from toolkit.web import auth, passwords


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Look often for idle clients."""
    monkeypatch.setattr(listener, "REAP_SECONDS", 0.02)


@pytest.fixture
def limited(monkeypatch):
    """Change limits of the exporter."""

    def change(**limits) -> None:
        monkeypatch.setattr("exporter.app.parts.LIMITS", replace(LIMITS, **limits))

    return change


async def test_a_flood_of_guesses_neither_locks_out_nor_delays_whom_it_knows(file, monkeypatch):
    right = ("prometheus", "right")
    file.write(basic_auth_users={"prometheus": hashed("right")})
    proceed = threading.Event()
    real, checked = passwords._matches, []

    def slowly(password: str, known: str) -> bool:
        checked.append(password)
        if password.startswith("guess"):
            proceed.wait(60)
        return real(password, known)

    monkeypatch.setattr(passwords, "_matches", slowly)
    async with exporter(file) as address, asyncio.TaskGroup() as tasks:
        assert (await get(address, user=right))[0] == 200
        guesses = [
            tasks.create_task(get(address, user=("prometheus", f"guess-{number}")))
            for number in range(100)
        ]
        await until(lambda: any(one.done() for one in guesses), what="a guess is refused at once")
        for _ in range(3):
            assert (await get(address, user=right))[0] == 200
        proceed.set()
        assert {(await one)[0] for one in guesses} == {401, 503}
        for number in range(150):
            assert (await get(address, user=("nobody", f"{number}")))[0] == 401
        assert (await get(address, user=right))[0] == 200
        assert checked.count("right") == 1, "it was remembered all the time"


async def test_guessers_at_one_address_delay_no_login_at_another(file, monkeypatch):
    users = {f"user-{number}": hashed(f"right-{number}") for number in range(6)}
    file.write(basic_auth_users=users)
    proceed = threading.Event()
    real = passwords._matches

    def slowly(password: str, known: str) -> bool:
        if password.startswith("guess"):
            proceed.wait(60)
        return real(password, known)

    monkeypatch.setattr(passwords, "_matches", slowly)

    async def guess(address: str, number: int) -> int:
        try:
            user = ("user-1", f"guess-{number}")
            return (await get(address, user=user, source="127.0.0.2"))[0]
        except aiohttp.ClientError:
            return 0

    async with exporter(file) as address, asyncio.TaskGroup() as tasks:
        guesses = [tasks.create_task(guess(address, number)) for number in range(60)]
        await until(lambda: any(one.done() for one in guesses), what="a guess is refused at once")
        for number in range(6):
            # The first login of each.
            user = (f"user-{number}", f"right-{number}")
            assert (await get(address, user=user))[0] == 200
        proceed.set()
    assert {one.result() for one in guesses} <= {401, 503, 0}


async def test_more_requests_at_once_than_allowed_are_refused_at_once(file, monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 60)
    checking = asyncio.Event()
    proceed = asyncio.Event()

    async def slowly(_self, _request) -> bool:
        checking.set()
        await proceed.wait()
        return True

    monkeypatch.setattr(auth.WebAuth, "_is_user", slowly)
    file.write(basic_auth_users={"prometheus": hashed("right")})
    async with exporter(file, max_requests=1) as address:
        first = asyncio.create_task(get(address))
        await checking.wait()
        status, text, _ = await get(address)
        assert (status, text) == (
            503,
            "the limit of 1 requests in progress is reached; try again later\n",
        )
        proceed.set()
        assert (await first)[0] == 200
        assert (await get(address))[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", id="a long path"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", id="a header"
        ),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n"
            + b"".join(b"X%d: y\r\n" % number for number in range(5000))
            + b"\r\n",
            id="many headers",
        ),
    ],
)
async def test_headers_past_the_limits(request_):
    async with exporter() as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_)
        answer = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
        assert (await get(address))[0] == 200


async def test_who_says_more_than_a_request_takes_is_disconnected():
    async with exporter() as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n")
        # Each is as long as it may be, and so many are not too many.
        writer.write(b"".join(b"X%d: %b\r\n" % (number, b"y" * 8000) for number in range(100)))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
        assert (await get(address))[0] == 200


async def test_what_is_no_http_writes_no_log_but_our_own_failures_do(caplog, monkeypatch):
    async with exporter() as address:
        host, _, port = address.partition(":")
        for nonsense in (b"GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(nonsense)
            assert b" 400 " in await asyncio.wait_for(reader.readline(), 60)
            writer.close()
        assert [one.message for one in caplog.records if one.levelname == "ERROR"] == []

        def broken(*_arguments, **_options):
            raise ValueError("a bug")

        monkeypatch.setattr("exporter.exposition.pages.Exposition.render", broken)
        assert (await get(address))[0] == 500
    assert [str(one.exc_info[1]) for one in caplog.records if one.exc_info] == ["a bug"]


async def test_what_clients_break_is_a_count_and_one_line(caplog):
    caplog.set_level("INFO", logger="toolkit")
    async with exporter() as address:
        host, _, port = address.partition(":")
        for sent in (BROKEN_GZIP % b"/metrics", NO_HTTP) * 5:
            await answer_to((host, int(port)), sent)

        async def is_counted() -> bool:
            return "nvidia_gpu_exporter_client_errors_total 10.0" in (await get(address))[1]

        await until(is_counted, what="all are counted")
    (record,) = [one for one in caplog.records if one.name.startswith("toolkit")]
    assert (record.levelname, record.exc_info) == ("INFO", None)


@pytest.mark.parametrize("host", ["", "::"])
async def test_all_addresses_are_those_of_both_families(host):
    async with exporter(listen_host=host) as address:
        port = address.rpartition(":")[2]
        for name in ("127.0.0.1", "[::1]"):
            assert (await get(f"{name}:{port}"))[0] == 200


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "PROPFIND"]
)
async def test_only_reading_is_answered(method):
    async with exporter() as address, aiohttp.ClientSession() as session:
        async with session.request(method, f"http://{address}/metrics") as response:
            assert response.status == (200 if method == "HEAD" else 405)
            assert (method == "HEAD") == (await response.read() == b"")
        assert (await get(address))[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost:", id="in the middle of its headers"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 3000, id="asking and never reading"
        ),
    ],
)
async def test_a_client_that_does_not_go_on_is_disconnected(limited, sent):
    limited(idle_seconds=0.2)
    async with exporter() as address:
        host, _, port = address.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        writer.write(sent)
        # Others are served meanwhile.
        assert (await get(address))[0] == 200

        async def is_cut() -> bool:
            writer.write(b"x")
            return writer.transport.is_closing()

        await until(is_cut, what="the end of the connection")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="in the middle of its greeting"),
    ],
)
async def test_a_client_that_does_not_agree_on_tls_is_disconnected(file, limited, sent):
    limited(handshake_seconds=0.2)
    file.write(tls_server_config=file.tls)
    async with exporter(file) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        assert (await get(address, file.client()))[0] == 200
        await until(reader.at_eof, what="the end of the connection")
        writer.close()


async def test_of_too_many_handshakes_the_oldest_go(file, limited):
    limited(handshake_seconds=60)
    file.write(tls_server_config=file.tls)
    async with exporter(file) as address:
        host, _, port = address.partition(":")
        silent = [
            await asyncio.open_connection(host, int(port)) for _ in range(LIMITS.handshakes + 20)
        ]
        await until(silent[19][0].at_eof, what="20 are ended")
        assert (await get(address, file.client()))[0] == 200
        assert all(reader.at_eof() for reader, _ in silent[:20])
        assert not any(reader.at_eof() for reader, _ in silent[25:])
        for _, writer in silent:
            writer.close()


async def test_connections_that_cannot_be_taken_are_said_once_and_taken_later(monkeypatch, caplog):
    monkeypatch.setattr(listener, "PAUSE_SECONDS", 0.02)
    loop = asyncio.get_running_loop()
    real, failures = loop.sock_accept, [0]

    async def full(bound):
        if failures[0] < 3:
            failures[0] += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await real(bound)

    monkeypatch.setattr(loop, "sock_accept", full)
    async with exporter() as address:
        assert (await get(address))[0] == 200
    assert failures == [3]
    records = [one for one in caplog.records if one.message == "Cannot accept connections"]
    assert ["Too many open files" in one.error for one in records] == [True]


async def test_of_too_many_connections_those_that_asked_nothing_for_longest_end_at_once(
    monkeypatch, limited
):
    limited(connections=20)
    monkeypatch.setattr(listener, "REAP_SECONDS", 60)
    async with exporter() as address, aiohttp.ClientSession() as session:
        host, _, port = address.partition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(60)]

        async def scraped() -> None:
            async with session.get(f"http://{address}/metrics") as response:
                assert response.status == 200

        async def open_now() -> int:
            await scraped()
            return sum(not reader.at_eof() for reader, _ in silent)

        async def few() -> bool:
            return await open_now() < 20

        await until(few, what="few connections")
        assert await open_now() > 10, "no more than too many are ended"
        assert not silent[-1][0].at_eof(), "the newest stay"
        for _, writer in silent:
            writer.close()
