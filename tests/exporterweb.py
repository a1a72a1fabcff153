# SPDX-License-Identifier: Apache-2.0
"""An exporter with a web configuration file, and clients that come to it from outside."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import bcrypt
import yaml

from exporter.app import running
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.binding import bind
from tests.exporting import configuration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from multidict import CIMultiDictProxy

    from tests.cluster.certificates import Authority


class WebFile:
    """A web configuration file, its certificates beside it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.path = folder / "web.yaml"
        self.authority = authority
        self.certificate = authority.issue("server", hosts=["127.0.0.1"])
        self.tls = {"cert_file": "server.crt", "key_file": "server.key"}

    def write(self, **sections) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(sections))
        new.replace(self.path)

    def client(self, **certificate) -> ssl.SSLContext:
        """The TLS of a client that knows the CA and shows a certificate if one is given."""
        context = ssl.create_default_context(cafile=self.authority.file)
        if certificate:
            context.load_cert_chain(**certificate)
        return context


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()


@asynccontextmanager
async def exporter(file: WebFile | None = None, **changes: Any) -> AsyncIterator[str]:
    """Run an exporter; yields its host and port."""
    web_config_file = str(file.path) if file else ""
    config = configuration(web_config_file=web_config_file, **changes)
    async with running(config, bind(SimulatedDriver([GpuSpec()]))) as started:
        yield "{}:{}".format(*started.address)


async def get(
    address: str,
    tls: ssl.SSLContext | None = None,
    *,
    path: str = "/metrics",
    user=None,
    source: str | None = None,
) -> tuple[int, str, CIMultiDictProxy[str]]:
    """Return the status, the text and the headers of a new connection's answer.

    `source` is the address that the client comes from.
    """
    headers = {"Authorization": aiohttp.encode_basic_auth(*user)} if user else {}
    scheme = "https" if tls else "http"
    async with (
        aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(local_addr=(source, 0) if source else None),
        ) as session,
        session.get(f"{scheme}://{address}{path}", ssl=tls or True) as response,
    ):
        return response.status, await response.text(), response.headers
