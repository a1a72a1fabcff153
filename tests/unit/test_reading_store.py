# SPDX-License-Identifier: Apache-2.0
"""The reading store: who is asked for what, and what is in memory, without any I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from scaler.readings.store import LATE_INTERVALS, ReadingStore

DUTY, MEMORY, POWER = (("duty",), ("memory",), ("power",))


@dataclass(frozen=True, slots=True)
class Page:
    families: tuple[str, ...]
    asked_seconds: float


@dataclass(slots=True)
class Reader:
    """Answers at once unless told to wait; keeps what it was asked."""

    now: list[float]
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self, key: str, families: tuple[str, ...], before: Page | None) -> Page:
        asked_seconds = self.now[0]
        self.asked.append((key, families))
        await self.go_on.wait()
        return Page(families, asked_seconds)


class Bed:
    """A store with a clock, and one reader for each of three consumers."""

    def __init__(self) -> None:
        self.now = [1000.0]
        self.store: ReadingStore[Page] = ReadingStore(lambda: self.now[0])
        self.readers = [Reader(self.now) for _ in range(3)]
        for one in self.readers:
            one.go_on.set()
        self.api, self.loop, self.map = (
            self.store.demand(reader, every_seconds=every)
            for reader, every in zip(self.readers, (5.0, 2.0, 2.0), strict=True)
        )

    @property
    def asked(self) -> list[list[tuple[str, tuple[str, ...]]]]:
        """What was asked for the metrics API, the loop and the map."""
        return [one.asked for one in self.readers]


async def test_the_shortest_interval_leads_and_the_others_read_what_it_brought():
    bed = Bed()
    bed.loop.state({"n1": DUTY})
    bed.api.state({"n1": DUTY})
    bed.map.state({"n1": DUTY})
    for _ in range(3):
        bed.now[0] += 2
        await bed.loop.ask("n1")
        for _ in range(4):
            assert (await bed.api.page("n1")).asked_seconds == bed.now[0]
            assert (await bed.map.page("n1")).asked_seconds == bed.now[0]
    assert bed.asked == [[], [("n1", DUTY)] * 3, []]


async def test_whoever_is_asked_is_asked_for_what_anybody_needs():
    bed = Bed()
    bed.loop.state({"n1": DUTY})
    bed.api.state({"n1": MEMORY, "n2": POWER})
    await bed.loop.ask("n1")
    assert (await bed.api.page("n1")).families == ("duty", "memory")
    await bed.api.page("n2")
    assert bed.asked == [[("n2", POWER)], [("n1", ("duty", "memory"))], []]


async def test_a_family_that_is_new_is_asked_for_at_once():
    bed = Bed()
    bed.loop.state({"n1": DUTY})
    await bed.loop.ask("n1")
    bed.api.add({"n1": MEMORY})
    bed.api.add({"n1": POWER})
    assert (await bed.api.page("n1")).families == ("duty", "memory", "power")
    assert (await bed.api.page("n1")).families == ("duty", "memory", "power")
    assert bed.asked == [[("n1", ("duty", "memory", "power"))], [("n1", DUTY)], []]


async def test_what_nobody_reads_any_more_is_read_by_the_next_one():
    bed = Bed()
    bed.loop.state({"n1": DUTY})
    bed.api.state({"n1": DUTY})
    await bed.loop.ask("n1")
    bed.now[0] += LATE_INTERVALS * bed.loop.every_seconds
    await bed.api.page("n1")
    assert bed.asked[0] == []
    bed.now[0] += 0.1
    assert (await bed.api.page("n1")).asked_seconds == bed.now[0]
    bed.loop.state({})
    bed.now[0] += 0.1
    assert (await bed.api.page("n1")).asked_seconds == bed.now[0]


async def test_those_who_need_the_same_wait_for_one_answer():
    bed = Bed()
    for reader in bed.readers:
        reader.go_on.clear()
    bed.map.state({"n1": DUTY})
    bed.api.state({"n1": DUTY})
    pages = [asyncio.create_task(one.page("n1")) for one in (bed.map, bed.api, bed.map)]
    await asyncio.sleep(0)
    for reader in bed.readers:
        reader.go_on.set()
    first, *others = await asyncio.gather(*pages)
    assert all(page is first for page in others)
    assert bed.asked == [[], [], [("n1", DUTY)]]


async def test_who_waits_for_one_that_gives_up_asks_itself():
    bed = Bed()
    bed.readers[2].go_on.clear()
    bed.map.state({"n1": DUTY})
    bed.api.state({"n1": DUTY})
    gives_up = asyncio.create_task(bed.map.page("n1"))
    await asyncio.sleep(0)
    waits = asyncio.create_task(bed.api.page("n1"))
    await asyncio.sleep(0)
    gives_up.cancel()
    assert (await waits).families == DUTY
    assert bed.asked == [[("n1", DUTY)], [], [("n1", DUTY)]]


async def test_the_loop_waits_for_nobody():
    bed = Bed()
    bed.readers[2].go_on.clear()
    bed.map.state({"n1": DUTY, "n2": DUTY})
    hanging = [asyncio.create_task(bed.map.page(node)) for node in ("n1", "n2")]
    await asyncio.sleep(0)
    bed.loop.state({"n1": DUTY})
    assert (await bed.loop.ask("n1")).families == DUTY
    assert not any(one.done() for one in hanging)
    for one in hanging:
        one.cancel()


async def test_an_older_answer_that_comes_late_replaces_no_newer_one():
    bed = Bed()
    bed.readers[2].go_on.clear()
    bed.map.state({"n1": DUTY})
    late = asyncio.create_task(bed.map.page("n1"))
    await asyncio.sleep(0)
    bed.now[0] += 2
    bed.loop.state({"n1": DUTY})
    await bed.loop.ask("n1")
    bed.readers[2].go_on.set()
    await late
    bed.api.state({"n1": DUTY})
    assert (await bed.api.page("n1")).asked_seconds == bed.now[0]


async def test_pages_are_kept_for_as_long_as_anybody_needs_them():
    bed = Bed()
    bed.loop.state({"n1": DUTY, "n2": DUTY})
    bed.map.state({"n1": DUTY, "n3": DUTY})
    for node in ("n1", "n2"):
        await bed.loop.ask(node)
    await bed.map.page("n3")
    assert bed.store._pages.keys() == {"n1", "n2", "n3"}
    bed.map.state({})
    assert bed.store._pages.keys() == {"n1", "n2"}
    bed.loop.state({"n2": DUTY})
    assert bed.store._pages.keys() == {"n2"}
    bed.loop.state({})
    assert not bed.store._pages
    await bed.loop.ask("n2")
    assert not bed.store._pages
