# SPDX-License-Identifier: Apache-2.0
"""Pure: what a client accepts -> what it gets.

prometheus-client chooses the format, but it does not know of qualities (RFC 9110, section 12.4.2).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from prometheus_client.exposition import choose_encoder

_PARAMETER: Final = re.compile(r";\s*(version|q)\s*=\s*([^;\s]*)", re.IGNORECASE)
_KNOWN_HEADERS: Final = 16
_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
# prometheus-client would claim any version from 1.0.0 on as its own, and fails on one that is not a
# number; an empty one is any.
_VERSIONS: Final = {
    "application/openmetrics-text": {"", "1.0.0"},
    "text/plain": {"", "0.0.4", "1.0.0"},
    "text/*": {""},
    "*/*": {""},
}


@lru_cache(maxsize=_KNOWN_HEADERS)
def content_type(accept: str) -> str:
    """Return the content type that `accept` (the HTTP header) likes best; text if it likes none."""
    ranges = [one for one in accept.split(",") if _is_writable(one) and _quality(one) > 0]
    best = max(ranges, key=lambda one: (_quality(one), "*" not in _name(one)), default="")
    return choose_encoder(best)[1]


@lru_cache(maxsize=_KNOWN_HEADERS)
def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether the HTTP header names gzip, with a quality above 0 if with any."""
    return any(_name(one) == "gzip" and _quality(one) > 0 for one in accept_encoding.split(","))


def _is_writable(media_range: str) -> bool:
    version = _parameters(media_range).get("version", "")
    return version in _VERSIONS.get(_name(media_range), set())


def _quality(item: str) -> float:
    text = _parameters(item).get("q", "1")
    return float(text) if _QUALITY.fullmatch(text) else 0.0


def _name(item: str) -> str:
    return item.partition(";")[0].strip().lower()


def _parameters(item: str) -> dict[str, str]:
    return {name.lower(): value for name, value in _PARAMETER.findall(item)}
