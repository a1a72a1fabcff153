# SPDX-License-Identifier: Apache-2.0
"""Pure: the text of `gpu-scaler/pod-metric` and `gpu-scaler/queue`."""

from __future__ import annotations

import re
from typing import Final

from scaler.model import MetricSelector, Queue
from scaler.readings.series import parse_labels

MAX_TERMS: Final = 8
MAX_LABELS: Final = 16
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]{0,255}"
_SELECTOR: Final = re.compile(rf"({_NAME})\s*(?:\{{(.*)\}})?", re.DOTALL)
_RATE: Final = re.compile(r"rate\s*\((.*)\)", re.DOTALL)
# A Service's name is a DNS label (RFC 1035), and so is a port's (RFC 6335).
_PAGE: Final = re.compile(
    r"http://([a-z]([a-z0-9-]{0,61}[a-z0-9])?):"
    r"([0-9]{1,5}|[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?)"
    r"(/[A-Za-z0-9._~/-]{0,255})?"
)
_TERM: Final = re.compile(r'(?:[^"+]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
"""Text without a plus sign outside of quotes."""


def parse_selector(text: str) -> MetricSelector:
    """Return the series that `name{label="x"}` or `rate(name_total)` selects.

    Raises:
        ValueError: the text is neither.
    """
    inner = _RATE.fullmatch(text.strip())
    found = _SELECTOR.fullmatch((inner[1] if inner else text).strip())
    if found is None:
        raise ValueError("not a metric")
    labels = tuple(sorted(parse_labels(found[2] or "").items()))
    if len(labels) > MAX_LABELS:
        raise ValueError("too many labels")
    return MetricSelector(name=found[1], labels=labels, is_rate=inner is not None)


def parse_queue(text: str) -> Queue:
    """Return the page and the metrics of a queue.

    Raises:
        ValueError: the text is not a page, a space and metrics joined with +.
    """
    page, _, terms = text.strip().partition(" ")
    found = _PAGE.fullmatch(page)
    if found is None:
        raise ValueError("not the page of a Service")
    port = found[3]
    if port.isdigit() and not 0 < int(port) <= 65535:
        raise ValueError("not a port")
    parts = _TERM.findall(terms)
    if not parts or "+".join(parts) != terms:
        raise ValueError("not metrics joined with +")
    if len(parts) > MAX_TERMS:
        raise ValueError("too many metrics")
    return Queue(
        service=found[1],
        port=port,
        path=found[5] or "/metrics",
        terms=tuple(parse_selector(part) for part in parts),
    )
