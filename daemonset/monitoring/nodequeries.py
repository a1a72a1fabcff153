# SPDX-License-Identifier: Apache-2.0
"""Pure: the expressions of the dashboard of one node."""

from __future__ import annotations

from typing import Final

from daemonset.monitoring.parts import CLUSTER

NODE: Final = f'{CLUSTER},node_name="$node"'
EXPORTER: Final = f'{CLUSTER},instance=~"$instance"'
GPU: Final = "minor_number, uuid"
LEGEND: Final = "GPU {{minor_number}} {{uuid}}"


def each_gpu(metric: str, *, matching: str = "", by: str = GPU) -> str:
    """Return the metric once for each GPU, however many containers share it."""
    return f"max by ({by}) ({metric}{{{NODE}{matching}}})"


def each_rate(metric: str, *, by: str = GPU) -> str:
    """Return a counter's rate once for each GPU."""
    return f"max by ({by}) (rate({metric}{{{NODE}}}[$__rate_interval]))"
