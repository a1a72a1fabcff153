# SPDX-License-Identifier: Apache-2.0
"""How benchmarks report: a table for people and `build/bench/NAME.json` for comparison."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from benchmarks.curvefiles import write_rows

DIRECTORY = Path("build/bench")
PACKAGES = ("aiohttp", "h2", "kubernetes", "nvidia-ml-py", "prometheus-client", "protobuf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure and the bar it is held against; `limit` is None where there is none."""

    bar: str
    value: float
    unit: str
    limit: float | None
    better: Literal["lower", "higher"] = "lower"

    def verdict(self) -> str:
        """Return `ok`, `MISSED`, or nothing where there is no limit."""
        if self.limit is None:
            return ""
        met = self.value <= self.limit if self.better == "lower" else self.value >= self.limit
        return "ok" if met else "MISSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedFigure:
    """A figure that pages may take, as a row of a file."""

    bar: str
    value: float
    unit: str = ""


def cited_file(name: str) -> Path:
    """Return the file with the figures of a benchmark that pages cite."""
    return Path(f"benchmarks/curves/{name}.csv")


def publish(name: str, figures: list[Figure], *, is_cited: bool = False) -> None:
    """Print `figures` as a table and write them with the machine and the versions.

    With `is_cited` they are also written for the pages.
    """
    width = max(len(figure.bar) for figure in figures)
    print(f"\n{name}\n{'what':<{width}}  {'measured':>14}  {'bar':>10}")
    for figure in figures:
        sign = "<=" if figure.better == "lower" else ">="
        limit = "" if figure.limit is None else f"{sign} {figure.limit:g}"
        measured = f"{figure.value:.3g} {figure.unit}"
        print(f"{figure.bar:<{width}}  {measured:>14}  {limit:>10}  {figure.verdict()}")
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    document = [asdict(figure) for figure in figures]
    path = DIRECTORY / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    (DIRECTORY / f"{name}.machine.json").write_text(json.dumps(_machine(), indent=2) + "\n")
    print(f"written to {path}")
    if is_cited:
        rows = [CitedFigure(bar=one.bar, value=one.value, unit=one.unit) for one in figures]
        write_rows(cited_file(name), rows)


def percentile(values: list[float], percent: float) -> float:
    """Return the nearest-rank percentile of `values`."""
    ordered = sorted(values)
    rank = max(0, min(len(ordered) - 1, round(percent / 100 * len(ordered) + 0.5) - 1))
    return ordered[rank]


def _machine() -> dict[str, object]:
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
    }
