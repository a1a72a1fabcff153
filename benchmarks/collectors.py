# SPDX-License-Identifier: Apache-2.0
"""What each of the exporter's collectors costs on 8 GPUs: NVML calls, series, CPU.

CPU includes the simulated driver's Python, so it is an upper bound; the numbers of calls and series
are those of a real board of the same kind.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from benchmarks.collectorstable import ALL, BASE, CURVE, CollectorCost
from benchmarks.curvefiles import write_rows
from benchmarks.report import Figure, publish
from exporter.attribution.attribute import Holdings, attribute
from exporter.exposition.pages import Exposition
from exporter.model import Collector
from exporter.nvml import Nvml
from simulator.exporter import busy_driver
from simulator.nvml import extended
from simulator.nvml.binding import bind

if TYPE_CHECKING:
    from exporter.model import Readings

GPUS = 8
CYCLES = 100
ROUNDS = 4
MODEL = "H100"
REGISTRATION_SECONDS = 1.0
UNITS = {
    "NVML calls per GPU and cycle": "calls",
    "series per GPU": "series",
    f"CPU of reading {GPUS} GPUs": "ms",
    f"CPU of rendering {GPUS} GPUs": "ms",
}


def main() -> None:
    """Measure and publish."""
    sets = {
        BASE: frozenset[Collector](),
        **{collector.value: frozenset({collector}) for collector in Collector},
        ALL: frozenset(Collector),
    }
    # Others on the machine only ever add to what a round takes, and not to all sets alike.
    rounds = [
        {name: _measure(collectors) for name, collectors in sets.items()} for _ in range(ROUNDS)
    ]
    figures: list[Figure] = []
    costs_of_all: list[CollectorCost] = []
    base = _least(rounds, BASE)
    for name in sets:
        costs = _least(rounds, name)
        if name not in (BASE, ALL):
            costs = {what: value - base[what] for what, value in costs.items()}
        figures += _figures(name, costs)
        calls, series, reading, rendering = costs.values()
        costs_of_all.append(
            CollectorCost(
                collector=name,
                calls_per_gpu=calls,
                series_per_gpu=series,
                reading_milliseconds=reading,
                rendering_milliseconds=rendering,
            )
        )
    publish("collectors", figures)
    write_rows(CURVE, costs_of_all)


def _least(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, float]:
    """Return what a set took in its best round; calls and series are those of the last one."""
    return {
        what: min(one[name][what] for one in rounds) if unit == "ms" else rounds[-1][name][what]
        for what, unit in UNITS.items()
    }


def _figures(name: str, costs: dict[str, float]) -> list[Figure]:
    return [
        Figure(bar=f"{name}: {what}", value=value, unit=UNITS[what], limit=None)
        for what, value in costs.items()
    ]


def _measure(collectors: frozenset[Collector]) -> dict[str, float]:
    # Waiting costs no CPU and would only make this run long.
    extended.PCIE_THROUGHPUT_SECONDS = 0.0
    now_seconds = time.time()

    def read_a_second_later() -> Readings:
        nonlocal now_seconds
        now_seconds += 1.0
        return nvml.read()

    with busy_driver(MODEL, GPUS) as driver:
        driver.clock = lambda: now_seconds
        binding: Any = bind(driver)
        calls: Counter[str] = Counter()
        _count_calls(binding, calls)
        nvml = Nvml(binding, window_seconds=10, collectors=collectors, on_error=lambda _error: None)
        nvml.open()
        nvml.run(nvml.read)
        if Collector.XID in collectors:
            time.sleep(REGISTRATION_SECONDS)
        calls.clear()
        begin = time.process_time()
        readings = nvml.run(lambda: [read_a_second_later() for _ in range(CYCLES)])[-1]
        read_seconds = time.process_time() - begin
        asked = sum(count for name, count in calls.items() if name != "nvmlEventSetWait_v2")
        snapshot = attribute(readings, Holdings())
        begin = time.process_time()
        for _ in range(CYCLES):
            body = Exposition(node_name="node", self_metrics=()).render(snapshot).body
        render_seconds = time.process_time() - begin
        nvml.close()
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    costs = (
        asked / CYCLES / GPUS,
        series / GPUS,
        read_seconds / CYCLES * 1000,
        render_seconds / CYCLES * 1000,
    )
    return dict(zip(UNITS, costs, strict=True))


def _count_calls(binding: Any, calls: Counter[str]) -> None:
    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return function(*arguments)

        return call

    for name, function in list(vars(binding).items()):
        if name.startswith("nvml") and inspect.isfunction(function):
            setattr(binding, name, counted(name, function))


if __name__ == "__main__":
    main()
