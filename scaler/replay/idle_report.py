# SPDX-License-Identifier: Apache-2.0
"""Pure: the tables of `gpu-scaler idle`, and the sentences around them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from scaler.budgets import shown
from scaler.quantities import format_duration, format_share
from scaler.replay.idle import LATE_STEPS
from toolkit.cli.table import table_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scaler.replay.idle_model import FreeGpu, IdleReport, IdleRow

UNKNOWN: Final = "<unknown>"
ROWS: Final = 20
"""Rows of each table; `wide` has all."""
UNKNOWN_SHARE: Final = 0.02
"""A smaller part of the time without readings is not worth a sentence."""
LATE_SHARE: Final = 0.05
"""How much of the time may be before the first reading without a sentence."""
GAPS_SHARE: Final = 0.3
"""So much time without readings means steps that are shorter than the scrape interval."""


def idle_text(
    report: IdleReport, *, with_cost: bool, is_wide: bool = False, notes: Sequence[str] = ()
) -> str:
    """Return the tables: workloads (or pods if wide), pods that never used a GPU, free GPUs."""
    parts = ["".join(f"{line}\n" for line in (*_summary(report), *notes))]
    rows = report.pods if is_wide else report.workloads
    if rows:
        parts.append(_limited(_held_table(report, rows, with_cost, is_wide), is_wide=is_wide))
    unused = [one for one in report.pods if one.never_used]
    if unused:
        table = _unused_table(unused, with_cost)
        parts.append("Pods that never used their GPUs:\n" + _limited(table, is_wide=is_wide))
    free = [one for one in report.free if one.free_since_unix_seconds is not None]
    if free:
        table = _free_table(free, with_cost)
        parts.append("GPUs that no pod holds now:\n" + _limited(table, is_wide=is_wide))
    return "\n".join(parts)


def _summary(report: IdleReport) -> list[str]:
    ended = report.begun_unix_seconds + len(report.held) * report.step_seconds
    gpus = "1 GPU" if report.gpus == 1 else f"{report.gpus} GPUs"
    first = (
        f"{gpus} from {_time(report.begun_unix_seconds)} to {_time(ended)} UTC, in"
        f" steps of {format_duration(report.step_seconds)}"
    )
    held = report.total.held_hours if report.total is not None else 0.0
    lines = [f"{first}."]
    if report.total is not None and held > 0:
        lines.append(
            f"Pods held GPUs for {held:.1f} GPU-hours; for"
            f" {format_share(report.total.idle_hours / held)} of them the duty cycle was 0, for"
            f" {format_share(report.total.under_threshold_hours / held)} under"
            f" {report.threshold_percent:g} %."
        )
    free_hours = sum(one.free_hours for one in report.free)
    if free_hours > 0:
        share = format_share(free_hours / report.known_hours)
        lines.append(f"No pod held GPUs for {free_hours:.1f} GPU-hours, {share} of the time.")
    return [*lines, *_late(report, ended), *_ended(report, ended), *_gaps(report)]


def _late(report: IdleReport, ended_unix_seconds: float) -> list[str]:
    """Return a sentence if readings begin much later than the time."""
    first, begun = report.first_unix_seconds, report.begun_unix_seconds
    least_seconds = max(LATE_SHARE * (ended_unix_seconds - begun), LATE_STEPS * report.step_seconds)
    if first is None or first - begun <= least_seconds:
        return []
    return [
        f"The first reading is of {_time(first)}: Prometheus keeps nothing older, or scraped no GPU"
        " before."
    ]


def _ended(report: IdleReport, ended_unix_seconds: float) -> list[str]:
    """Return a sentence if readings end so early that nothing is known of now."""
    last = report.last_unix_seconds
    if last is None or ended_unix_seconds - last <= LATE_STEPS * report.step_seconds:
        return []
    return [
        f"The last reading is of {_time(last)}: the GPU exporters run no longer, or are not scraped"
        " any more."
    ]


def _gaps(report: IdleReport) -> list[str]:
    whole = report.known_hours + report.unknown_hours
    share = report.unknown_hours / whole if whole else 0.0
    if share < UNKNOWN_SHARE:
        return []
    line = (
        f"{format_share(share)} of the time has no readings, and counts as neither idle nor used."
    )
    if share >= GAPS_SHARE:
        line += " If Prometheus scrapes less often than every step, pass a longer --step."
    return [line]


def _held_table(
    report: IdleReport, rows: Iterable[IdleRow], with_cost: bool, is_wide: bool
) -> list[tuple[str, ...]]:
    under = f"<{report.threshold_percent:g} %"
    first = ("NAMESPACE", "WORKLOAD", "POD" if is_wide else "PODS", "GPUS", "GPU HOURS")
    header = (*first, "IDLE HOURS", "IDLE", under, "LONGEST IDLE", *("COST",) * with_cost)
    table: list[tuple[str, ...]] = [(*header, "UNKNOWN HOURS", "MODEL") if is_wide else header]
    for row in (*rows, *(() if report.total is None or is_wide else (report.total,))):
        is_total = row is report.total
        cells = (
            row.namespace or "TOTAL",
            "" if is_total else _workload(row),
            row.pod or str(row.pods),
            f"{row.average_gpus:.2f}".rstrip("0").rstrip("."),
            f"{row.held_hours:.1f}",
            f"{row.idle_hours:.1f}",
            format_share(row.idle_hours / row.held_hours),
            format_share(row.under_threshold_hours / row.held_hours),
            format_duration(row.longest_idle_seconds),
            *(_cost(row.idle_cost),) * with_cost,
        )
        more = (f"{row.unknown_hours:.1f}", ", ".join(row.models) or UNKNOWN)
        table.append((*cells, *more) if is_wide else cells)
    return table


def _unused_table(rows: Iterable[IdleRow], with_cost: bool) -> list[tuple[str, ...]]:
    header = ("NAMESPACE", "POD", "WORKLOAD", "GPUS", "GPU HOURS", "LAST SEEN")
    return [
        (*header, *("COST",) * with_cost),
        *(
            (
                row.namespace,
                row.pod or "",
                _workload(row),
                f"{row.average_gpus:.2f}".rstrip("0").rstrip("."),
                f"{row.held_hours:.1f}",
                _time(row.last_seen_unix_seconds),
                *(_cost(row.idle_cost),) * with_cost,
            )
            for row in rows
        ),
    ]


def _free_table(gpus: Iterable[FreeGpu], with_cost: bool) -> list[tuple[str, ...]]:
    header = ("NODE", "GPU", "MODEL", "FREE HOURS", "FREE SINCE")
    return [
        (*header, *("COST",) * with_cost),
        *(
            (
                gpu.node or UNKNOWN,
                gpu.gpu,
                gpu.model or UNKNOWN,
                f"{gpu.free_hours:.1f}",
                _time(gpu.free_since_unix_seconds or 0.0),
                *(_cost(gpu.free_cost),) * with_cost,
            )
            for gpu in gpus
        ),
    ]


def _limited(table: Sequence[tuple[str, ...]], *, is_wide: bool) -> str:
    """Return the table with as many rows as fit a screen; the total is its last row."""
    # Labels in Prometheus may hold anything, also control characters.
    table = [tuple(shown(cell) for cell in row) for row in table]
    left_out = len(table) - 1 - ROWS
    if is_wide or left_out <= 0:
        return table_text(table)
    last = [table[-1]] if table[-1][0] == "TOTAL" else []
    first = [*table[: 1 + ROWS - len(last)], *last]
    return table_text(first) + f"{len(table) - len(first)} more with -o wide\n"


def _workload(row: IdleRow) -> str:
    return UNKNOWN if row.workload is None else row.workload.qualified_name


def _cost(cost: float | None) -> str:
    return UNKNOWN if cost is None else f"{cost:.2f}"


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M")
