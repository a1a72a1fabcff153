# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus with a past that a test writes."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.cluster import tools
from tests.cluster.chain.prometheus import serving_prometheus
from tests.cluster.processes import Processes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.cluster.chain.prometheus import Prometheus


@asynccontextmanager
async def recorded_prometheus(
    folder: Path, families: Mapping[str, Mapping[str, Iterable[tuple[float, float]]]]
) -> AsyncIterator[Prometheus]:
    """Run Prometheus with these gauges: by name and labels as text, Unix seconds and values."""
    lines = []
    for name, series in families.items():
        lines.append(f"# TYPE {name} gauge\n")
        for labels, points in series.items():
            lines += [f"{name}{{{labels}}} {value} {time:.3f}\n" for time, value in points]
    text = folder / "past.txt"
    text.write_text("".join((*lines, "# EOF\n")))
    program = tools.find("promtool")
    assert program is not None
    arguments = ["tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
    making = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, output = await making.communicate()
    assert making.returncode == 0, output.decode()
    with Processes(folder) as processes:
        async with serving_prometheus(processes, folder, {"scrape_configs": []}) as prometheus:
            yield prometheus


def scraped(
    now: float,
    value: float,
    begin: float = 0,
    end: float | None = None,
    *,
    hours: float,
    scrape_seconds: float,
) -> Iterator[tuple[float, float]]:
    """Yield the samples of scrapes between two hours of the `hours` that end now."""
    first = now - hours * 3600
    last = hours if end is None else end
    for number in range(int(begin * 3600 / scrape_seconds), int(last * 3600 / scrape_seconds)):
        yield first + number * scrape_seconds, value
