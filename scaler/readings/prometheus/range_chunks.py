# SPDX-License-Identifier: Apache-2.0
"""Pure: a long time in chunks of steps, and the rows of `/api/v1/query_range`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import shown_name
from scaler.readings.prometheus.queries import FRESH_SECONDS
from scaler.readings.prometheus.response import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.readings.prometheus.response import Result

STEPS_SECONDS = (15, 30, 60, 120, 300, 600, 1800, 3600)
"""The steps that `span` chooses from; the first is a usual scrape interval."""
STEPS_WISHED = 20_160
"""Steps of a span at most, where a step is not given: 30 s for 7 days."""
MAX_CHUNK_STEPS = 10_000
"""Steps in one chunk; Prometheus refuses more than 11,000."""
FIRST_CHUNK_STEPS = 240
CHUNK_POINTS = 400_000
"""Points in one chunk; their JSON takes about 10 MB."""


def promql_duration(seconds: float) -> str:
    """Return a duration for a range selector, which knows no exponents and no fractions."""
    return f"{round(seconds * 1000)}ms"


class Span(NamedTuple):
    """Steps of time: step n is evaluated at `begun_unix_seconds + n * step_seconds`."""

    begun_unix_seconds: float
    step_seconds: float
    steps: int

    @property
    def ended_unix_seconds(self) -> float:
        """The time of the last step."""
        return self.begun_unix_seconds + (self.steps - 1) * self.step_seconds

    @property
    def seconds(self) -> float:
        """The length of all steps."""
        return self.steps * self.step_seconds

    @property
    def fresh_seconds(self) -> float:
        """How old a sample may be at its step: never so old that it fills another step's gap."""
        return max(FRESH_SECONDS, self.step_seconds)

    def share_until(self, part: Span) -> float:
        """Return the share of the steps that are over when a part of them ends."""
        return 1 - (self.ended_unix_seconds - part.ended_unix_seconds) / self.seconds

    def part(self, first: int, steps: int) -> Span:
        """Return up to `steps` steps from the step `first` on."""
        return Span(
            self.begun_unix_seconds + first * self.step_seconds,
            self.step_seconds,
            min(steps, self.steps - first),
        )


def span(*, until_unix_seconds: float, seconds: float, step_seconds: float | None = None) -> Span:
    """Return the steps of the last `seconds`, at multiples of the step.

    Without a step it is the shortest of `STEPS_SECONDS` that gives at most `STEPS_WISHED` steps.
    """
    step = step_seconds or next(
        (one for one in STEPS_SECONDS if seconds / one <= STEPS_WISHED), STEPS_SECONDS[-1]
    )
    last = until_unix_seconds // step
    steps = max(1, int(seconds // step))
    return Span((last - steps + 1) * step, step, steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRow:
    """One series of an answer: Unix seconds and the value as text, in order of time.

    The labels' values are short and printable: they are written to terminals and files.
    """

    labels: Mapping[str, str]
    points: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeChunk:
    """The answers to some queries over a part of the time, in the order of the queries."""

    span: Span
    rows: tuple[tuple[PastRow, ...], ...]


def read_rows(result: Result) -> tuple[PastRow, ...]:
    """Return the rows of an answer of `query_range`, leaving out histograms.

    Raises:
        PromqlError: it is none.
    """
    with rows_of(result, "matrix") as rows:
        return tuple(
            PastRow(
                labels={name: shown_name(text) for name, text in row["metric"].items()},
                points=tuple((float(time), str(text)) for time, text in row.get("values", ())),
            )
            for row in rows
        )


def next_steps(steps: int, *, points: int) -> int:
    """Return how many steps the next chunk should have after one of `steps` with these points.

    It grows at most fourfold, because series may appear that the last chunk did not have.
    """
    a_step = max(1.0, points / max(1, steps))
    fits = int(CHUNK_POINTS / a_step)
    return max(1, min(fits, 4 * steps, MAX_CHUNK_STEPS))
