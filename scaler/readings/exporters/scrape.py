"""One exporter's text answer over HTTP, or why there is none."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self, TypeVar

import aiohttp
from yarl import URL

from scaler.budgets import INLINE_CHARACTERS, PAGE_BYTES, shown
from scaler.readings.http import (
    AccessError,
    AnswerTooLargeError,
    Credentials,
    new_session,
    read_body,
)
from scaler.readings.settings import ExportersSettings
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scaler.model import ExporterEndpoint

T = TypeVar("T")

MAX_CONCURRENT_SCRAPES = 256
MAX_KNOWN_URLS = 16384
FAILURES = (AccessError, AnswerTooLargeError, aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """What came of asking one exporter; `problem` completes "the exporter of node X ...".

    `asked_seconds` is when the request left, so that readings are never taken for younger than
    they are.
    """

    asked_seconds: float
    duration_seconds: float
    text: str = ""
    problem: str | None = None


class Scraper:
    """Asks exporters; use as an async context manager, which owns the connections."""

    def __init__(
        self,
        *,
        settings: ExportersSettings | None = None,
        timeout_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or ExportersSettings()
        self._credentials = Credentials(self._settings.access)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._limit = asyncio.Semaphore(MAX_CONCURRENT_SCRAPES)

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = new_session(
            connections=MAX_CONCURRENT_SCRAPES, headers={"Accept": "text/plain;version=0.0.4"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def scrape(
        self,
        endpoint: ExporterEndpoint | None,
        families: Iterable[str],
        *,
        too_late: Callable[[], str | None] = lambda: None,
    ) -> Scraped:
        """Return the answer with these families; what fails outside is its problem.

        `too_late` is asked when it is this exporter's turn, and says why it is left out.
        """
        async with self._limit:
            asked = self._clock()
            text, problem = "", too_late()
            if problem is not None:
                pass
            elif endpoint is None:
                problem = (
                    "is missing: no pod labelled app.kubernetes.io/name=gpu-exporter in"
                    " --exporters.namespace runs there"
                )
            else:
                url = endpoint.url.replace("http://", f"{self._settings.scheme}://", 1)
                try:
                    text = await self._fetch(_asking_for(url, tuple(families)))
                except TimeoutError:
                    problem = f"gave no answer within {self._timeout_seconds:g} s ({url})"
                except AnswerTooLargeError as error:
                    problem = f"is over budget: {error} ({url})"
                except FAILURES as error:
                    problem = f"failed: {shown(error)} ({url})"
                except Exception as error:  # noqa: BLE001  (it is this exporter's alone)
                    problem = f"{unexpected(f'the exporter at {url}', error)} ({url})"
            return Scraped(
                asked_seconds=asked,
                duration_seconds=self._clock() - asked,
                text=text,
                problem=problem,
            )

    async def _fetch(self, url: URL) -> str:
        if self._session is None:
            msg = "Scraper is not open: use it as an async context manager"
            raise RuntimeError(msg)
        async with asyncio.timeout(self._timeout_seconds):
            granted = await self._credentials.current()
            async with self._session.get(
                url,
                headers=granted.headers,
                ssl=granted.tls,
                server_hostname=granted.server_name,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    msg = f"HTTP status {response.status}, expected 200"
                    raise aiohttp.ClientPayloadError(msg)
                body = await read_body(response, max_bytes=PAGE_BYTES)
                return body.decode("utf-8", errors="replace")


async def parsed(parse: Callable[[], T], text: str) -> T:
    """Return what `parse` makes of `text`; a long text does not hold up the event loop."""
    return parse() if len(text) <= INLINE_CHARACTERS else await asyncio.to_thread(parse)


@lru_cache(maxsize=MAX_KNOWN_URLS)
def _asking_for(url: str, families: tuple[str, ...]) -> URL:
    """The address, whose parts are not taken asunder anew in each loop."""
    return URL(url).update_query([("name[]", family) for family in families])
