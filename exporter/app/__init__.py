# SPDX-License-Identifier: Apache-2.0
"""The exporter put together: thread, tasks and HTTP server, for `__main__` and for embedding."""

from exporter.app.node_reading import (
    ONCE_INTERVAL_SECONDS,
    NodeMetrics,
    OnceResult,
    node_metrics,
    once,
)
from exporter.app.parts import NvmlRequiredError, RestartNeededError
from exporter.app.serving import RunningExporter, running

__all__ = [
    "ONCE_INTERVAL_SECONDS",
    "NodeMetrics",
    "NvmlRequiredError",
    "OnceResult",
    "RestartNeededError",
    "RunningExporter",
    "node_metrics",
    "once",
    "running",
]
