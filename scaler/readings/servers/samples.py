# SPDX-License-Identifier: Apache-2.0
"""Pure: the samples of a few metrics of a page, in time linear in its length.

A model server's page has hundreds of series, of which a handful count. Their lines are found by
their bytes, and only those are parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scaler.budgets import LINE_CHARACTERS, METRIC_SERIES, SERVER_PAGE_BYTES
from scaler.readings.series import parse_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Quoted text may contain braces. Possessive, so that no line is scanned more than once.
_LABELS: Final = re.compile(r'\{((?:[^"}]++|"(?:[^"\\]++|\\.)*+")*+)\}', re.DOTALL)
_SAMPLE_LINE: Final = re.compile(rb"^[ \t]*+[^#\s]", re.MULTILINE)
_BLANKS: Final = b" \t\r"
_ENDS: Final = (b"{", b" ", b"\t", b"")
"""What may follow a name; nothing does where the line is cut."""


class PageError(ValueError):
    """The answer is not a page of metrics; the message is a clause that says what it is."""


class MetricError(ValueError):
    """The page's lines of one metric cannot be read; the message is a clause that says why."""


class AbsentMetricError(MetricError):
    """The page can be read and has no such series, as before a server's first request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSample:
    """One line of a page; the value may be any float."""

    labels: Mapping[str, str]
    value: float


def check_page(body: bytes) -> None:
    """Check that the body may be a page of metrics.

    Raises:
        PageError: it is empty, too large, HTML, JSON, or not text.
    """
    start = body[:1024].lstrip()
    if not start and not body.strip():
        raise PageError("the page is empty")
    if len(body) > SERVER_PAGE_BYTES:
        raise PageError(f"the page has {len(body)} bytes, more than {SERVER_PAGE_BYTES}")
    if start.startswith(b"<"):
        raise PageError("the page is HTML, not Prometheus metrics")
    if start.startswith((b"{", b"[", b'"')):
        raise PageError("the page is JSON, not Prometheus metrics")
    try:
        is_text = b"\0" not in body and (body.isascii() or body.decode() is not None)
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise PageError("the page is not text")


def has_metric(body: bytes, name: str) -> bool:
    """Return whether the page has a TYPE line or a sample of exactly this name."""
    return next(_lines_of(body, name), None) is not None


def type_of(body: bytes, name: str) -> str | None:
    """Return the type of a metric, such as gauge, None if the page does not say."""
    for line in _lines_of(body, name):
        words = line.split(None, 3)
        if line.startswith(b"#") and len(words) == 4:
            return words[3].decode(errors="replace")
    return None


def read_metric(body: bytes, name: str) -> list[SeriesSample] | None:
    """Return the samples of exactly this name, None if the page has neither any nor its TYPE.

    Raises:
        MetricError: one of its lines is no sample or is too long, it has too many, two have the
            same labels, or the page has its TYPE and no sample at all.
    """
    found: dict[frozenset[tuple[str, str]], SeriesSample] = {}
    is_typed = False
    for line in _lines_of(body, name):
        if line.startswith(b"#"):
            is_typed = True
            continue
        if len(line) > LINE_CHARACTERS:
            raise MetricError(f"a line of {name} has more than {LINE_CHARACTERS} bytes")
        if len(found) == METRIC_SERIES:
            raise MetricError(f"{name} has more than {METRIC_SERIES} series")
        sample = _sample(line[len(name) :], name)
        series = frozenset(sample.labels.items())
        if series in found:
            raise MetricError(f"the page has a series of {name} twice")
        found[series] = sample
    if found:
        return list(found.values())
    if is_typed and _SAMPLE_LINE.search(body) is None:
        raise MetricError(f"the page has the type of {name}, but no sample at all")
    return [] if is_typed else None


def _lines_of(body: bytes, name: str) -> Iterator[bytes]:
    """Yield the TYPE lines and the samples of a name, without blanks around them.

    Each line is looked at once, at the first place where it contains the name.
    """
    # OpenMetrics gives the TYPE of a counter without the suffix of its samples.
    stem = name.removesuffix("_total")
    needle, whole, at = stem.encode(), name.encode(), 0
    while (place := body.find(needle, at)) >= 0:
        start = max(at, body.rfind(b"\n", at, place) + 1)
        end = body.find(b"\n", place)
        end = len(body) if end < 0 else end
        line = body[start:end].strip(_BLANKS)
        if line.startswith(b"#"):
            words = line.split(None, 3)
            if words[:2] == [b"#", b"TYPE"] and (
                words[2] == whole or (words[2] == needle and words[3:] == [b"counter"])
            ):
                yield line
        elif line.startswith(whole) and line[len(whole) : len(whole) + 1] in _ENDS:
            yield line
        at = end + 1


def _sample(rest: bytes, name: str) -> SeriesSample:
    """Return the sample that has this behind its name: labels, value, timestamp, exemplar."""
    try:
        text = rest.decode().lstrip(" \t")
        labels: Mapping[str, str] = {}
        if text.startswith("{"):
            braces = _LABELS.match(text)
            if braces is None:
                raise ValueError("no closing brace")
            labels = parse_labels(braces[1])
            text = text[braces.end() :]
        numbers = text.partition("#")[0].split()
        if len(numbers) not in (1, 2) or not text.isascii() or "_" in "".join(numbers):
            raise ValueError("no value")
        value, *_ = map(float, numbers)
    except ValueError:
        raise MetricError(f"a line of {name} is not a sample") from None
    return SeriesSample(labels=labels, value=value)
