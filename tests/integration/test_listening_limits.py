# SPDX-License-Identifier: Apache-2.0
"""The listener's limits on connections, requests and unread answers: who gives way."""

from __future__ import annotations

import asyncio
import errno

import pytest
from aiohttp import web

from tests.listeningclients import answer_to
from tests.listeningserver import ASK, ASK_ONCE, opened, served
from tests.waiting import until
from toolkit.listening import listener as listening
from toolkit.listening import request_limits
from toolkit.listening.request_limits import SLICE_BYTES


async def status(reader: asyncio.StreamReader) -> int:
    """Return the status of the next answer, 0 if the connection ended."""
    try:
        line = await asyncio.wait_for(reader.readline(), 60)
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    """Capture what is told below warnings as well."""
    caplog.set_level("INFO", logger="toolkit")


async def large(_: web.BaseRequest) -> web.Response:
    return web.Response(body=b"x" * 8_000_000)


async def test_what_clients_do_not_read_is_bounded_in_all(monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 0.0)
    async with served(large, unsent_bytes=30_000_000) as made:
        greedy = [await opened(made, ASK % b"", source="127.0.0.2") for _ in range(60)]
        most = 30_000_000 // 8_000_000
        await until(lambda: 0 < made.connections() <= most + 1, what="the others end")
        assert made.unsent_bytes() <= 2 * SLICE_BYTES * made.connections()
        reader, writer = await opened(made, ASK % b"", source="127.0.0.3")
        assert await status(reader) == 200
        greedy.append((reader, writer))
        for _, writer in greedy:
            writer.transport.abort()


async def test_an_answer_is_forgotten_once_it_is_sent():
    answers = []

    async def handler(_: web.BaseRequest) -> web.Response:
        answers.append(web.Response(body=b"x" * 1_000_000))
        return answers[-1]

    async with served(handler) as made:
        # The connection stays open, and asks for nothing more.
        reader, writer = await asyncio.open_connection(*made.address)
        writer.write(ASK % b"")
        assert await status(reader) == 200
        await until(lambda: answers[0].body is None, what="the end of the body")
        while await reader.readline() != b"\r\n":
            pass
        assert len(await reader.readexactly(1_000_000)) == 1_000_000
        writer.write(ASK % b"")
        assert await status(reader) == 200
        writer.transport.abort()


async def test_a_request_counts_until_its_answer_is_sent(monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 60.0)
    async with served(large, requests=2) as made:
        held = [await opened(made, ASK % b"") for _ in range(2)]
        for reader, _ in held:
            assert await status(reader) == 200
        third, third_writer = await opened(made, ASK % b"")
        assert await status(third) == 503
        # Whoever comes from elsewhere has nothing yet, and takes the place of one that has more.
        other, other_writer = await opened(made, ASK % b"", source="127.0.0.2")
        assert await status(other) == 200
        await until(lambda: made.connections() == 3, what="the end of one")
        for _, writer in (*held, (third, third_writer), (other, other_writer)):
            writer.transport.abort()


async def test_an_answer_that_nobody_reads_gives_way_to_anybody(monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 0.0)
    async with served(large, requests=1) as made:
        _, first = await opened(made, ASK % b"")
        reader, second = await opened(made, ASK % b"")
        assert await status(reader) == 200
        await until(lambda: made.connections() == 1, what="the end of the first")
        first.transport.abort()
        second.transport.abort()


async def test_of_too_many_connections_those_of_the_greediest_address_end():
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async with served(handler, connections=10) as made:
        innocent, writer = await opened(made, source="127.0.0.3")
        greedy = [await opened(made, source="127.0.0.2") for _ in range(40)]
        await until(lambda: made.connections() <= 10, what="the others end")
        # It was silent for longest, and is there yet.
        writer.write(ASK % b"")
        assert await status(innocent) == 200
        for _, one in (*greedy, (innocent, writer)):
            one.transport.abort()


async def test_without_a_file_for_a_connection_the_greediest_address_gives_one_back(
    monkeypatch, caplog
):
    monkeypatch.setattr(listening, "PAUSE_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    real, full = loop.sock_accept, [False]

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async with served(handler) as made:

        async def accept(bound):
            if full[0] and made.connections() >= 5:
                raise OSError(errno.EMFILE, "Too many open files")
            return await real(bound)

        greedy = [await opened(made, source="127.0.0.2") for _ in range(5)]
        await until(lambda: made.connections() == 5)
        full[0] = True
        monkeypatch.setattr(loop, "sock_accept", accept)
        for _ in range(3):
            # The accept that is under way already is one that succeeds.
            assert b" 200 " in await answer_to(made.address, ASK_ONCE)
            greedy.append(await opened(made, source="127.0.0.2"))
        for _, one in greedy:
            one.transport.abort()
    assert len([one for one in caplog.records if "cannot be accepted" in one.message]) <= 1


async def test_a_crowd_at_one_address_costs_another_no_more_than_a_few_requests():
    order: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        order.append(request.path)
        return web.Response(text="ok")

    async with served(handler) as made:
        greedy = [await opened(made, source="127.0.0.2") for _ in range(100)]
        modest = await opened(made)
        # All at once, the modest one last.
        for _, writer in greedy:
            writer.write(ASK % b"greedy")
        modest[1].write(ASK % b"modest")
        assert await status(modest[0]) == 200
        assert order.index("/modest") < 30
        await until(lambda: len(order) == 101, what="all are answered")
        for _, writer in (*greedy, modest):
            writer.transport.abort()


async def test_requests_in_one_piece_take_turns_with_other_connections():
    order: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        order.append(request.path)
        return web.Response(text="ok")

    async with served(handler) as made:
        greedy = await opened(made, (ASK % b"greedy") * 500)
        modest = await opened(made, ASK % b"modest")
        assert await status(modest[0]) == 200
        assert order.index("/modest") < 400
        for _, writer in (greedy, modest):
            writer.transport.abort()
