# SPDX-License-Identifier: Apache-2.0
"""HTTP GET of pods' pages: bounded, with the operator's credentials and nothing else."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from scaler.budgets import SERVER_PAGE_BYTES, shown
from scaler.readings.http import HttpClient
from scaler.readings.servers.address import is_loopback, is_of_no_pod
from scaler.readings.servers.credentials import ServerCredentials
from scaler.readings.servers.problems import (
    Failure,
    ReadProblem,
    content_problem,
    plain_problem,
    status_problem,
    timeout_problem,
    tls_problem,
)
from scaler.readings.unexpected import unexpected
from toolkit.http_body import AnswerTooLargeError, read_body
from toolkit.http_credentials import AccessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.readings.settings import ServersSettings

MAX_KNOWN_URLS = 16384
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ETIMEDOUT)


class ReadError(RuntimeError):
    """The page could not be read."""

    def __init__(self, problem: ReadProblem) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


class ServerClient(HttpClient):
    """Reads pages of pods; use as an async context manager, which owns the connections."""

    def __init__(
        self, settings: ServersSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_seconds = settings.timeout_seconds
        self._loopback_pods = settings.loopback_pods
        self._credentials = ServerCredentials(settings, clock=clock)
        # Callers limit how many requests are in flight; a limit here would let hanging pods delay
        # the others.
        super().__init__(
            connections=0,
            headers={"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"},
            decompress=False,
        )

    async def page(
        self, url: str, namespace: str, *, hints: Mapping[int, str] | None = None
    ) -> bytes:
        """Return the body of the page at `url` of a pod in `namespace`.

        `hints` say what to do about statuses of the server in question.

        Raises:
            ReadError: there is no page; the problem says why.
        """
        try:
            return await self._get(url, namespace, hints)
        except ReadError:
            raise
        except Exception as error:
            raise ReadError(self._problem(error)) from error

    async def _get(self, url: str, namespace: str, hints: Mapping[int, str] | None) -> bytes:
        parsed = _parsed(url)
        host = parsed.host or ""
        # Whoever may write a pod's status may write any address.
        if is_of_no_pod(host) or (is_loopback(host) and not self._loopback_pods):
            raise ReadError(plain_problem(Failure.ADDRESS))
        async with asyncio.timeout(self._timeout_seconds):
            granted = await self._credentials.current(namespace)
            async with self._request(parsed, granted) as response:
                if response.status != 200:
                    raise ReadError(status_problem(response.status, hints))
                encoding = response.headers.get("Content-Encoding", "identity")
                if encoding.strip().lower() not in ("", "identity"):
                    raise ReadError(plain_problem(Failure.COMPRESSED))
                body = await read_body(response, max_bytes=SERVER_PAGE_BYTES)
        problem = content_problem(body, response.content_type)
        if problem is not None:
            raise ReadError(problem)
        return body

    def _problem(self, error: Exception) -> ReadProblem:
        match error:
            case TimeoutError():
                return timeout_problem(self._timeout_seconds)
            case AnswerTooLargeError():
                return plain_problem(Failure.OVER_BUDGET)
            case AccessError():
                sentence = f"is not asked: {shown(error)}"
                return ReadProblem(failure=Failure.CREDENTIALS, sentence=sentence)
            case ssl.SSLError() | ssl.CertificateError() | aiohttp.ClientSSLError():
                return tls_problem(_tls_reason(error))
            case aiohttp.ClientResponseError() | aiohttp.http.HttpProcessingError():
                return plain_problem(Failure.NO_HTTP)
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
                return plain_problem(Failure.RESET)
            case OSError():
                return plain_problem(_failure(error))
            case _:
                sentence = unexpected("a model server", error)
                return ReadProblem(failure=Failure.UNEXPECTED, sentence=sentence)


def _failure(error: OSError) -> Failure:
    if error.errno == errno.ECONNREFUSED:
        return Failure.REFUSED
    return Failure.UNREACHABLE if error.errno in UNREACHABLE else Failure.RESET


def _tls_reason(error: Exception) -> str:
    """Return OpenSSL's reason, without the addresses that the library adds."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    text = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or str(cause)
    return shown(re.sub(r"[^A-Za-z0-9_ .,:'-]", "", str(text))) or type(error).__name__


@lru_cache(maxsize=MAX_KNOWN_URLS)
def _parsed(url: str) -> URL:
    """Return the URL as it is: its path may have escapes, and its host is an IP address."""
    return URL(url, encoded=True)
