# SPDX-License-Identifier: Apache-2.0
"""Pure: the tables of `gpu-scaler simulate`, and the sentences around them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from scaler.quantities import format_duration, format_share, format_value
from scaler.replay.documents import POLICY_NAMES, result_documents
from scaler.replay.model import AS_IT_WAS
from scaler.replay.prices import NO_PRICES
from scaler.replay.recommendation import annotations_yaml
from toolkit.cli.table import table_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.model import Metric
    from scaler.replay.documents import ResultDocument, Simulation
    from scaler.replay.model import Recording
    from scaler.replay.prices import Prices

UNKNOWN: Final = "<unknown>"
_COLUMNS: Final = ("POLICY", "TARGET", "GPU HOURS", "SATURATED", "CHANGES/DAY", "HIGHEST")
_WIDE_COLUMNS: Final = ("AVERAGE", "SAVED", "CHANGES", "SIMULATED")
# Ours always knows its count; as it was may not.
_SAME_TIME: Final = 0.99


def simulations_text(
    simulations: Iterable[Simulation], prices: Prices = NO_PRICES, *, is_wide: bool = False
) -> str:
    """Return a table per workload, with what bounds it before and the recommendation after it."""
    return "\n".join(_text(one, prices, is_wide=is_wide) for one in simulations)


def _text(simulation: Simulation, prices: Prices, *, is_wide: bool) -> str:
    rows = result_rows(simulation, prices, is_wide=is_wide)
    text = f"{simulation.recording.ref.title}, {period_text(simulation.recording)}\n"
    text += "".join(f"  {sentence}\n" for sentence in caveats(simulation, prices))
    text += "\n" + table_text(rows)
    recommendation = simulation.recommendation
    if recommendation is None:
        return text
    doubt = "" if recommendation.doubt is None else f"{recommendation.doubt}\n"
    return f"{text}\n{recommendation.text}\n{doubt}{annotations_yaml(recommendation)}"


def period_text(recording: Recording) -> str:
    """Return from when to when was recorded, how finely, and which metrics."""
    begun = recording.begun_unix_seconds
    ended = begun + recording.seconds
    times = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (begun, ended)]
    metrics = " and ".join(one.metric for one in recording.metrics)
    return f"{metrics} from {times[0]} to {times[1]} UTC in steps of {recording.step_seconds:g}s"


def caveats(simulation: Simulation, prices: Prices = NO_PRICES) -> list[str]:
    """Return the sentences on what the figures can and cannot say, the floors first."""
    recording = simulation.recording
    floors = recording.floor_share()
    if floors is None:
        sentences = ["The demand is unknown for all of the time."]
    elif floors == 0:
        sentences = ["No sample is only a lower bound of the demand: no pod was saturated."]
    else:
        sentences = [
            f"{format_share(floors)} of the samples are only a lower bound of the demand, because a"
            " pod was saturated."
        ]
    known = recording.known_share()
    if 0 < known < 1:
        sentences.append(f"{format_share(1 - known)} of the time has no data and is ignored.")
    if not recording.saturates:
        sentences.append(
            "Saturated is the time with more demand than the target and its tolerance allow for"
            " the ready pods."
        )
    longest_seconds = max((one.seconds for one in simulation.results), default=0.0)
    was = next((one for one in simulation.results if one.policy == AS_IT_WAS), None)
    if was is not None and was.seconds < longest_seconds * _SAME_TIME:
        sentences.append(
            f"The pod count is known for {format_duration(was.seconds)} of"
            f" {format_duration(longest_seconds)}; GPU hours as it was are of that time only."
        )
    if prices.any_given and prices.per_gpu_hour(recording.gpu_model) is None:
        model = "an unknown GPU model" if recording.gpu_model is None else recording.gpu_model
        sentences.append(f"No cost: no --price matches {model}.")
    return [*sentences, *recording.notes]


def result_rows(
    simulation: Simulation, prices: Prices = NO_PRICES, *, is_wide: bool = False
) -> list[tuple[str, ...]]:
    """Return the header and one row of cells per result."""
    with_cost = prices.any_given
    rows = [_COLUMNS + ("COST",) * with_cost + _WIDE_COLUMNS * is_wide]
    metric = simulation.recording.metric
    for one in result_documents(simulation, prices):
        cells = _row(one, metric, with_cost=with_cost)
        rows.append((*cells, *_wide_cells(one)) if is_wide else cells)
    return rows


def _row(result: ResultDocument, metric: Metric, *, with_cost: bool) -> tuple[str, ...]:
    target = result.target_milli
    name = next(name for name, text in POLICY_NAMES.items() if text == result.policy)
    cells = (
        name,
        "-" if target is None else format_value(metric, target),
        UNKNOWN if result.gpu_hours is None else f"{result.gpu_hours:.1f}",
        UNKNOWN if result.saturated_ratio is None else format_share(result.saturated_ratio),
        UNKNOWN if result.changes_per_day is None else f"{result.changes_per_day:.1f}",
        UNKNOWN if result.highest_replicas is None else str(result.highest_replicas),
    )
    if not with_cost:
        return cells
    return (*cells, UNKNOWN if result.cost is None else f"{result.cost:.2f}")


def _wide_cells(result: ResultDocument) -> tuple[str, ...]:
    average, saved = result.average_replicas, result.saved_gpu_hours_ratio
    if result.policy == POLICY_NAMES[AS_IT_WAS]:
        saved_text = "-"
    elif saved is None:
        saved_text = UNKNOWN
    else:
        saved_text = format_share(saved) if saved >= 0 else f"-{format_share(-saved)}"
    return (
        UNKNOWN if average is None else f"{average:.2f}",
        saved_text,
        str(result.changes),
        format_duration(result.simulated_seconds),
    )
