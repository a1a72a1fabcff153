# SPDX-License-Identifier: Apache-2.0
"""Pure: which metrics an expression reads, and which of the exporter's collectors give them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from exporter.exposition.table import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import Collector

_NAME: Final = re.compile(r"(?<![\w:])(?:nvidia_gpu|gpu_scaler|process)_\w+(?![\w:])")
_COLLECTORS: Final = {one.name: one.collector for one in FAMILIES if one.collector}


def metric_names(expression: str) -> frozenset[str]:
    """Return the metrics that a PromQL expression reads, recorded ones (`a:b:c`) left out."""
    return frozenset(_NAME.findall(expression))


def collectors(expressions: Iterable[str]) -> list[Collector]:
    """Return the collectors that must be on for all of the expressions, by name."""
    names = {name for expression in expressions for name in metric_names(expression)}
    return sorted({_COLLECTORS[name] for name in names if name in _COLLECTORS})
