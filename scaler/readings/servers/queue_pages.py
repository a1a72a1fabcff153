# SPDX-License-Identifier: Apache-2.0
"""Reads the page of a queue at every endpoint of its Service, and adds up what they say."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scaler.budgets import INLINE_CHARACTERS
from scaler.kube.service_endpoints import ServiceError
from scaler.quantities import measured_milli
from scaler.readings.http import computed
from scaler.readings.servers.client import ReadError
from scaler.readings.servers.page import PageSum, read_sum
from scaler.readings.servers.problems import Failure
from scaler.readings.servers.samples import PageError, has_metric
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from scaler.kube.service_endpoints import ServiceEndpoint, ServiceEndpoints
    from scaler.model import MetricSelector
    from scaler.readings.servers.client import ServerClient
    from scaler.readings.servers.page_terms import RateCounters
    from scaler.readings.servers.problems import ReadProblem

ENDPOINTS_AT_ONCE = 8
READABLE = "set gpu-scaler/queue to the port and the path of its metrics page"
FIRST_REQUEST = (
    "some servers publish a metric with their first request, and until then nothing is known"
)
_OTHER_PAGE = frozenset(
    {
        Failure.REDIRECT,
        Failure.NOT_FOUND,
        Failure.NOT_IMPLEMENTED,
        Failure.STATUS,
        Failure.REFUSED,
        Failure.RESET,
        Failure.NO_HTTP,
        Failure.EMPTY,
        Failure.HTML,
        Failure.CONTENT,
        Failure.OVER_BUDGET,
    }
)
"""Failures whose usual advice is about annotations for pods' own pages."""

Terms: TypeAlias = "tuple[MetricSelector, ...]"


class QueuePage(NamedTuple):
    """A page of a Service; `port` is a number or a name."""

    namespace: str
    service: str
    port: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTotal:
    """The sum of a queue's terms over all endpoints, or the problem.

    With both, every endpoint answered and some have no series yet: the sum is at least that, and
    more than 0. `sampled_seconds` is when the reading began.
    """

    sampled_seconds: float
    value_milli: int | None = None
    problem: str | None = None


@dataclass(slots=True)
class PageMemory:
    """What the last reading of a page left: totals by terms, counters by terms and endpoint."""

    totals: Mapping[Terms, QueueTotal] = field(default_factory=dict)
    counters: dict[tuple[Terms, str], RateCounters] = field(default_factory=dict)


class QueuePageReader:
    """Reads pages; each reading asks each endpoint once."""

    def __init__(
        self, client: ServerClient, services: ServiceEndpoints, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._services = services
        self._clock = clock

    async def read(self, page: QueuePage, wanted: Collection[Terms], memory: PageMemory) -> None:
        """Put the totals of the wanted terms into `memory`; never raises."""
        began = self._clock()
        title = f"Service {page.namespace}/{page.service}"
        try:
            endpoints = await self._services.of(page.namespace, page.service, page.port)
            answers = await self._answers(page, endpoints, wanted, memory)
            memory.totals = {
                terms: _total(title, [(at, one[terms]) for at, one in answers], began)
                for terms in wanted
            }
        except ServiceError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  (it affects only this queue)
            problem = f"{title}: {unexpected('a queue', error)}"
        else:
            return
        memory.totals = dict.fromkeys(wanted, QueueTotal(sampled_seconds=began, problem=problem))

    async def _answers(
        self,
        page: QueuePage,
        endpoints: Sequence[ServiceEndpoint],
        wanted: Collection[Terms],
        memory: PageMemory,
    ) -> Sequence[tuple[ServiceEndpoint, Mapping[Terms, PageSum]]]:
        """Return what each endpoint says for each of the terms."""
        places = asyncio.Semaphore(ENDPOINTS_AT_ONCE)
        names = {_name(one) for one in endpoints}
        memory.counters = {
            (terms, name): counters
            for (terms, name), counters in memory.counters.items()
            if terms in wanted and name in names
        }

        async def answer(endpoint: ServiceEndpoint) -> Mapping[Terms, PageSum]:
            async with places:
                return await self._answer(page, endpoint, wanted, memory)

        found = await asyncio.gather(*map(answer, endpoints))
        return list(zip(endpoints, found, strict=True))

    async def _answer(
        self,
        page: QueuePage,
        endpoint: ServiceEndpoint,
        wanted: Collection[Terms],
        memory: PageMemory,
    ) -> Mapping[Terms, PageSum]:
        asked, name = self._clock(), _name(endpoint)
        url = f"http://{endpoint.host}:{endpoint.port}{page.path}"
        try:
            body = await self._client.page(url, page.namespace)
            before = {terms: memory.counters.get((terms, name)) for terms in wanted}
            read = partial(_sums, body, before, asked)
            found = await computed(read, is_long=len(body) * len(before) > INLINE_CHARACTERS)
        except ReadError as error:
            # Its pod may have gone.
            self._services.doubt(page.namespace, page.service)
            problem = _sentence(error.problem)
        except PageError as error:
            problem = f"{error}: {READABLE}"
        except Exception as error:  # noqa: BLE001  (it affects only this queue)
            problem = unexpected("an endpoint of a queue", error)
        else:
            memory.counters |= {(terms, name): counters for terms, (_, counters) in found.items()}
            return {terms: value for terms, (value, _) in found.items()}
        return dict.fromkeys(wanted, PageSum(value=None, problem=problem))


def _name(endpoint: ServiceEndpoint) -> str:
    return f"{endpoint.pod} ({endpoint.host}:{endpoint.port})"


def _sums(
    body: bytes, before: Mapping[Terms, RateCounters | None], at_seconds: float
) -> Mapping[Terms, tuple[PageSum, RateCounters]]:
    sums = {}
    for terms, old in before.items():
        found, counters = read_sum(body, terms, old, at_seconds)
        if found.problem is not None and not all(has_metric(body, one.name) for one in terms):
            found = replace(found, problem=f"{found.problem}: {FIRST_REQUEST}")
        sums[terms] = found, counters
    return sums


def _total(
    title: str, answers: Sequence[tuple[ServiceEndpoint, PageSum]], began: float
) -> QueueTotal:
    """Return the sum; one endpoint that gives no number leaves none."""
    numbers, problems, is_floor = [], [], True
    for endpoint, found in answers:
        if found.problem is not None and endpoint.is_terminating:
            # It may end at any moment.
            continue
        if found.value is not None:
            numbers.append(found.value)
        if found.problem is not None:
            problems.append(f"pod {_name(endpoint)}: {found.problem}")
            is_floor &= found.value is not None
    if not numbers and not problems:
        problems.append("its endpoints terminate, and none has a number")
    total = measured_milli(sum(numbers))
    if not problems:
        return QueueTotal(sampled_seconds=began, value_milli=total)
    more = f"; {len(problems) - 1} more endpoints" if len(problems) > 1 else ""
    return QueueTotal(
        sampled_seconds=began,
        # What waits at some endpoints waits, whatever the others have.
        value_milli=total if is_floor and total > 0 else None,
        problem=f"{title}: {problems[0]}{more}",
    )


def _sentence(problem: ReadProblem) -> str:
    if problem.failure not in _OTHER_PAGE:
        return problem.sentence
    return f"{re.split('[:;]', problem.sentence, maxsplit=1)[0]}: {READABLE}"
