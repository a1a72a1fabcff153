# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench-policy` on docs/scaler.md; they are simulated again, in 2 s."""

from __future__ import annotations

from typing import Final

from benchmarks.policy import compare
from benchmarks.traces import day, ramp, spike, step
from tests.pages.markdown import table

TARGET_PERCENT: Final = 80
HEADS: Final = (
    *("load", "requests that found all pods saturated: HPA", "scaler"),
    *("GPU hours: HPA", "scaler", "changes: HPA", "scaler"),
)


def saturation_growth() -> str:
    """The HPA's arithmetic beside ours at its default interval, at one target."""
    rows = []
    for trace in (step(), ramp(), spike(), day()):
        compared = compare(trace, TARGET_PERCENT)
        hpa, ours = compared.hpa, compared.default
        rows.append(
            (
                trace.name,
                *(f"{run.saturated_requests:.0f}" for run in (hpa, ours)),
                *(f"{run.gpu_hours:.2f}" for run in (hpa, ours)),
                *(str(run.changes) for run in (hpa, ours)),
            )
        )
    return table(HEADS, rows)
