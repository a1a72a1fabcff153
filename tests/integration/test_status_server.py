# SPDX-License-Identifier: Apache-2.0
"""The status server over real sockets: safe and small answers, and clients that do not go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from scaler.reporting.serialization import decision_document
from scaler.web.answers import STATIC
from scaler.web.server import LIMITS
from tests.listeningclients import BROKEN_GZIP, NO_HTTP, answer_to
from tests.statuspage import IDENTITY, decision, status_page
from tests.waiting import until

PATHS = (
    *("/", "/static/main.js", "/api/v1/overview", "/api/v1/gpus", "/api/v1/idle-gpus"),
    "/api/v1/decisions",
    *(
        "/api/v1/deployments/default/web",
        "/api/v1/deployments/default/web/load",
        "/metrics",
        "/healthz",
        "/readyz",
    ),
)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in PATHS),
        ("/nothing", 404),
        ("/static/nothing.js", 404),
        ("/static/..%2fserver.py", 404),
        ("/api/v1/deployments/default/nobody", 404),
        ("/api/v1/deployments/default/nobody/load", 404),
        ("/api/v1/deployments/default/web/what-if?metric=duty_cycle", 404),
        ("/api/v1/overview?limit=0", 400),
        ("/api/v1/deployments/default/web/load?seconds=21601", 400),
        ("/api/v1/gpus?sort=x", 400),
        ("/api/v1/idle-gpus?sort=x", 400),
        ("/api/v1/deployments/default/web?pods=x", 400),
    ],
)
async def test_every_answer_says_what_a_browser_may_do(scene, client, path, status):
    async with status_page(scene) as url, client.get(f"{url}{path}") as answer:
        assert answer.status == status
        policy = dict(
            part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
        )
        assert policy.pop("default-src") == "'none'"
        assert policy.pop("base-uri") == policy.pop("form-action") == "'none'"
        assert policy.pop("frame-ancestors") == policy.pop("trusted-types") == "'none'"
        assert policy.pop("require-trusted-types-for") == "'script'"
        assert set(policy) == {"script-src", "style-src", "img-src", "connect-src"}
        assert set(policy.values()) == {"'self'"}
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_nothing_can_be_written(scene, client):
    async with status_page(scene) as url:
        for path in PATHS:
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                async with client.request(method, f"{url}{path}") as answer:
                    assert answer.status == 405


@pytest.mark.parametrize(
    "path", ["/", "/static/page.css", "/api/v1/overview", "/api/v1/deployments/default/web"]
)
async def test_what_a_browser_has_is_not_sent_again(scene, client, path):
    async with status_page(scene) as url:
        async with client.get(f"{url}{path}", headers={"Accept-Encoding": "identity"}) as answer:
            etag, body = answer.headers["ETag"], await answer.read()
            assert "Content-Encoding" not in answer.headers
        async with client.get(f"{url}{path}", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers.get("Content-Encoding") == ("gzip" if len(body) > 1400 else None)
            assert (answer.headers["ETag"], await answer.read()) == (etag, body)
        async with client.get(f"{url}{path}", headers={"If-None-Match": etag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
            assert answer.headers["ETag"] == etag
        async with client.get(f"{url}{path}", headers={"If-None-Match": '"other"'}) as answer:
            assert (answer.status, await answer.read()) == (200, body)


async def test_another_decision_is_another_answer(scene, client):
    async with status_page(scene) as url:
        async with client.get(f"{url}/api/v1/overview") as answer:
            etag = answer.headers["ETag"]
        scene.decide(decision("web", duty_percent=41))
        async with client.get(f"{url}/api/v1/overview", headers={"If-None-Match": etag}) as answer:
            assert answer.status == 200
            document = json.loads(await answer.read())
    assert document["deployments"][0]["values"][0]["value"] == "41"
    assert document["scaler"]["identity"] == document["scaler"]["leader"] == IDENTITY


def test_the_page_is_whole_and_asks_nobody_else():
    names = {path.name for path in STATIC.iterdir()}
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        for imported in re.findall(r'from "\./([^"]+)"|(?:src|href)="static/([^"]+)"', text):
            assert "".join(imported) in names, (path.name, imported)
        # The namespaces of HTML's kin are names and not addresses.
        hosts = set(re.findall(r"https?://([^/\"' ]+)", text)) - {"www.w3.org"}
        assert hosts == set(), path.name
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ):
            assert forbidden not in text, (path.name, forbidden)
        assert " style=" not in text, path.name


async def test_it_works_behind_the_proxy_of_the_api_server(scene, client):
    """`/api/v1/namespaces/.../pods/.../proxy/` goes before every path: none may be absolute."""
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r'(?:src|href|from|fetch\()\s*=?\s*["\'`]/', text), path.name


async def held_open(
    url: str, sent: bytes, *, source: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), limit=1024, local_addr=(source, 0)
    )
    writer.write(sent)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="says nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-", id="stops within its headers"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", id="asks for nothing more"),
    ],
)
async def test_a_client_that_does_not_go_on_is_disconnected(scene, sent):
    async with status_page(scene, idle_seconds=0.2) as url:
        reader, writer = await held_open(url, sent)

        async def ended() -> bool:
            try:
                return not await reader.read(1000)
            except ConnectionError:
                return True

        await until(ended, what="the end of the connection")
        writer.close()


async def test_a_client_that_does_not_read_is_disconnected(scene):
    scene.decide(*(decision(f"web-{n}", replicas=300) for n in range(300)))
    ask = b"GET /api/v1/decisions HTTP/1.1\r\nHost: x\r\n\r\n"
    async with status_page(scene, read_seconds=0.2) as url:
        reader, writer = await held_open(url, ask)

        async def gone() -> bool:
            writer.write(ask)
            try:
                await writer.drain()
            except ConnectionError:
                return True
            return writer.transport.is_closing()

        await until(gone, what="the end of the connection")
        del reader
        # Nobody else waits for it.
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
            assert answer.status == 200


async def test_unread_answers_are_bounded_and_those_who_do_not_read_pay(scene, client):
    scene.decide(*(decision(f"web-{n}", replicas=300) for n in range(300)))
    ask = b"GET /api/v1/decisions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with status_page(scene, unsent_bytes=30_000_000) as url:
        async with client.get(f"{url}/api/v1/decisions") as answer:
            size = len(await answer.read())
        slow = [await held_open(url, ask, source="127.0.0.2") for _ in range(20)]
        for _ in range(5):
            async with client.get(f"{url}/api/v1/decisions") as answer:
                assert (answer.status, len(await answer.read())) == (200, size)
        received = [await all_of(reader) for reader, _ in slow]
        assert sum(one > size for one in received) <= 30_000_000 // size
        for _, writer in slow:
            writer.transport.abort()


async def all_of(reader: asyncio.StreamReader) -> int:
    """Return how many bytes come until the end."""
    received = 0
    with contextlib.suppress(ConnectionError):
        while some := await asyncio.wait_for(reader.read(1 << 20), 60):
            received += len(some)
    return received


async def test_metrics_are_rendered_at_most_once_a_second_however_often_asked(
    scene, client, monkeypatch
):
    collected = []
    now_seconds = 100.0
    clock = SimpleNamespace(monotonic=lambda: now_seconds)
    monkeypatch.setattr("scaler.web.metrics_page.time", clock)
    real = CollectorRegistry.collect

    def counted(registry):
        collected.append(registry)
        return real(registry)

    monkeypatch.setattr(CollectorRegistry, "collect", counted)
    async with status_page(scene) as url:
        for accept in ("text/plain", "application/openmetrics-text"):
            answers = set()
            for query in ("", "?name[]=gpu_scaler_leader", "?a", "?b"):
                for encoding in ("gzip", "identity"):
                    headers = {"Accept": accept, "Accept-Encoding": encoding}
                    async with client.get(f"{url}/metrics{query}", headers=headers) as answer:
                        answers.add(await answer.text())
            whole, part = sorted(answers, key=len, reverse=True)
            assert "gpu_scaler_leader 0.0" in part
            assert "gpu_scaler_holding" not in part
            assert set(part.splitlines()) <= set(whole.splitlines())
            assert whole.endswith("# EOF\n") == (accept != "text/plain")
        assert len(collected) == 2
        # A loop's results are there at once.
        scene.decide(decision("other"))
        async with client.get(f"{url}/metrics") as answer:
            await answer.read()
        assert len(collected) == 3
        now_seconds += 1
        async with client.get(f"{url}/metrics") as answer:
            await answer.read()
        assert len(collected) == 4


async def test_decisions_become_text_once_a_loop_however_often_asked(scene, client, monkeypatch):
    written = []

    def counted(*given, **options):
        written.append(given)
        return decision_document(*given, **options)

    monkeypatch.setattr("scaler.web.server.decision_document", counted)
    async with status_page(scene) as url:

        async def asked() -> dict[str, Any]:
            async with client.get(f"{url}/api/v1/decisions") as answer:
                document: dict[str, Any] = json.loads(await answer.read())
                return document

        for _ in range(5):
            assert len((await asked())["decisions"]) == 61
        assert len(written) == 61
        scene.leader = "another"
        scene.decide(decision("web"))
        for _ in range(5):
            document = await asked()
            assert [one["name"] for one in document["decisions"]] == ["web"]
            assert document["leader"] == "another"
        assert len(written) == 62


async def test_what_clients_break_is_a_count_and_one_line(scene, client, caplog):
    caplog.set_level("INFO", logger="toolkit")
    async with status_page(scene) as url:
        host, port = url.removeprefix("http://").split(":")
        for sent in (BROKEN_GZIP % b"/metrics", NO_HTTP) * 5:
            await answer_to((host, int(port)), sent)

        async def is_counted() -> bool:
            async with client.get(f"{url}/metrics") as answer:
                return "gpu_scaler_client_errors_total 10.0" in await answer.text()

        await until(is_counted, what="all are counted")
    (record,) = caplog.records
    assert (record.name, record.levelname, record.exc_info) == (
        "toolkit.listening.client_connection",
        "INFO",
        None,
    )


@pytest.mark.parametrize("host", ["", "::"])
async def test_all_addresses_are_those_of_both_families(scene, client, host):
    async with status_page(scene, host=host) as url:
        for name in ("127.0.0.1", "[::1]"):
            address = url.replace("127.0.0.1", name)
            async with client.get(f"{address}/healthz") as answer:
                assert answer.status == 200


async def test_who_says_more_than_a_request_takes_is_disconnected(scene, client):
    async with status_page(scene) as url:
        headers = b"".join(b"X%d: %b\r\n" % (number, b"y" * 8000) for number in range(100))
        reader, writer = await held_open(url, b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + headers)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.transport.abort()
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200


async def test_of_too_many_connections_the_longest_silent_go(scene, client):
    async with status_page(scene) as url:
        silent = [await held_open(url, b"") for _ in range(LIMITS.connections + 20)]
        ends = [asyncio.create_task(reader.read(1)) for reader, _ in silent]
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        await until(lambda: sum(end.done() for end in ends) >= 20, what="20 ends")
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        assert sum(end.done() for end in ends) < LIMITS.connections / 2
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for _, writer in silent:
            writer.transport.abort()
