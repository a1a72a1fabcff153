# SPDX-License-Identifier: Apache-2.0
"""When pods are asked: fresh for each read, never twice at once, hanging ones beside the others."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest

from scaler.readings.servers.reader import WHOLE_PAGE, ServerPage
from scaler.readings.servers.schedule import QUICK_PLACES, SLOW_PLACES, Polls
from scaler.readings.store import Demand, ReadingStore
from tests.virtualtime import VirtualLoop

INTERVAL = 2.0
TIMEOUT = 2.0


class Pods:
    """Pods that take some time to answer; those that take a timeout fail."""

    def __init__(self) -> None:
        self.takes: defaultdict[str, float] = defaultdict(lambda: 0.01)
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        self.in_flight = Counter[str]()
        self.most_at_once = 0

    async def fetch(
        self, key: str, families: tuple[str, ...], before: ServerPage | None
    ) -> ServerPage:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self.asked[key].append(begun)
        self.in_flight[key] += 1
        assert self.in_flight[key] == 1
        self.most_at_once = max(self.most_at_once, self.in_flight.total())
        await asyncio.sleep(self.takes[key])
        self.in_flight[key] -= 1
        failed = "hangs" if self.takes[key] >= TIMEOUT else None
        return ServerPage(
            target=None,
            asked_seconds=begun,
            duration_seconds=loop.time() - begun,
            problem=failed,
        )


def polls_of(demand: Demand[ServerPage], interval_seconds: float, loop: VirtualLoop) -> Polls:
    async def ask(key: str) -> bool:
        return (await demand.page(key)).problem is None

    return Polls(ask, interval_seconds=interval_seconds, clock=loop.time)


class Bed:
    """The schedule, and a loop that reads every interval."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.pods = Pods()
        self.store: ReadingStore[ServerPage] = ReadingStore(loop.time)
        self.demand = self.store.demand(self.pods, every_seconds=INTERVAL)
        self.polls = polls_of(self.demand, INTERVAL, loop)
        self.wanted: dict[str, str] = {}
        loop.create_task(self.polls.run())

    def want(self) -> None:
        self.demand.state(dict.fromkeys(self.wanted, WHOLE_PAGE))
        self.polls.want(self.wanted)

    def read(self, times: int = 1, every: float = INTERVAL) -> None:
        for _ in range(times):
            self.want()
            self.loop.pass_time(every)

    def age(self, pod: str) -> float:
        page = self.demand.latest(pod)
        assert page is not None
        return self.loop.time() - page.asked_seconds


@pytest.fixture
def bed():
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    made = Bed(loop)
    yield made
    loop.end()
    asyncio.set_event_loop(None)


def test_a_few_pods_are_asked_once_per_interval_just_before_the_read(bed):
    bed.wanted = {f"web-{n}": "default" for n in range(5)}
    bed.read(3)
    asked = {pod: len(times) for pod, times in bed.pods.asked.items()}
    bed.read(10)
    for pod in bed.wanted:
        assert len(bed.pods.asked[pod]) == asked[pod] + 10
        assert bed.age(pod) < 0.3


def test_reads_that_come_early_still_find_pods_asked(bed):
    bed.wanted = {"web": "default"}
    bed.read(3)
    before = len(bed.pods.asked["web"])
    bed.read(20, every=0.9 * INTERVAL)
    assert len(bed.pods.asked["web"]) - before >= 18


def test_nobody_is_asked_before_and_after_somebody_wants_values(bed):
    bed.loop.pass_time(10)
    bed.wanted = {"web": "default"}
    bed.read(3)
    bed.wanted = {}
    bed.want()
    before = len(bed.pods.asked["web"])
    bed.loop.pass_time(10)
    assert len(bed.pods.asked["web"]) == before > 0


def test_more_pods_than_fit_into_an_interval_are_asked_without_a_break(bed):
    """1,000 pods of 0.2 s in half of 64 places take 6.25 s."""
    bed.wanted = {f"web-{n}": "default" for n in range(1000)}
    bed.pods.takes.update(dict.fromkeys(bed.wanted, 0.2))
    bed.read(10)
    before = {pod: len(times) for pod, times in bed.pods.asked.items()}
    bed.read(16)
    for pod in bed.wanted:
        assert 4 <= len(bed.pods.asked[pod]) - before[pod] <= 6
        assert bed.age(pod) <= 6.25 + INTERVAL + 0.5
    assert bed.pods.most_at_once <= QUICK_PLACES // 2 + SLOW_PLACES // 2


def test_no_answer_comes_while_the_loop_reads(bed):
    """With more quick pods than fit into an interval, too."""
    bed.wanted = {f"web-{n}": "default" for n in range(2000)}
    bed.pods.takes.update(dict.fromkeys(bed.wanted, 0.04))
    bed.read(6)
    for _ in range(5):
        asked = sum(map(len, bed.pods.asked.values()))
        assert not bed.pods.in_flight.total()
        bed.read()
        assert sum(map(len, bed.pods.asked.values())) - asked > 1300


def test_a_thousand_hanging_pods_delay_no_other_namespace(bed):
    hanging = {f"hang-{n}": "crowd" for n in range(1000)}
    bed.pods.takes.update(dict.fromkeys(hanging, TIMEOUT))
    bed.wanted = {**hanging, "web": "default"}
    bed.read(1)
    assert len(bed.pods.asked["web"]) == 2
    bed.read(20)
    assert len(bed.pods.asked["web"]) == 22
    assert bed.age("web") < 0.3
    # All of them, in turn, and a pod that is new before those that hang.
    assert all(bed.pods.asked[pod] for pod in hanging)
    bed.wanted["hang-new"] = "crowd"
    bed.read(2)
    assert bed.pods.asked["hang-new"]


def test_quick_pods_that_begin_to_hang_delay_no_other_namespace(bed):
    crowd = {f"hang-{n}": "crowd" for n in range(200)}
    bed.wanted = {**crowd, "web": "default"}
    bed.read(3)
    bed.pods.takes.update(dict.fromkeys(crowd, TIMEOUT))
    before = len(bed.pods.asked["web"])
    bed.read(10)
    assert len(bed.pods.asked["web"]) == before + 10


def test_nothing_starts_while_it_is_paused_but_for_at_most_an_interval(bed):
    bed.wanted = {"web": "default"}
    bed.want()
    with bed.polls.paused():
        bed.loop.pass_time(0.9 * INTERVAL)
        assert not bed.pods.asked
        bed.loop.pass_time(0.2 * INTERVAL)
        assert bed.pods.asked
    bed.read(2)
    before = len(bed.pods.asked["web"])
    bed.want()
    with bed.polls.paused():
        bed.loop.pass_time(0.5 * INTERVAL)
        assert len(bed.pods.asked["web"]) == before
    bed.loop.pass_time(0.5 * INTERVAL)
    assert len(bed.pods.asked["web"]) == before + 1


def test_nothing_starts_while_the_loop_acts_on_what_it_read(bed):
    bed.wanted = {"new": "default"}
    bed.want()
    with bed.polls.paused():
        bed.loop.pass_time(0.2 * INTERVAL)
    bed.loop.pass_time(0.04 * INTERVAL)
    assert not bed.pods.asked
    bed.loop.pass_time(0.1 * INTERVAL)
    assert bed.pods.asked


def test_an_unexpected_error_affects_one_pod_alone(bed):
    bed.wanted = {"web": "default", "bad": "default"}
    good = bed.pods.fetch

    async def fetch(key: str, families: tuple[str, ...], before: ServerPage | None) -> ServerPage:
        if key == "bad":
            raise ValueError("impossible")
        page: ServerPage = await good(key, families, before)
        return page

    bed.pods.fetch = fetch
    bed.read(3)
    assert len(bed.pods.asked["web"]) >= 3


def test_waiting_for_all_ends_when_each_was_asked(bed):
    bed.wanted = {"web": "default", "slow": "default", "hangs": "default"}
    bed.pods.takes.update(slow=1.0, hangs=TIMEOUT)
    bed.want()
    bed.loop.run_until_complete(bed.polls.wait_for_all())
    assert bed.loop.time() == pytest.approx(TIMEOUT, abs=0.1)


def test_a_slower_consumer_causes_no_request_of_its_own(bed):
    bed.wanted = {"web": "default"}
    demand = bed.store.demand(bed.pods, every_seconds=5 * INTERVAL)
    polls = polls_of(demand, 5 * INTERVAL, bed.loop)
    task = bed.loop.create_task(polls.run())
    bed.read(2)
    before = len(bed.pods.asked["web"])
    for _ in range(4):
        demand.state({"web": WHOLE_PAGE})
        polls.want({"web": "default"})
        bed.read(5)
    assert len(bed.pods.asked["web"]) == before + 20
    # Without the loop it reads for itself.
    bed.wanted = {}
    bed.want()
    before = len(bed.pods.asked["web"])
    for _ in range(4):
        polls.want({"web": "default"})
        bed.loop.pass_time(5 * INTERVAL)
    assert 3 <= len(bed.pods.asked["web"]) - before <= 5
    task.cancel()
