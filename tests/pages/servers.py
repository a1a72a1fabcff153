# SPDX-License-Identifier: Apache-2.0
"""The tables of the model servers whose pages are known, and of pages that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scaler.readings.servers.problems import (
    Failure,
    plain_problem,
    status_problem,
    timeout_problem,
    tls_problem,
)
from scaler.readings.servers.table import SERVERS
from scaler.readings.settings import ServersSettings
from tests.pages.markdown import table

if TYPE_CHECKING:
    from scaler.readings.servers.table import Measure, Term

STATUSES: Final = (401, 404)
PLAIN: Final = (
    Failure.REFUSED,
    Failure.UNREACHABLE,
    Failure.RESET,
)


def server_table() -> str:
    """The servers by title, with what is read of each and where."""
    rows = (
        (
            f"{one.title}, `{one.name}`",
            _measured(one.requests),
            _measured(one.waiting),
            _measured(one.kv_cache),
            f"{one.port} `{one.path}`",
        )
        for one in sorted(SERVERS, key=lambda one: one.title.lower())
    )
    head = ("server, `gpu-scaler/server`", "requests", "waiting alone", "KV cache", "page")
    return table(head, rows)


def _measured(measure: Measure) -> str:
    """The alternatives of a measure; nothing where the server publishes none."""
    if isinstance(measure, str):
        return ""
    return " or ".join(" + ".join(map(_term, terms)) for terms in measure)


def _term(term: Term) -> str:
    """One term; a unit other than 1 is that of microseconds."""
    return f"`{term.series}`" if term.unit == 1 else f"`{term.series}` / {1 / term.unit:.0f}"


def problem_table() -> str:
    """The usual reasons why a page cannot be read, and what the scaler says to do."""
    problems = [
        *map(status_problem, STATUSES),
        *map(plain_problem, PLAIN),
        timeout_problem(ServersSettings().timeout_seconds),
        tls_problem("…"),
    ]
    rows = (one.sentence.split(": ", 1) for one in problems)
    return table(("the server", "what to do"), rows)
