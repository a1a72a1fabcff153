# SPDX-License-Identifier: Apache-2.0
"""Single figures of benchmarks on the pages, from the rows that these wrote."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.curvefiles import read_rows
from benchmarks.report import CitedFigure, cited_file
from benchmarks.requestways import Way
from tests.pages.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STEP: Final = "load step to patched replicas"
HPAS: Final = "500 HPAs every 15 s"
CITED: Final[Mapping[str, tuple[str, str, str]]] = {
    "step": ("step", f"{STEP}, all defaults", "median"),
    "step-p90": ("step", f"{STEP}, all defaults", "p90"),
    "step-tuned": ("step", f"{STEP}, 1 s sampling", "median"),
    "latency": ("latency", "our scaler from exporters, defaults", "median"),
    "latency-prometheus": ("latency", "our scaler from Prometheus, defaults", "median"),
    "latency-chain": ("latency", "Prometheus + adapter + HPA, defaults", "median"),
    "latency-tuned": ("latency", "our scaler from exporters, tuned", "median"),
    "latency-chain-tuned": ("latency", "Prometheus + adapter + HPA, tuned", "median"),
    **{
        f"requests-{way.name.lower().replace('_', '-')}": ("requestlatency", way, "median")
        for way in Way
    },
    "hpa-requests": ("metricsapi", HPAS, "requests"),
    "hpa-median": ("metricsapi", HPAS, "median"),
    "hpa-p90": ("metricsapi", HPAS, "p90"),
    "hpa-p99": ("metricsapi", HPAS, "p99"),
    "hpa-cpu": ("metricsapi", HPAS, "CPU of the scaler"),
    "hpa-memory": ("metricsapi", HPAS, "RSS of the scaler after"),
}
"""By the part's name: the benchmark, and how a bar begins and ends; between may be its steps."""


def _value(benchmark: str, begin: str, end: str) -> str:
    rows = read_rows(ROOT / cited_file(benchmark), CitedFigure)
    [found] = (one for one in rows if one.bar.startswith(begin) and one.bar.endswith(end))
    return f"{found.value:.3g}"


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    name: partial(_value, *where) for name, where in CITED.items()
}
