"""The scaler's `/metrics`, rendered once a loop and once a second, however often asked."""

from __future__ import annotations

import asyncio
import gzip
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

MAX_AGE_SECONDS: Final = 1.0
_OPENMETRICS: Final = "application/openmetrics-text"
_OPENMETRICS_END: Final = b"# EOF\n"
_GZIP_LEVEL: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    names: frozenset[str]
    """Its own, and those of its series."""
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    made_seconds: float
    loop: object
    families: Sequence[_Family]
    end: bytes
    gzipped: bytes

    def text(self, names: Iterable[str]) -> bytes:
        """Return the families of these names; no names are all families."""
        wanted = frozenset(names)
        texts = [one.text for one in self.families if not wanted or wanted & one.names]
        return b"".join((*texts, self.end))


class MetricsPage:
    """Answers with what a registry has."""

    def __init__(self, registry: CollectorRegistry, loop: Callable[[], object]) -> None:
        """`loop` returns another object after each loop."""
        self._registry = registry
        self._loop = loop
        self._pages: dict[bool, _Page] = {}
        self._rendering = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer in the format that is asked for; `name[]` limits the answer to these families."""
        accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
        is_openmetrics = any(one.split(";")[0].strip() == _OPENMETRICS for one in accept.split(","))
        page = await self._page(is_openmetrics=is_openmetrics)
        headers = {
            hdrs.CONTENT_TYPE: openmetrics.CONTENT_TYPE_LATEST
            if is_openmetrics
            else CONTENT_TYPE_PLAIN_0_0_4,
            hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}",
        }
        names = request.query.getall("name[]", [])
        if names or "gzip" not in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            return web.Response(body=page.text(names), headers=headers)
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=page.gzipped, headers=headers)

    async def _page(self, *, is_openmetrics: bool) -> _Page:
        async with self._rendering:
            page = self._pages.get(is_openmetrics)
            now, loop = time.monotonic(), self._loop()
            is_fresh = page is not None and now - page.made_seconds < MAX_AGE_SECONDS
            if page is None or not is_fresh or page.loop is not loop:
                families = list(self._registry.collect())
                page = await asyncio.to_thread(_rendered, families, now, loop, is_openmetrics)
                self._pages[is_openmetrics] = page
            return page


class _One(Collector):
    """What the encoders take for a registry."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _rendered(
    families: Sequence[Metric], now_seconds: float, loop: object, is_openmetrics: bool
) -> _Page:
    end = _OPENMETRICS_END if is_openmetrics else b""
    encode = openmetrics.generate_latest if is_openmetrics else generate_latest
    texts = [
        _Family(
            names=frozenset({family.name, *(sample.name for sample in family.samples)}),
            text=encode(_One(family)).removesuffix(end),
        )
        for family in families
    ]
    everything = b"".join((*(one.text for one in texts), end))
    return _Page(
        made_seconds=now_seconds,
        loop=loop,
        families=texts,
        end=end,
        gzipped=gzip.compress(everything, _GZIP_LEVEL, mtime=0),
    )
