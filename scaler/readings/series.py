# SPDX-License-Identifier: Apache-2.0
"""Pure: the samples of a text exposition, in time linear in its length.

An exporter exposes the same series on every page, and only their values change. Parsing labels is
most of the work of reading a page, so each series' name and labels are parsed once.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scaler.budgets import LINE_CHARACTERS, PAGE_SAMPLES, OverBudgetError
from scaler.model import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Mapping

# As of https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format.
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(
    r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t]*(,|$)'
)
_ESCAPED: Final = re.compile(r'\\([\\n"])')
MODEL_CHARACTERS: Final = 96
"""The longest name that NVML gives a device."""
_MEANT: Final = {"\\": "\\", "n": "\n", '"': '"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series: the metric's name, the pod if one uses the GPU, and the GPU.

    `shared` is True if several containers may use the GPU; `model` is the GPU's name, empty if the
    series has none.
    """

    name: str
    pod: ObjectRef | None
    uuid: str
    shared: bool = False
    model: str = ""


def read_samples(
    text: str, known: Mapping[str, Series]
) -> tuple[list[tuple[Series, float]], dict[str, Series]]:
    """Return the samples of `text` (format 0.0.4) in order, and its series by their text.

    `known` is the second part of an earlier result.

    Raises:
        OverBudgetError: the text has more samples, or a longer line, than a page may have.
        ValueError: a line is not a sample.
    """
    samples: list[tuple[Series, float]] = []
    seen: dict[str, Series] = {}
    for line in text.split("\n"):
        if not line or line.isspace() or line.lstrip().startswith("#"):
            continue
        if len(line) > LINE_CHARACTERS:
            raise OverBudgetError(f"a line has {len(line)} characters, more than {LINE_CHARACTERS}")
        if len(samples) == PAGE_SAMPLES:
            raise OverBudgetError(f"the page has more than {PAGE_SAMPLES} samples")
        # A label's value may contain braces; the value and the timestamp never do.
        end = line.rfind("}") + 1
        written, rest = (line[:end], line[end:].split()) if end else _without_labels(line)
        if len(rest) not in (1, 2) or "_" in rest[0]:
            raise ValueError(f"the line is not a sample: {line[:200]!r}")
        series = known.get(written) or _parse(written)
        seen[written] = series
        samples.append((series, float(rest[0])))
    return samples, seen


def _without_labels(line: str) -> tuple[str, list[str]]:
    name, *rest = line.split()
    return name, rest


def _parse(written: str) -> Series:
    name, brace, rest = written.strip().partition("{")
    name = name.rstrip()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:200]!r} is not a metric name")
    labels = parse_labels(rest[:-1]) if brace else {}
    pod = labels.get("pod_name")
    namespace = labels.get("namespace_name", "")
    return Series(
        name=name,
        pod=ObjectRef(namespace=namespace, name=pod) if pod else None,
        uuid=labels.get("uuid", ""),
        shared=labels.get("allocate_mode") == "share",
        # A cluster has few models and many series.
        model=sys.intern(labels.get("name", "")[:MODEL_CHARACTERS]),
    )


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels between the braces; a comma may follow the last one.

    Raises:
        ValueError: the text is not a list of labels, or has a name twice.
    """
    labels: dict[str, str] = {}
    text, at = text.rstrip(" \t"), 0
    while at < len(text):
        found = _LABEL.match(text, at)
        if found is None:
            raise ValueError(f"expected a label at {text[at : at + 200]!r}")
        name, value, _ = found.groups()
        if name in labels:
            raise ValueError(f"duplicate label {name[:200]!r}")
        labels[name] = _ESCAPED.sub(lambda one: _MEANT[one[1]], value) if "\\" in value else value
        at = found.end()
    return labels
