# SPDX-License-Identifier: Apache-2.0
"""Why a running scaler is not ready, or not alive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scaler.controller.loop_health import no_loop_begun_because, no_loop_ended_because

if TYPE_CHECKING:
    from scaler.app.parts import ScalerParts
    from scaler.cli.config import ScalerConfig

MAX_LOST_NAMED = 3


def not_ready_because(config: ScalerConfig, parts: ScalerParts) -> str | None:
    """Return why this replica has nothing to serve, None if it has."""
    now = time.monotonic()
    if not parts.state.is_fresh(now):
        lost = "; ".join(str(one) for one in parts.state.lost(now)[:MAX_LOST_NAMED])
        return f"the watches have lost contact with the Kubernetes API: {lost}"
    if parts.metrics_api is not None:
        problem = parts.metrics_api.not_ready_because()
        if problem is not None:
            return problem
    return no_loop_ended_because(
        now,
        leading_since_seconds=parts.controller.leading_since_seconds,
        last_loop_seconds=parts.controller.last_loop_seconds,
        interval_seconds=config.interval_seconds,
        read_seconds=_read_seconds(config),
    )


def not_alive_because(config: ScalerConfig, parts: ScalerParts) -> str | None:
    """Return why this replica needs a restart, None if it does not."""
    return no_loop_begun_because(
        time.monotonic(),
        last_tick_seconds=parts.controller.last_tick_seconds,
        interval_seconds=config.interval_seconds,
        read_seconds=_read_seconds(config),
    )


def _read_seconds(config: ScalerConfig) -> float:
    """Return the timeout for reading GPU values, in seconds."""
    if config.source == "prometheus" and config.prometheus is not None:
        return config.prometheus.timeout_seconds
    return config.scrape_timeout_seconds
