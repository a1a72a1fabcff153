# SPDX-License-Identifier: Apache-2.0
"""Pure: simulations as the documents of `gpu-scaler simulate -o json` and `-o csv`."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from scaler.replay.model import AS_IT_WAS, HPA, OURS
from scaler.replay.prices import NO_PRICES
from scaler.replay.recommendation import saved_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scaler.model import MetricTarget
    from scaler.replay.model import Recording, ReplayResult
    from scaler.replay.prices import Prices
    from scaler.replay.recommendation import RecommendedTarget

POLICY_NAMES: Final[Mapping[str, str]] = {AS_IT_WAS: "as-it-was", OURS: "gpu-scaler", HPA: "hpa"}
"""The names of the documents by those for people."""
_HOUR_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A recording and what each policy would have done with it, in the order of the table.

    `results` begin with `AS_IT_WAS`; for each target of the recording's first metric follow `OURS`
    and `HPA`. `other_targets` are those of its further metrics, the same in all results.
    """

    recording: Recording
    results: tuple[ReplayResult, ...]
    other_targets: tuple[MetricTarget, ...] = ()
    recommendation: RecommendedTarget | None = None


class ResultDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One row; `cost` is in the currency of the prices, None without a price.

    Hours, counts and cost are None if no step has a known value.
    """

    policy: str
    target_milli: int | None
    simulated_seconds: float
    gpu_hours: float | None
    average_replicas: float | None
    highest_replicas: int | None
    saturated_ratio: float | None
    saved_gpu_hours_ratio: float | None
    changes: int
    changes_per_day: float | None
    cost: float | None


def simulations_json(simulations: Iterable[Simulation], prices: Prices = NO_PRICES) -> str:
    """Return the document of `-o json`: all figures, unrounded."""
    documents = [_document(one, prices) for one in simulations]
    document = msgspec.json.encode({"simulations": documents})
    return msgspec.json.format(document, indent=2).decode() + "\n"


def simulations_csv(simulations: Iterable[Simulation], prices: Prices = NO_PRICES) -> str:
    """Return one row per workload, policy and target; an unknown value is an empty cell."""
    table = io.StringIO()
    names = ResultDocument.__struct_fields__
    first = ("kind", "namespace", "name", "metric", "other_metrics", "floor_ratio")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow((*first, *names, "recommended"))
    for one in simulations:
        recording = one.recording
        metric, *others = (recorded.metric.value for recorded in recording.metrics)
        target_milli = None if one.recommendation is None else one.recommendation.target_milli
        for result, shown in zip(one.results, result_documents(one, prices), strict=True):
            is_recommended = (
                result.policy == OURS
                and target_milli is not None
                and result.target_milli == target_milli
            )
            writer.writerow(
                (
                    *(recording.ref.resource, recording.ref.namespace, recording.ref.name),
                    *(metric, ";".join(others), recording.floor_share()),
                    *(getattr(shown, name) for name in names),
                    str(is_recommended).lower(),
                )
            )
    return table.getvalue()


def result_documents(
    simulation: Simulation, prices: Prices = NO_PRICES
) -> tuple[ResultDocument, ...]:
    """Return the figures of each result, in the order of the table."""
    recording = simulation.recording
    price = prices.per_gpu_hour(recording.gpu_model)
    was = next((one for one in simulation.results if one.policy == AS_IT_WAS), None)
    return tuple(_result(one, recording.gpus_per_replica, price, was) for one in simulation.results)


def _document(simulation: Simulation, prices: Prices) -> dict[str, Any]:
    """One workload. `kind` is like `deployments.apps`; ratios are from 0 to 1.

    `metric` is the one whose targets are compared; the others have the same target in all results.
    """
    recording = simulation.recording
    ref, others = recording.ref, recording.metrics[1:]
    return {
        "kind": ref.resource,
        "namespace": ref.namespace,
        "name": ref.name,
        "metric": recording.metric,
        "other_metrics": [
            {
                "metric": one.metric,
                "target_milli": one.average_value_milli,
                "known_ratio": recorded.known_share,
            }
            for one, recorded in zip(simulation.other_targets, others, strict=True)
        ],
        "begun_unix_seconds": recording.begun_unix_seconds,
        "recorded_seconds": recording.seconds,
        "step_seconds": recording.step_seconds,
        "floor_ratio": recording.floor_share(),
        "known_ratio": recording.known_share(),
        "gpus_per_replica": recording.gpus_per_replica,
        "gpu_model": recording.gpu_model,
        "price_per_gpu_hour": prices.per_gpu_hour(recording.gpu_model),
        "start_seconds": recording.start_seconds,
        "notes": recording.notes,
        "results": result_documents(simulation, prices),
        "recommendation": simulation.recommendation,
    }


def _result(
    result: ReplayResult, gpus_per_replica: int, price: float | None, was: ReplayResult | None
) -> ResultDocument:
    hours = result.seconds / _HOUR_SECONDS
    gpus = hours * gpus_per_replica
    return ResultDocument(
        policy=POLICY_NAMES[result.policy],
        target_milli=result.target_milli,
        simulated_seconds=result.seconds,
        gpu_hours=result.gpu_hours if result.seconds else None,
        average_replicas=result.gpu_hours / gpus if gpus else None,
        highest_replicas=result.highest_replicas if result.seconds else None,
        saturated_ratio=result.saturated_share,
        saved_gpu_hours_ratio=None if was is None or result is was else saved_share(result, was),
        changes=result.changes,
        changes_per_day=result.changes / (result.seconds / _DAY_SECONDS)
        if result.seconds
        else None,
        cost=None if price is None or not result.seconds else price * result.gpu_hours,
    )
