# SPDX-License-Identifier: Apache-2.0
"""The scaler's `/metrics`, rendered at most once per loop and second."""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence, Set

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

MAX_AGE_SECONDS: Final = 1.0
_OPENMETRICS: Final = "application/openmetrics-text"
_OPENMETRICS_END: Final = b"# EOF\n"
_GZIP_LEVEL: Final = 1


class _Page:
    """All families at one time; each is encoded on its first request."""

    def __init__(
        self, families: Sequence[Metric], *, loop: object, now_seconds: float, is_openmetrics: bool
    ) -> None:
        self.made_seconds = now_seconds
        self.loop = loop
        self._families = families
        self._end = _OPENMETRICS_END if is_openmetrics else b""
        self._encode = openmetrics.generate_latest if is_openmetrics else generate_latest
        self._texts: dict[str, bytes] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._gzipped: bytes | None = None

    def body(self, names: Set[str], *, gzipped: bool) -> bytes:
        """Return the families with these names or series names; without names all families."""
        if names or not gzipped:
            wanted = (one for one in self._families if not names or names & self._names_of(one))
            return b"".join((*map(self._text, wanted), self._end))
        if self._gzipped is None:
            self._gzipped = gzip.compress(self.body(names, gzipped=False), _GZIP_LEVEL, mtime=0)
        return self._gzipped

    def _names_of(self, family: Metric) -> Set[str]:
        known = self._names.get(family.name)
        if known is None:
            known = frozenset((family.name, *(sample.name for sample in family.samples)))
            self._names[family.name] = known
        return known

    def _text(self, family: Metric) -> bytes:
        text = self._texts.get(family.name)
        if text is None:
            text = self._encode(_One(family)).removesuffix(self._end)
            self._texts[family.name] = text
        return text


class MetricsPage:
    """Serves the metrics of a registry."""

    def __init__(self, registry: CollectorRegistry, loop: Callable[[], object]) -> None:
        """`loop` returns another object after each loop."""
        self._registry = registry
        self._loop = loop
        self._pages: dict[bool, _Page] = {}
        self._answering = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.Response:
        """Return the page in the requested format; `name[]` limits it to these families."""
        accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
        is_openmetrics = any(one.split(";")[0].strip() == _OPENMETRICS for one in accept.split(","))
        names = frozenset(request.query.getall("name[]", []))
        gzipped = not names and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        headers = {
            hdrs.CONTENT_TYPE: openmetrics.CONTENT_TYPE_LATEST
            if is_openmetrics
            else CONTENT_TYPE_PLAIN_0_0_4,
            hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}",
        }
        if gzipped:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        async with self._answering:
            page = self._page(is_openmetrics=is_openmetrics)
            body = await asyncio.to_thread(page.body, names, gzipped=gzipped)
        return web.Response(body=body, headers=headers)

    def _page(self, *, is_openmetrics: bool) -> _Page:
        page = self._pages.get(is_openmetrics)
        now, loop = time.monotonic(), self._loop()
        is_fresh = page is not None and now - page.made_seconds < MAX_AGE_SECONDS
        if page is None or not is_fresh or page.loop is not loop:
            # Free the old page before the new one takes memory.
            self._pages.pop(is_openmetrics, None)
            page = _Page(
                list(self._registry.collect()),
                loop=loop,
                now_seconds=now,
                is_openmetrics=is_openmetrics,
            )
            self._pages[is_openmetrics] = page
        return page


class _One(Collector):
    """A registry of one family, for the encoders."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
