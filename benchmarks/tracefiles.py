# SPDX-License-Identifier: Apache-2.0
"""Published traces of load, read from a folder of CSV files.

Two formats: one row a request (Azure's LLM inference traces: TIMESTAMP, ContextTokens,
GeneratedTokens), and sums over windows (ServeGen: start_seconds, requests_per_second).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

REQUEST_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
RATE_COLUMNS = ("start_seconds", "requests_per_second")
WHERE_TO_GET = """\
bench-traces needs published traces: make bench-traces TRACES=FOLDER, with CSV files in FOLDER.
  one row a request: TIMESTAMP,ContextTokens,GeneratedTokens
    AzureLLMInferenceTrace_code.csv and _conv.csv of 2023, as they are:
    https://github.com/Azure/AzurePublicDataset (CC-BY)
  sums over windows: start_seconds,requests_per_second
    the clients' rates under data/ of https://github.com/alibaba/ServeGen (Apache-2.0),
    summed per window of 600 s\
"""


class Request(NamedTuple):
    """A request by when it comes, from the start of the trace, and its numbers of tokens."""

    at_seconds: float
    context_tokens: int
    generated_tokens: int


class Window(NamedTuple):
    """A constant rate of requests from `begin_seconds` to `end_seconds`."""

    begin_seconds: int
    end_seconds: int
    requests_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTrace:
    """A trace by its file's name; either each request or windows, the other is empty."""

    name: str
    requests: tuple[Request, ...] = ()
    windows: tuple[Window, ...] = ()


def read_folder(folder: Path) -> list[PublishedTrace]:
    """Return the folder's traces by name; raises ValueError if it has no trace."""
    traces = [read_trace(path) for path in sorted(folder.glob("*.csv"))]
    if not traces:
        msg = f"no CSV file in {folder}\n{WHERE_TO_GET}"
        raise ValueError(msg)
    return traces


def read_trace(path: Path) -> PublishedTrace:
    """Return one file's trace; raises ValueError for other columns and for too few rows."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = tuple(rows.fieldnames or ())
        if columns == REQUEST_COLUMNS:
            return PublishedTrace(name=path.stem, requests=_requests(path, list(rows)))
        if columns == RATE_COLUMNS:
            return PublishedTrace(name=path.stem, windows=_windows(path, list(rows)))
    msg = f"{path} has the columns {', '.join(columns)}\n{WHERE_TO_GET}"
    raise ValueError(msg)


def _requests(path: Path, rows: list[dict[str, str]]) -> tuple[Request, ...]:
    if not rows:
        msg = f"{path} has no rows"
        raise ValueError(msg)
    # Seven digits of a second are one more than Python reads.
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    first = min(times)
    return tuple(
        sorted(
            Request(
                (time - first).total_seconds(),
                int(row["ContextTokens"]),
                int(row["GeneratedTokens"]),
            )
            for time, row in zip(times, rows, strict=True)
        )
    )


def _windows(path: Path, rows: list[dict[str, str]]) -> tuple[Window, ...]:
    if len(rows) < 2:
        msg = f"{path} has {len(rows)} rows, and the length of a window is between two"
        raise ValueError(msg)
    begins = [int(row["start_seconds"]) for row in rows]
    begins.append(2 * begins[-1] - begins[-2])
    return tuple(
        Window(begin - begins[0], end - begins[0], float(row["requests_per_second"]))
        for (begin, end), row in zip(pairwise(begins), rows, strict=True)
    )
