# SPDX-License-Identifier: Apache-2.0
"""Reads exporters' pages over HTTP."""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from scaler.budgets import INLINE_CHARACTERS, PAGE_BYTES, shown
from scaler.readings.exposition import ExpositionError, NodePage, asked_names, read_page
from scaler.readings.http import HttpClient, computed
from scaler.readings.store import MAX_CONCURRENT_READS
from scaler.readings.unexpected import unexpected
from toolkit.http_body import AnswerTooLargeError, read_body
from toolkit.http_credentials import AccessError, Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.model import ExporterEndpoint
    from scaler.readings.settings import ExportersSettings


MAX_KNOWN_URLS = 16384
FAILURES = (AccessError, AnswerTooLargeError, aiohttp.ClientError, OSError)


class ScrapeError(RuntimeError):
    """The scrape failed; the message completes "the exporter of node X ..."."""


class Scraper(HttpClient):
    """Scrapes exporters; use as an async context manager, which owns the connections."""

    def __init__(self, *, settings: ExportersSettings, timeout_seconds: float) -> None:
        self._settings = settings
        self._credentials = Credentials(settings.access)
        self._timeout_seconds = timeout_seconds
        super().__init__(
            connections=MAX_CONCURRENT_READS, headers={"Accept": "text/plain;version=0.0.4"}
        )

    async def text(self, endpoint: ExporterEndpoint | None, names: tuple[str, ...]) -> str:
        """Return the exporter's text with the series of these names.

        Raises:
            ScrapeError: the scrape failed.
        """
        if endpoint is None:
            raise ScrapeError(
                "is missing: no pod labelled app.kubernetes.io/name=gpu-exporter in"
                " --exporters.namespace runs there"
            )
        url = endpoint.url.replace("http://", f"{self._settings.scheme}://", 1)
        try:
            return await self._fetch(_asking_for(url, names))
        except TimeoutError:
            msg = f"did not answer within {self._timeout_seconds:g} s ({url})"
        except AnswerTooLargeError as error:
            msg = f"is over budget: {error} ({url})"
        except FAILURES as error:
            msg = f"failed: {shown(error)} ({url})"
        raise ScrapeError(msg)

    async def _fetch(self, url: URL) -> str:
        async with asyncio.timeout(self._timeout_seconds):
            granted = await self._credentials.current()
            async with self._request(url, granted) as response:
                if response.status != 200:
                    raise aiohttp.ClientPayloadError(f"HTTP status {response.status}, expected 200")
                body = await read_body(response, max_bytes=PAGE_BYTES)
                return body.decode("utf-8", errors="replace")


class ExporterReader:
    """Reads the pages of nodes through one `Scraper`."""

    def __init__(
        self,
        scraper: Scraper,
        endpoints: Callable[[], Mapping[str, ExporterEndpoint]],
        *,
        clock: Callable[[], float],
    ) -> None:
        """`endpoints` maps node names to exporters."""
        self._scraper = scraper
        self._endpoints = endpoints
        self._clock = clock

    async def fetch(self, key: str, families: tuple[str, ...], before: NodePage | None) -> NodePage:
        """Return the page of the node `key`; a failure is the page's `problem`."""
        endpoint = self._endpoints().get(key)
        asked = self._clock()
        try:
            text = await self._scraper.text(endpoint, asked_names(families))
            duration = self._clock() - asked
            read = partial(
                read_page,
                text,
                before.known if before is not None else {},
                families=families,
                asked_seconds=asked,
                duration_seconds=duration,
            )
            return await computed(read, is_long=len(text) > INLINE_CHARACTERS)
        except ScrapeError as error:
            problem = str(error)
        except ExpositionError as error:
            problem = f"failed: {error} ({endpoint.url if endpoint else key})"
        except Exception as error:  # noqa: BLE001  (it affects only this node)
            url = f" ({endpoint.url})" if endpoint else ""
            problem = unexpected(f"the exporter of node {key}", error) + url
        return NodePage(
            families=families,
            asked_seconds=asked,
            duration_seconds=self._clock() - asked,
            problem=problem,
        )


@lru_cache(maxsize=MAX_KNOWN_URLS)
def _asking_for(url: str, names: tuple[str, ...]) -> URL:
    """Return the URL, cached so that it is not parsed in each loop."""
    return URL(url).update_query([("name[]", name) for name in names])
