# SPDX-License-Identifier: Apache-2.0
"""Headers and TLS settings of an HTTP client, from files that rotate."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from toolkit.http_access import HttpAccess

REREAD_SECONDS = 5.0
MAX_SECRET_BYTES = 64 * 1024


class AccessError(RuntimeError):
    """A credential or certificate file cannot be used; the message names it without its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Headers and TLS settings of a request; `tls` is True for the system's CAs."""

    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | bool = True
    server_name: str | None = None


class Credentials:
    """The headers and the TLS context of an `HttpAccess`, at most a few seconds old.

    Files are read in a thread. New certificates cause a new context and new connections.
    """

    def __init__(self, access: HttpAccess, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._clock = clock
        self._granted: Granted | None = None
        self._read_at_seconds = 0.0
        self._certificates: tuple[int, ...] | None = None
        self._tls: ssl.SSLContext | bool = True
        self._lock = asyncio.Lock()

    async def current(self) -> Granted:
        """Return the headers and TLS settings for a request.

        Raises:
            AccessError: a file is missing or invalid. Earlier content is not used any more:
                somebody may have removed the file on purpose.
        """
        async with self._lock:
            now = self._clock()
            if self._granted is None or now - self._read_at_seconds >= REREAD_SECONDS:
                self._granted = None
                self._granted = await asyncio.to_thread(self._read)
                self._read_at_seconds = now
            return self._granted

    def _read(self) -> Granted:
        access = self._access
        headers = dict(access.headers)
        for name, path in access.header_files:
            headers[name] = _secret(path)
        if access.bearer_token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(access.bearer_token_file)}"
        elif access.password_file is not None:
            pair = f"{access.username}:{_secret(access.password_file)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Granted(headers=headers, tls=self._read_tls(), server_name=access.server_name)

    def _read_tls(self) -> ssl.SSLContext | bool:
        access = self._access
        paths = [path for path in (access.ca_file, access.cert_file, access.key_file) if path]
        if not paths and not access.insecure_skip_verify:
            return True
        try:
            certificates = tuple(Path(path).stat().st_mtime_ns for path in paths)
            if certificates != self._certificates:
                self._tls = _tls_context(access)
                self._certificates = certificates
        except (OSError, ssl.SSLError) as error:
            msg = f"cannot use the certificates in {', '.join(paths)}: {error}"
            raise AccessError(msg) from error
        return self._tls


def _secret(path: str) -> str:
    """Return the single line of a file, without the line ending, which headers must not have."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"cannot read {path}: {error}") from error
    if not text or len(text) > MAX_SECRET_BYTES or not text.isprintable():
        raise AccessError(f"{path} does not contain exactly one line of text")
    return text


def _tls_context(access: HttpAccess) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=access.ca_file)
    # Since Python 3.13 the default is strict and rejects the CAs of some clusters.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.cert_file is not None:
        context.load_cert_chain(access.cert_file, keyfile=access.key_file)
    if access.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
