# SPDX-License-Identifier: Apache-2.0
"""Pure: what a value of each annotation looks like, as expressions in CEL over `v`.

The API server cannot read PromQL, metrics or YAML, so these are looser than the scaler's own
parser: everything that the parser accepts satisfies them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from scaler.model import Metric, ScaleDownPods
from scaler.policy import annotations as names
from scaler.policy.parse import MAX_TARGETS, PERCENT_METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INT32: Final = 2**31 - 1
BOOLEAN: Final = 'v in ["true", "false"]'
# As many digits of each unit as Go's 64 bits of nanoseconds hold; an hour needs fewer.
_DIGITS: Final = {"h": 4, "m": 6, "s": 8, "ms": 11, "us": 13, "µs": 13, "μs": 13, "ns": 16}


def _whole_number(lowest: int, highest: int) -> str:
    sign = "-?" if lowest < 0 else ""
    return (
        f"size(v) <= 65 && v.matches(r'^{sign}0*[0-9]{{1,10}}$')"
        f" && int(v) >= {lowest} && int(v) <= {highest}"
    )


def _quantity(comparison: str) -> str:
    return f"isQuantity(v) && quantity(v).compareTo(quantity('0')) {comparison}"


def _at_most(highest: int) -> str:
    return f" && quantity(v).compareTo(quantity('{highest}')) <= 0"


def _target(metric: Metric) -> str:
    if metric in PERCENT_METRICS:
        return f"{_quantity('> 0')} && quantity(v).isLessThan(quantity('100'))"
    return _quantity("> 0") + _at_most(int(MAX_TARGETS[metric]))


def _duration() -> str:
    parts = "|".join(
        rf"(0*[0-9]{{1,{digits}}}(\.[0-9]*)?|\.[0-9]+){unit}" for unit, digits in _DIGITS.items()
    )
    return f"v.matches(r'^(0|({parts})+)$') && duration(v) <= duration('1h')"


def _one_of(*values: str) -> str:
    return f"v in {json.dumps(values)}"


_PORT: Final = (
    "v.matches(r'^[0-9]{1,5}$') ? int(v) >= 1 && int(v) <= 65535"
    " : v.matches(r'^[a-z0-9](-?[a-z0-9]){0,14}$') && v.matches('[a-z]')"
)
_PERCENTAGE: Final = (
    r"v.matches(r'^[0-9]{1,3}(\.[0-9]{1,3})?%$') && "
    + _quantity("> 0").replace("(v)", "(v.replace('%', ''))")
    + _at_most(100).replace("(v)", "(v.replace('%', ''))")
)
_QUEUE: Final = (
    "size(v) <= 1024 && v.matches(r'http://[a-z][a-z0-9-]*:[a-z0-9-]+(/[A-Za-z0-9._~/-]*)? ')"
)

FORMS: Final[Mapping[str, str]] = {
    names.ENABLED: BOOLEAN,
    names.MIN_REPLICAS: _whole_number(0, MAX_INT32),
    names.MAX_REPLICAS: _whole_number(1, MAX_INT32),
    names.PRIORITY: _whole_number(-(10**9), 10**9),
    names.SCHEDULE: "size(v) <= 4096",
    **{name: _target(metric) for metric, name in names.TARGET_ANNOTATIONS.items()},
    names.QUERY: r"size(v) <= 8192 && v.matches(r'\S')",
    names.POD_METRIC: "size(v) <= 512 && v.matches('[a-zA-Z_:]')",
    names.SERVER: _one_of("auto", *names.SERVER_NAMES),
    names.METRICS_PORT: _PORT,
    names.METRICS_PATH: "v.matches(r'^/[A-Za-z0-9._~/-]{0,255}$')",
    names.METRICS_SCHEME: _one_of("http", "https"),
    names.QUEUE: _QUEUE,
    names.ACTIVATION_THRESHOLD: _quantity(">= 0") + _at_most(int(MAX_TARGETS[Metric.QUERY])),
    names.COOLDOWN: _duration(),
    names.WINDOW: _duration(),
    names.BEHAVIOR: "size(v) <= 4096",
    names.READY_AGE: _duration(),
    names.SCALE_DOWN_PODS: _one_of(*ScaleDownPods),
    names.SCALE_DOWN_MAX_BUSY: _PERCENTAGE,
    names.SCALE_DOWN_PATIENCE: _duration(),
    names.DRY_RUN: BOOLEAN,
    names.PAUSED: BOOLEAN,
}
"""By the annotation; whoever adds an annotation adds a row."""
