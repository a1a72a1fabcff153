# SPDX-License-Identifier: Apache-2.0
"""Reads a pod's page into the values of its model server."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar

from scaler.budgets import INLINE_CHARACTERS
from scaler.model import PodValue
from scaler.quantities import measured_milli
from scaler.readings.http import computed
from scaler.readings.servers.address import page_address
from scaler.readings.servers.client import ReadError
from scaler.readings.servers.page import read_server_page
from scaler.readings.servers.problems import Failure, plain_problem
from scaler.readings.servers.samples import PageError
from scaler.readings.servers.table import BY_NAME, SERVERS, hints_of
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping

    from scaler.model import Metric, MetricSelector, PodState, ServerSettings
    from scaler.readings.servers.client import ServerClient
    from scaler.readings.servers.page import ServerValues
    from scaler.readings.servers.page_terms import RateCounters

SUCCESS = "success"
KNOWN_PORTS = tuple(sorted({server.port for server in SERVERS}))
WHOLE_PAGE = ("page",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTarget:
    """A pod's page and what to read from it; `server` is None to recognise it."""

    namespace: str
    url: str
    origin: str
    server: str | None
    pod_metric: MetricSelector | None

    def covers(self, other: ServerTarget) -> bool:
        """Return whether a page of this target has all that the other needs."""
        return (
            self.url == other.url
            and other.server in (None, self.server)
            and other.pod_metric in (None, self.pod_metric)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPage:
    """The result of reading a target: values, or the problem.

    `asked_seconds` is when the request was sent, so that values never seem younger than they are.
    `counters` are those of the last readable page, `server` what was recognised last.
    `pod_values` are the numbers among `values` as decisions count them, and `note` says what was
    recognised, by what and where.
    """

    families: ClassVar[tuple[str, ...]] = WHOLE_PAGE

    target: ServerTarget | None
    asked_seconds: float
    duration_seconds: float
    values: ServerValues | None = None
    problem: str | None = None
    counters: RateCounters | None = None
    server: str | None = None
    pod_values: Mapping[Metric, PodValue] = field(default_factory=dict)
    note: str = ""


def server_target(pod: PodState, settings: ServerSettings) -> ServerTarget:
    """Return the target of a pod.

    Raises:
        NoAddressError: it has no page that may be read.
    """
    row = BY_NAME[settings.server] if settings.server is not None else None
    address = page_address(
        pod,
        settings,
        known_ports=KNOWN_PORTS if row is None else (row.port,),
        path=None if row is None else row.path,
    )
    return ServerTarget(
        namespace=pod.ref.namespace,
        url=address.url,
        origin=address.origin,
        server=settings.server,
        pod_metric=settings.pod_metric,
    )


class ServerReader:
    """Reads targets by the UIDs of their pods; `results` counts the reads by result."""

    def __init__(
        self, client: ServerClient, results: Counter[str], *, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._results = results
        self._clock = clock
        self.targets: Mapping[str, ServerTarget] = {}

    async def fetch(
        self, key: str, families: tuple[str, ...], before: ServerPage | None
    ) -> ServerPage:
        """Return the page of the pod with the UID `key`; a failure is the page's `problem`."""
        target, asked = self.targets.get(key), self._clock()
        if target is None:
            return ServerPage(
                target=None, asked_seconds=asked, duration_seconds=0.0, problem="is gone"
            )
        if before is not None and before.target != target:
            before = None
        counters = before.counters if before is not None else None
        server = target.server or (before.server if before is not None else None)
        values = None
        try:
            body = await self._client.page(target.url, target.namespace, hints=hints_of(server))
            read = partial(
                read_server_page,
                body,
                server=target.server,
                pod_metric=target.pod_metric,
                before=counters,
                at_seconds=asked,
            )
            values = await computed(read, is_long=len(body) > INLINE_CHARACTERS)
            counters, server = values.counters, values.server or server
            result, problem = SUCCESS, None
        except ReadError as error:
            result, problem = error.problem.failure.value, error.problem.sentence
        except PageError:
            found = plain_problem(Failure.CONTENT)
            result, problem = found.failure.value, found.sentence
        except Exception as error:  # noqa: BLE001  (it affects only this pod)
            result, problem = Failure.UNEXPECTED.value, unexpected("a model server", error)
        self._results[result] += 1
        if problem is not None:
            subject = BY_NAME[server].title if server is not None else "the model server"
            problem = f"{subject} {problem} ({target.url})"
        return ServerPage(
            target=target,
            asked_seconds=asked,
            duration_seconds=self._clock() - asked,
            values=values,
            problem=problem,
            counters=counters,
            server=server,
            pod_values={} if values is None else _pod_values(values, asked),
            note=""
            if values is None
            else _note(values.server, values.recognised_by, target.origin),
        )


def _pod_values(values: ServerValues, asked_seconds: float) -> Mapping[Metric, PodValue]:
    return {
        metric: PodValue(value_milli=measured_milli(number), sampled_seconds=asked_seconds)
        for metric, number in values.values.items()
        if not isinstance(number, str)
    }


@lru_cache(maxsize=1024)
def _note(server: str | None, recognised_by: str | None, origin: str) -> str:
    if server is None:
        return f"unknown server; {origin}"
    return f"{BY_NAME[server].title}, recognised by {recognised_by}; {origin}"
