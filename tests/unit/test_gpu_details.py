# SPDX-License-Identifier: Apache-2.0
"""Details of the GPUs on screen: what is known, and which nodes are read how often."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from scaler.readings.devices import MEMORY_TOTAL, MEMORY_USED, POWER_USAGE, TEMPERATURE
from scaler.readings.gpus import GpuAnswer, GpuSample
from scaler.readings.prometheus.node_gpus import node_matcher
from scaler.web.gpu_detail_reader import EVERY_SECONDS, MAX_NODES, GpuDetailReader
from scaler.web.gpu_details import (
    FAMILIES,
    NODES_PER_REQUEST,
    GpuDetail,
    detail_dict,
    parse_detail_nodes,
    read_details,
)
from scaler.web.gpu_reader import WATCHED_SECONDS
from scaler.web.queries import QueryError
from tests.statuspage import ref
from tests.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

NOW = 100.0
WHOLE = {MEMORY_USED: [6e9], MEMORY_TOTAL: [8e9], POWER_USAGE: [70_500.0], TEMPERATURE: [61.0]}


def samples(
    values: Mapping[str, list[float]], at: float = NOW, node: str = "n"
) -> Mapping[str, list[GpuSample]]:
    return {
        family: [
            GpuSample(node, ref(f"web-{number}"), "GPU-1", value, at, 15.0)
            for number, value in enumerate(some)
        ]
        for family, some in values.items()
    }


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        pytest.param(WHOLE, GpuDetail(6e9, 8e9, 70_500, 61), id="all"),
        pytest.param({}, None, id="nothing"),
        pytest.param({POWER_USAGE: [70_500.0]}, GpuDetail(None, None, 70_500), id="only power"),
        pytest.param(
            {MEMORY_USED: [2e9, 3e9], MEMORY_TOTAL: [8e9, 8e9]},
            GpuDetail(5e9, 8e9),
            id="containers' memory adds up",
        ),
        pytest.param(
            {MEMORY_USED: [2e9], MEMORY_TOTAL: [8e9, 8e9]},
            GpuDetail(None, 8e9),
            id="memory of one container is unknown",
        ),
        pytest.param({MEMORY_USED: [0.0]}, GpuDetail(0), id="0 is a value"),
    ],
)
def test_the_details_of_a_gpu(values, detail):
    found = read_details(samples(values), now_seconds=NOW)
    assert found == ({} if detail is None else {"n": {"GPU-1": detail}})


def test_a_stale_reading_is_unknown():
    assert read_details(samples(WHOLE, at=NOW - 16), now_seconds=NOW) == {}


def test_a_gpu_has_its_model_where_the_samples_have_it():
    known = [sample._replace(model="L4") for sample in samples(WHOLE)[POWER_USAGE]]
    (gpu,) = read_details({POWER_USAGE: known}, now_seconds=NOW)["n"].values()
    assert gpu.model == "L4"


def test_power_is_shown_in_watts():
    detail = detail_dict(GpuDetail(6e9, 8e9, 70_500, None))
    assert detail == {"memory_used": 6e9, "memory_total": 8e9, "power": 70.5, "temperature": None}


def test_a_request_names_as_many_nodes_as_a_screen_has():
    most = [f"n{number}" for number in range(NODES_PER_REQUEST)]
    assert parse_detail_nodes(most) == most
    with pytest.raises(QueryError, match="detail: 25 nodes are more than 24"):
        parse_detail_nodes([*most, "one-more"])


def test_the_names_of_nodes_are_no_patterns():
    assert node_matcher("node_name", ["b", 'a.b"\\']) == r'node_name=~"a\\.b\"\\\\|b"'


class Exporters:
    """A source whose nodes all answer; counts who is read."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.reads = Counter[str]()
        self.needed: Collection[str] = ()
        self.failing = False

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        self.needed = list(wanted)

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        assert all(families == FAMILIES for families in wanted.values())
        self.reads.update(wanted.keys())
        if self.failing:
            raise RuntimeError("unexpected")
        temperatures = [
            GpuSample(node, None, "GPU-1", 61.0, self.loop.time(), 15.0) for node in wanted
        ]
        return GpuAnswer(samples={TEMPERATURE: temperatures})


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.end()


@pytest.fixture
def exporters(loop: VirtualLoop) -> Exporters:
    return Exporters(loop)


@pytest.fixture
def reader(loop: VirtualLoop, exporters: Exporters) -> GpuDetailReader:
    made = GpuDetailReader(exporters, by_node=True, clock=loop.time)
    loop.create_task(made.run())
    loop.pass_time(1)
    return made


def test_viewers_share_the_reads_of_the_nodes_that_they_see(loop, exporters, reader):
    assert exporters.reads == {}
    for _ in range(8):
        reader.ask(["a", "b"])
        reader.ask(["b", "c"])
        loop.pass_time(EVERY_SECONDS / 10)
    assert exporters.reads == {"a": 1, "b": 1, "c": 1}
    assert reader.details["b"] == {"GPU-1": GpuDetail(temperature_celsius=61.0)}
    reader.ask(["d"])
    loop.pass_time(0.6)
    assert exporters.reads["d"] == 1, "who scrolls does not wait for the next round"
    assert exporters.reads["b"] == 1
    loop.pass_time(1)
    assert exporters.reads["b"] == 2


def test_without_viewers_nothing_is_read_or_kept(loop, exporters, reader):
    reader.ask(["a"])
    loop.pass_time(WATCHED_SECONDS + 1)
    before = exporters.reads["a"]
    loop.pass_time(100)
    assert exporters.reads["a"] == before
    assert (reader.details, exporters.needed) == ({}, [])


def test_viewers_together_have_so_many_nodes_read(loop, exporters, reader):
    for number in range(2 * MAX_NODES):
        reader.ask([f"n{number}"])
    reader.ask(["n0"])
    loop.pass_time(1)
    assert len(exporters.reads) == MAX_NODES
    assert {"n0", f"n{2 * MAX_NODES - 1}"} <= exporters.reads.keys()


def test_a_failed_read_has_no_old_values_and_is_tried_again(loop, exporters, reader):
    reader.ask(["a"])
    loop.pass_time(1)
    exporters.failing = True
    reader.ask(["a"])
    loop.pass_time(EVERY_SECONDS)
    assert reader.details == {"a": {}}
    exporters.failing = False
    loop.pass_time(EVERY_SECONDS)
    assert reader.details["a"] != {}
