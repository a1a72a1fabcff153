# SPDX-License-Identifier: Apache-2.0
"""What each of the exporter's collectors costs, as a row of a file: what its benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CURVE: Final = Path("benchmarks/curves/collectors.csv")
BASE, ALL = "base set", "all together"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorCost:
    """One collector beside the base set, the base set, or all; per cycle, of all GPUs but calls."""

    collector: str
    calls_per_gpu: float
    series_per_gpu: float
    reading_milliseconds: float
    rendering_milliseconds: float
