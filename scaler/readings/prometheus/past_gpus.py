# SPDX-License-Identifier: Apache-2.0
"""Pure: the highest duty cycle of each GPU in each step of the past, and who held it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.readings.devices import DUTY_CYCLE, out_of_bounds
from scaler.readings.gpus import DutySeries
from scaler.readings.prometheus.gpu_queries import by_gpu, holder_of
from scaler.readings.prometheus.past_pods import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.range_chunks import PastRow


def highest_duty_query(
    names: MetricNames, *, step_seconds: float, matchers: Sequence[str] = ()
) -> str:
    """Return the query for the highest sample of each step, by GPU and pod.

    A step without samples has no point: nothing from before it fills it.
    """
    (series,) = names.families[DUTY_CYCLE].series
    selector = f"{series}{{{', '.join(matchers)}}}[{step_seconds:g}s]"
    return f"max {by_gpu(names, DUTY_CYCLE, with_model=True)} (max_over_time({selector}))"


def duty_series(rows: Iterable[PastRow], names: MetricNames) -> Iterator[DutySeries]:
    """Yield the rows of the answer to a `highest_duty_query` that name a GPU.

    Values outside of the bounds of a duty cycle are left out.
    """
    for row in rows:
        holder = holder_of(row.labels, names)
        if not holder.uuid:
            continue
        values = ((time, number(text)) for time, text in row.points)
        points = [pair for pair in values if out_of_bounds(DUTY_CYCLE, pair[1]) is None]
        model = row.labels.get(names.model_label) or None
        pod = holder.pod if holder.pod is not None and holder.pod.namespace else None
        yield DutySeries(holder.node, pod, holder.uuid, model, points)
