# SPDX-License-Identifier: Apache-2.0
"""Responses of the status server: JSON and the page's files, with ETags and security headers.

The browser may load scripts, styles, images and data from this server only, and no page may frame
it.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import hdrs, web

if TYPE_CHECKING:
    from collections.abc import Mapping

STATIC: Final = Path(__file__).with_name("static")
CONTENT_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_GZIP_LEVEL: Final = 1
_GZIP_FROM_BYTES: Final = 1400
"""A smaller body fits one packet anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the page, also compressed."""

    body: bytes
    gzipped: bytes
    content_type: str
    etag: str


def load_files() -> Mapping[str, File]:
    """Return the page's files by name. Blocks."""
    return {
        path.name: _file(path.read_bytes(), CONTENT_TYPES[path.suffix])
        for path in sorted(STATIC.iterdir())
        if path.suffix in CONTENT_TYPES
    }


def _file(body: bytes, content_type: str) -> File:
    return File(
        body=body,
        gzipped=gzip.compress(body, mtime=0),
        content_type=content_type,
        etag=_etag(body),
    )


def file_answer(request: web.Request, file: File) -> web.Response:
    """Return a file, or 304 if the browser has it."""
    return _answer(request, file.body, file.content_type, etag=file.etag, gzipped=file.gzipped)


def json_answer(request: web.Request, document: object, *, status: int = 200) -> web.Response:
    """Return a document, or 304 where it says what the browser has."""
    body = msgspec.json.encode(document)
    return _answer(request, body, "application/json", etag=_etag(body), status=status)


def _answer(
    request: web.Request,
    body: bytes,
    content_type: str,
    *,
    etag: str,
    gzipped: bytes | None = None,
    status: int = 200,
) -> web.Response:
    headers = {
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.ETAG: f'"{etag}"',
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    known = request.if_none_match or ()
    if status == 200 and any(one.value in (etag, "*") for one in known):
        return web.Response(status=304, headers=headers)
    if len(body) >= _GZIP_FROM_BYTES and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0) if gzipped is None else gzipped
    return web.Response(status=status, body=body, headers=headers, content_type=content_type)


def _etag(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


async def add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to every response."""
    response.headers.update(SECURITY_HEADERS)
