# SPDX-License-Identifier: Apache-2.0
"""What a signal has the exporter log for whoever looks for its mistake: its state, on one line."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exporter.health import Health

log = logging.getLogger(__name__)

_PREFIX: Final = "nvidia_gpu_exporter_"
_MOST_TASKS: Final = 50


def log_state(health: Health) -> None:
    """Log the exporter's own gauges, why it is not ready, and where each task waits."""
    gauges = {
        sample.name.removeprefix(_PREFIX): sample.value
        for metric in health.collect()
        if metric.type == "gauge"
        for sample in metric.samples
    }
    tasks = itertools.islice(asyncio.all_tasks(), _MOST_TASKS)
    log.info(
        "State",
        extra={
            "error": health.unready_reason() or "",
            **gauges,
            "tasks": "; ".join(sorted(map(_place, tasks))),
        },
    )


def _place(task: asyncio.Task[object]) -> str:
    frames = task.get_stack(limit=1)
    name = getattr(task.get_coro(), "__qualname__", task.get_name())
    if not frames:
        return str(name)
    return f"{name} at {frames[0].f_code.co_filename}:{frames[0].f_lineno}"
