# SPDX-License-Identifier: Apache-2.0
"""Reading pods' pages: every way to fail is named with what to do, and costs a bounded amount."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web

from scaler.budgets import SERVER_PAGE_BYTES
from scaler.readings.servers import credentials
from scaler.readings.servers.client import ReadError, ServerClient
from scaler.readings.servers.problems import Failure
from scaler.readings.settings import ServersSettings
from tests.cluster.certificates import Authority
from tests.serving import serving
from toolkit import http_credentials
from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.readings.servers.problems import ReadProblem

PAGE = b"vllm:num_requests_running 3\n"
SECRET = "sesame-of-the-tenant"


@pytest.fixture(autouse=True)
def _always_reread(monkeypatch):
    monkeypatch.setattr(http_credentials, "REREAD_SECONDS", 0.0)
    monkeypatch.setattr(credentials, "REREAD_SECONDS", 0.0)


@asynccontextmanager
async def raw(*answer: bytes, ends: bool = True) -> AsyncIterator[str]:
    """Serve these bytes to every request, and then end the connection or let it hang."""
    held: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in answer:
                writer.write(part)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        if ends:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()


async def problem(
    url: str, settings: ServersSettings | None = None, **hints: dict[int, str]
) -> ReadProblem:
    async with ServerClient(
        settings or ServersSettings(loopback_pods=True, timeout_seconds=30)
    ) as client:
        with pytest.raises(ReadError) as caught:
            await client.page(url, "default", **hints)
    assert SECRET not in caught.value.problem.sentence
    return caught.value.problem


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.3.2.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0", "[::]"],
)
async def test_an_address_that_is_no_pods_is_never_asked(host):
    connected = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await problem(f"http://{host}:{port}/metrics", ServersSettings())
    assert found.failure is Failure.ADDRESS
    assert not connected


def answered(status: str, *headers: str, body: bytes = SECRET.encode()) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "failure", "expected"),
    [
        (answered("401 x"), Failure.UNAUTHORIZED, "--servers.credentials-namespaces"),
        (answered("403 x"), Failure.UNAUTHORIZED, "--servers.bearer-token-file"),
        (answered("404 x"), Failure.NOT_FOUND, "gpu-scaler/metrics-path"),
        (answered("501 x"), Failure.NOT_IMPLEMENTED, "metrics enabled"),
        (answered("503 x"), Failure.UNAVAILABLE, "loading"),
        (answered("500 x"), Failure.STATUS, "answers 500"),
        (answered("204 x", body=b""), Failure.STATUS, "answers 204"),
        (answered("302 x", f"Location: /{SECRET}"), Failure.REDIRECT, "gpu-scaler/metrics-port"),
        (answered("200 OK", body=b""), Failure.EMPTY, "metrics enabled"),
        (answered("200 OK", body=b" \n"), Failure.EMPTY, "empty"),
        (answered("200 OK", "Content-Type: text/html"), Failure.HTML, "HTML"),
        (answered("200 OK", body=b"\n<!DOCTYPE html>"), Failure.HTML, "HTML"),
        (
            answered("200 OK", "Content-Encoding: gzip", body=gzip.compress(b"x" * 2**24)),
            Failure.COMPRESSED,
            "compression",
        ),
        (answered("200 OK", "Content-Encoding: br"), Failure.COMPRESSED, "compression"),
        (
            answered("200 OK", body=b"a 1\n" * (SERVER_PAGE_BYTES // 4 + 1)),
            Failure.OVER_BUDGET,
            str(SERVER_PAGE_BYTES),
        ),
        (b"", Failure.RESET, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\na 1\n", Failure.RESET, "before the end"),
        (b"SSH-2.0-OpenSSH\r\n", Failure.NO_HTTP, "gpu-scaler/metrics-port"),
        (answered("200 OK", f"X-Big: {SECRET * 2000}"), Failure.NO_HTTP, "no valid HTTP"),
        (answered("200 OK", *(f"X-{n}: y" for n in range(9999))), Failure.NO_HTTP, "HTTP"),
    ],
)
async def test_each_failure_says_what_to_do(answer, failure, expected):
    async with raw(answer) as url:
        found = await problem(url)
    assert found.failure is failure
    assert expected in found.sentence


async def test_a_servers_own_hint_comes_first():
    async with raw(answered("501 x")) as url:
        found = await problem(url, hints={501: "start it with --metrics"})
    assert found.sentence == "answers 501: start it with --metrics"


async def test_nobody_listens_or_the_listener_resets():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}/metrics"
        found = await problem(url)
    assert found.failure is Failure.REFUSED
    assert "gpu-scaler/metrics-port" in found.sentence


@pytest.mark.parametrize(
    "answer", [(), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na",)], ids=["hangs", "drips"]
)
async def test_an_answer_that_does_not_end_is_given_up(answer):
    async with raw(*answer, ends=False) as url:
        found = await problem(url, ServersSettings(loopback_pods=True, timeout_seconds=0.2))
    assert found.failure is Failure.TIMEOUT
    assert "0.2 s" in found.sentence


async def test_a_page_comes_as_it_is_with_no_cookie_proxy_or_name_filter(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        answer = web.Response(body=PAGE)
        answer.set_cookie("session", "1")
        return answer

    async with serving(handle) as url, ServerClient(ServersSettings(loopback_pods=True)) as client:
        for _ in range(2):
            assert await client.page(f"{url}/a%2Fb/metrics", "default") == PAGE
    assert [one.raw_path for one in seen] == ["/a%2Fb/metrics"] * 2
    for one in seen:
        assert one.headers["Accept-Encoding"] == "identity"
        assert "Cookie" not in one.headers
        assert "Authorization" not in one.headers


class Shown:
    """A server that keeps what it was shown."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        return web.Response(body=PAGE)


async def test_credentials_go_only_to_their_namespaces(tmp_path):
    for name in ("flags", "chat"):
        (tmp_path / name).write_text(f"of-{name}\n")
    file = tmp_path / "credentials.yaml"
    file.write_text(yaml.safe_dump([{"namespaces": ["chat"], "bearerTokenFile": "chat"}]))
    settings = ServersSettings(
        loopback_pods=True,
        access=HttpAccess(bearer_token_file=str(tmp_path / "flags")),
        namespaces=("prod", "chat"),
        credentials_file=str(file),
    )
    server = Shown()
    async with serving(server.handle) as url, ServerClient(settings) as client:
        for namespace in ("prod", "chat", "other"):
            await client.page(url, namespace)
        assert server.tokens == ["Bearer of-flags", "Bearer of-chat", None]
        # The file and what it names are read again.
        (tmp_path / "chat").write_text("new")
        await client.page(url, "chat")
        file.write_text(yaml.safe_dump([{"namespaces": ["*"], "bearerTokenFile": "chat"}]))
        await client.page(url, "other")
        assert server.tokens[3:] == ["Bearer new", "Bearer new"]


@pytest.mark.parametrize(
    "text", ["- namespaces: [a]\n  password: x", "[", "a: &a [*a]", "x" * 70000]
)
async def test_without_a_valid_file_nobody_is_asked(tmp_path, text):
    file, server = tmp_path / "credentials.yaml", Shown()
    file.write_text(text)
    async with serving(server.handle) as url:
        found = await problem(url, ServersSettings(loopback_pods=True, credentials_file=str(file)))
    assert found.failure is Failure.CREDENTIALS
    assert "--servers.credentials-file" in found.sentence
    assert server.tokens == []


async def test_a_missing_token_is_named_only_where_it_is_needed(tmp_path):
    access = HttpAccess(bearer_token_file=str(tmp_path / "nothing"))
    settings = ServersSettings(loopback_pods=True, access=access, namespaces=("default",))
    server = Shown()
    async with serving(server.handle) as url:
        assert (await problem(url, settings)).failure is Failure.CREDENTIALS
        async with ServerClient(settings) as client:
            assert await client.page(url, "other") == PAGE


async def test_certificates_are_verified_and_ours_is_shown_to_its_namespaces(tmp_path):
    authority = Authority(tmp_path, "ca")
    issued = authority.issue("server", hosts=["127.0.0.1"])
    ours = authority.issue("gpu-scaler")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(issued.certificate, issued.key)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_verify_locations(authority.file)
    seen: list[bool] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        seen.append(bool(request.transport.get_extra_info("peercert")))
        return web.Response(body=PAGE)

    access = HttpAccess(
        ca_file=str(authority.file), cert_file=str(ours.certificate), key_file=str(ours.key)
    )
    async with serving(handle, tls=tls) as url:
        async with ServerClient(
            ServersSettings(loopback_pods=True, access=access, namespaces=("default",))
        ) as client:
            for namespace in ("default", "other", "default"):
                await client.page(url, namespace)
        assert seen == [True, False, True]
        found = await problem(url)
        assert found.failure is Failure.TLS
        assert "--servers.tls-ca-file" in found.sentence
        plain = url.replace("https:", "http:")
        assert (await problem(plain)).failure in (Failure.RESET, Failure.NO_HTTP, Failure.STATUS)
