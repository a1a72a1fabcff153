# SPDX-License-Identifier: Apache-2.0
"""The page of idle GPUs: which GPUs are idle or free, since when, and whose."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from scaler.model import ObjectRef
from scaler.web.gpu_map import MapGpu, Node
from scaler.web.idle_gpus import (
    IDLE_SORTS,
    MAX_FREE_NODES,
    NODES_AT_ONCE,
    IdleSurvey,
    PodWorkload,
)
from scaler.web.idle_surveys import FRESH_SECONDS, IdleSurveys
from scaler.web.queries import PageQuery, QueryError, parse_page
from scaler.web.views import MAX_ROWS

if TYPE_CHECKING:
    from scaler.web.idle_gpus import IdleDict

A, B = ObjectRef("prod", "web-a"), ObjectRef("lab", "b")
WEB = PodWorkload(ObjectRef("prod", "web"), is_opted_in=True)


def node(*gpus: tuple[str, float | None, tuple[ObjectRef, ...]]) -> Node:
    return Node(gpus=tuple(MapGpu(*one) for one in gpus), read_unix_seconds=1000.0)


def shown(
    nodes: dict[str, Node | None], since: dict[str, float] | None = None, **asked: Any
) -> IdleDict:
    survey = IdleSurvey(since_of=lambda _, uuid: (since or {}).get(uuid), workload_of={A: WEB}.get)
    for _ in survey.take(nodes):
        pass
    return survey.page(PageQuery(**{"sort": "longest"} | asked))


def test_a_gpu_is_idle_if_it_is_held_and_at_zero_and_unknown_without_a_reading() -> None:
    found = shown(
        {
            "n1": node(
                ("g0", 0.0, (A,)),
                ("g1", 3.0, (A,)),
                ("g2", None, (A,)),
                ("g3", 0.0, ()),
                ("g4", None, ()),
            ),
            "n2": None,
        },
        since={"g0": 500.0, "g3": 600.0},
    )

    assert found["rows"] == [
        {
            "namespace": "prod",
            "pod": "web-a",
            "workload": "web",
            "deployment": "prod/web",
            "node": "n1",
            "gpus": 1,
            "held": 2,
            "since": 500.0,
        }
    ]
    assert found["free_nodes"] == [{"node": "n1", "gpus": 1, "since": 600.0}]
    assert (found["held"], found["idle"], found["free"]) == (2, 1, 1)
    assert (found["nodes"], found["read"]) == (2, 1)


def test_a_shared_gpu_counts_once_and_stands_at_each_of_its_pods() -> None:
    found = shown({"n1": node(("g0", 0.0, (A, B)))})

    assert (found["held"], found["idle"], found["pods"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("sort", "pods"),
    [
        ("longest", ["b", "web-a", "new"]),
        ("gpus", ["web-a", "b", "new"]),
        ("name", ["b", "new", "web-a"]),
    ],
)
def test_sorts(sort: str, pods: list[str]) -> None:
    new = ObjectRef("lab", "new")
    nodes: dict[str, Node | None] = {
        "n1": node(("g0", 0.0, (A,)), ("g1", 0.0, (A,)), ("g2", 0.0, (B,)), ("g3", 0.0, (new,)))
    }
    found = shown(nodes, since={"g0": 700.0, "g1": 600.0, "g2": 500.0}, sort=sort)

    assert [row["pod"] for row in found["rows"]] == pods


def test_search_and_pages_and_the_nodes_with_most_free_gpus() -> None:
    pods = [ObjectRef("lab", f"pod-{number}") for number in range(5)]
    nodes: dict[str, Node | None] = {
        f"node-{number}": node((f"g{number}", 0.0, (pod,))) for number, pod in enumerate(pods)
    }
    nodes |= {f"free-{number:02}": node((f"f{number}", 0.0, ())) for number in range(60)}
    nodes["most"] = node(("m0", 0.0, ()), ("m1", 0.0, ()))

    found = shown(nodes, search="lab pod", limit=2, offset=2, sort="name")
    assert [row["pod"] for row in found["rows"]] == ["pod-2", "pod-3"]
    assert (found["found"], found["offset"]) == (5, 2)
    assert [row["pod"] for row in shown(nodes, search="node-4")["rows"]] == ["pod-4"]
    assert shown(nodes, offset=100, limit=2)["offset"] == 4
    assert found["free_nodes"][0]["node"] == "most"
    assert len(found["free_nodes"]) == MAX_FREE_NODES
    assert (found["free_nodes_found"], found["free"]) == (61, 62)


def test_a_wrong_query_is_refused() -> None:
    def parsed(**params: str) -> PageQuery:
        return parse_page(params, IDLE_SORTS, most_rows=MAX_ROWS)

    with pytest.raises(QueryError, match="sort"):
        parsed(sort="x")
    assert parsed(sort="gpus", limit="7") == PageQuery(sort="gpus", limit=7)


async def test_all_viewers_share_one_look_at_the_nodes() -> None:
    looks: list[int] = []
    nodes = {f"n{number}": node((f"g{number}", 0.0, (A,))) for number in range(200)}
    now = 0.0

    def found() -> dict[str, Node]:
        looks.append(1)
        return nodes

    new = partial(IdleSurvey, since_of=lambda *_: None, workload_of={A: WEB}.get)
    surveys = IdleSurveys(found, new, clock=lambda: now)
    first, *others = await asyncio.gather(*(surveys.newest() for _ in range(50)))
    assert all(one is first for one in others)
    assert len(looks) == 1
    now += FRESH_SECONDS
    assert await surveys.newest() is not first
    assert len(looks) == 2


async def test_others_have_their_turn_while_all_nodes_are_looked_at() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    nodes = {f"n{number}": node((f"g{number}", 0.0, (A,))) for number in range(1000)}
    new = partial(IdleSurvey, since_of=lambda *_: None, workload_of={A: WEB}.get)
    surveys = IdleSurveys(lambda: nodes, new)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(other())
        await surveys.newest()
        running.cancel()
    assert turns >= 1000 / NODES_AT_ONCE
