# SPDX-License-Identifier: Apache-2.0
"""Pure: families as text, byte for byte as prometheus-client writes them, but faster.

prometheus-client checks, sorts and escapes every label of every series. Here the labels of a device
become text once and serve all of its series. The lines of series are the same in both formats.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.metrics_core import Metric

# What the text format 0.0.4 makes of types that only OpenMetrics has names for.
_SUFFIXES: Final = {"counter": "_total", "info": "_info"}
_TEXT_TYPES: Final = {"info": "gauge"}
# The exporter's own metrics are rendered at each scrape, with the same headers and labels.
_KEPT_TEXTS: Final = 512
# As Go writes numbers, and so Prometheus.
_number_text: Final[Callable[[float], str]] = floatToGoString


class Labels(dict[str, str]):
    """Labels in their final order, and the same as text."""

    __slots__ = ("text",)

    text: str

    def __init__(self, labels: Mapping[str, str], text: str | None = None) -> None:
        super().__init__(labels)
        self.text = _text_of(labels.items()) if text is None else text

    def followed_by(self, more: Labels) -> Labels:
        """Return these labels with more at their end."""
        if not more:
            return self
        return Labels({**self, **more}, f"{self.text},{more.text}")


def render(metrics: Iterable[Metric], *, openmetrics: bool) -> bytes:
    """Render gauges, counters, histograms and info families.

    Timestamps, exemplars and `_created` are not written.

    The caller adds OpenMetrics' closing line after the last family.
    """
    parts: list[str] = []
    for metric in metrics:
        parts.append(
            header(metric.name, metric.type, metric.documentation, openmetrics=openmetrics)
        )
        for sample in metric.samples:
            labels = sample.labels
            text = labels.text if isinstance(labels, Labels) else _sorted_text(*labels.items())
            parts.append(_line(sample.name, text, sample.value))
    return "".join(parts).encode()


@lru_cache(maxsize=_KEPT_TEXTS)
def header(name: str, kind: str, documentation: str, *, openmetrics: bool) -> str:
    """Return the lines before a family's series; `name` is without the suffix of its type."""
    text = documentation.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
    else:
        name += _SUFFIXES.get(kind, "")
        kind = _TEXT_TYPES.get(kind, kind)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def lines(name: str, series: Iterable[tuple[Labels, Labels, float]]) -> str:
    """Return the lines of series of one name: labels, further labels, value."""
    return "".join(
        _line(name, f"{labels.text},{own.text}" if own.text else labels.text, value)
        for labels, own, value in series
    )


def _line(name: str, labels: str, value: float) -> str:
    braced = f"{{{labels}}}" if labels else ""
    return f"{name}{braced} {_number_text(value)}\n"


@lru_cache(maxsize=_KEPT_TEXTS)
def _sorted_text(*labels: tuple[str, str]) -> str:
    return _text_of(sorted(labels))


def _text_of(labels: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
