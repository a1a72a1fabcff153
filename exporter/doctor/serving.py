# SPDX-License-Identifier: Apache-2.0
"""Whether it can be read: the web configuration file and the address."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import TYPE_CHECKING, Final

import aiohttp

from exporter.doctor.finding import failure, note, ok, warning
from exporter.processes.files import UnreadableError, is_there
from toolkit.cli.addresses import SYSTEMD
from toolkit.listening.local_sockets import is_local, path_of
from toolkit.listening.sockets import bound_sockets, why_not_bound
from toolkit.web import auth
from toolkit.web.model import WebConfigError

if TYPE_CHECKING:
    from exporter.cli.config import ExporterConfig
    from exporter.doctor.finding import Finding

_TIMEOUT: Final = aiohttp.ClientTimeout(5)


async def check_serving(config: ExporterConfig) -> list[Finding]:
    """Return what stands between the exporter's readers and its answers."""
    tls = False
    if config.web_config_file:
        try:
            loaded = await asyncio.to_thread(auth.load, config.web_config_file)
        except WebConfigError as error:
            return [
                failure("web config", problem, "fix the file; see docs/exporter.md")
                for problem in error.problems
            ]
        tls = loaded.tls is not None
    if is_local(config.listen_host):
        return [await _check_local(config, tls=tls)]
    address = f"{config.listen_host}:{config.listen_port}"
    try:
        for one in await bound_sockets(config.listen_host, config.listen_port):
            one.close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            problem = f"{address}: {why_not_bound(error)}"
            return [failure("address", problem, "see --web.listen-address")]
        return [await _in_use(config, address, tls=tls)]
    return [ok("address", f"{address} is free")]


async def _in_use(config: ExporterConfig, address: str, *, tls: bool) -> Finding:
    """Ask the program that uses the port whether it is an exporter, and whether it is ready."""
    scheme = "https" if tls else "http"
    host = config.listen_host or "127.0.0.1"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.listen_port}/readyz"
    return await _asked(url, address)


async def _check_local(config: ExporterConfig, *, tls: bool) -> Finding:
    """Look at a socket without taking it from whoever has it."""
    host = config.listen_host
    if host == SYSTEMD:
        return note("address", "systemd passes the socket to the exporter that it starts")
    path = path_of(host)
    try:
        is_taken = is_there(path)
    except UnreadableError as error:
        return failure("address", f"{host}: {error}", "see --web.listen-address")
    if is_taken:
        url = f"{'https' if tls else 'http'}://localhost/readyz"
        return await _asked(url, host, connector=aiohttp.UnixConnector(str(path)))
    if not os.access(path.parent, os.W_OK):
        problem = f"{host}: the folder {path.parent} is missing or cannot be written to"
        return failure("address", problem, "see --web.listen-address")
    return ok("address", f"{host} is free")


async def _asked(
    url: str, address: str, *, connector: aiohttp.BaseConnector | None = None
) -> Finding:
    # Its certificate is for others; here only the answer matters, and it stays on this machine.
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session,
            session.get(url, ssl=_unchecked()) as answer,
        ):
            text = (await answer.text()).strip()
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
        return warning(
            "address",
            f"{address} is in use, and {url} does not answer: {type(error).__name__}: {error}",
            "choose another --web.listen-address unless it is the exporter's own",
        )
    if status == 200:
        return ok("address", f"{address} is in use by an exporter that is ready")
    return note("address", f"{address} is in use; /readyz answers {status}: {text}")


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
