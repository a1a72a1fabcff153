# SPDX-License-Identifier: Apache-2.0
"""Pure: the report of `gpu-scaler idle` as JSON and CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

import msgspec

from scaler.replay.idle_model import FreeGpu  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.replay.idle_model import IdleReport, IdleRow


class HeldDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A pod, a workload or a namespace; hours are GPU-hours, None is unknown or more than one.

    `kind` is like `deployments.apps`. `average_gpus` is between the first and the last reading.
    """

    namespace: str
    kind: str | None
    workload: str | None
    pod: str | None
    pods: int
    models: tuple[str, ...]
    average_gpus: float
    held_hours: float
    idle_hours: float
    under_threshold_hours: float
    unknown_hours: float
    longest_idle_seconds: float
    never_used: bool
    last_seen_unix_seconds: float
    idle_cost: float | None


class IdleDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report; everything is sorted by waste."""

    begun_unix_seconds: float
    first_reading_unix_seconds: float | None
    last_reading_unix_seconds: float | None
    ended_unix_seconds: float
    step_seconds: float
    threshold_percent: float
    gpus: int
    known_hours: float
    unknown_hours: float
    notes: tuple[str, ...]
    models_without_price: tuple[str, ...]
    namespaces: tuple[HeldDocument, ...]
    workloads: tuple[HeldDocument, ...]
    pods: tuple[HeldDocument, ...]
    free_gpus: tuple[FreeGpu, ...]


_HELD: Final = tuple(
    name for name in HeldDocument.__struct_fields__ if name not in ("pods", "models")
)
_FREE: Final = ("node", "gpu", "model", "free_hours", "free_since_unix_seconds", "free_cost")


def idle_json(report: IdleReport, notes: Sequence[str] = ()) -> str:
    """Return the report as JSON."""
    steps = len(report.timeline.held)
    document = IdleDocument(
        begun_unix_seconds=report.begun_unix_seconds,
        first_reading_unix_seconds=report.first_unix_seconds,
        last_reading_unix_seconds=report.last_unix_seconds,
        ended_unix_seconds=report.begun_unix_seconds + steps * report.step_seconds,
        step_seconds=report.step_seconds,
        threshold_percent=report.threshold_percent,
        gpus=report.gpus,
        known_hours=report.known_hours,
        unknown_hours=report.unknown_hours,
        notes=tuple(notes),
        models_without_price=report.unpriced,
        namespaces=tuple(map(_held, report.namespaces)),
        workloads=tuple(map(_held, report.workloads)),
        pods=tuple(map(_held, report.pods)),
        free_gpus=report.free,
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def idle_csv(report: IdleReport) -> str:
    """Return a row per pod, then one per free GPU; an unknown value is an empty cell."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow((*_HELD, *_FREE))
    for row in map(_held, report.pods):
        cells = [getattr(row, name) for name in _HELD]
        writer.writerow((*cells, "", "", ";".join(row.models), "", "", ""))
    for gpu in report.free:
        writer.writerow((*("",) * len(_HELD), *(getattr(gpu, name) for name in _FREE)))
    return table.getvalue()


def _held(row: IdleRow) -> HeldDocument:
    return HeldDocument(
        namespace=row.namespace,
        kind=None if row.workload is None else row.workload.resource,
        workload=None if row.workload is None else row.workload.name,
        pod=row.pod,
        pods=row.pods,
        models=row.models,
        average_gpus=row.gpus,
        held_hours=row.held_hours,
        idle_hours=row.idle_hours,
        under_threshold_hours=row.under_hours,
        unknown_hours=row.unknown_hours,
        longest_idle_seconds=row.longest_idle_seconds,
        never_used=row.never_used,
        last_seen_unix_seconds=row.last_unix_seconds,
        idle_cost=row.idle_cost,
    )
