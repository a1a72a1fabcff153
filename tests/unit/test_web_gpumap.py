# SPDX-License-Identifier: Apache-2.0
"""The map of GPUs: shades, pages, what is not known, and who is read when."""

from __future__ import annotations

import pytest

from scaler.readings.gpus import GpuSample
from scaler.web.gpu_details import GpuDetail
from scaler.web.gpu_map import (
    COUNT_LABELS,
    FREE,
    MAP_SORTS,
    MAX_NODES,
    UNKNOWN,
    MapGpu,
    Node,
    gpu_map,
    read_nodes,
    shade,
)
from scaler.web.queries import PageQuery, QueryError, parse_page
from tests.statuspage import ref

WEB = ref("web-1")


def sample(
    node: str, number: int, duty: float, pod=None, *, at: float = 100.0, good_for: float = 15.0
) -> GpuSample:
    return GpuSample(node, pod, f"GPU-{number}", duty, at, good_for)


def nodes_of(*samples: GpuSample) -> dict[str, Node | None]:
    return dict(read_nodes(samples, now_seconds=100.0, now_unix_seconds=1000.0))


def shown(nodes, problem=None, **asked: object):
    return gpu_map(
        nodes,
        PageQuery(**{"sort": "name"} | asked),  # type: ignore[arg-type]
        deployment_of=lambda pod: ref("web") if pod == WEB else None,
        problem=problem,
    )


@pytest.mark.parametrize(
    ("duty", "pods", "index"),
    [
        pytest.param(0.0, (WEB,), 0, id="held and idle"),
        pytest.param(19.9, (WEB,), 0, id="below 20"),
        pytest.param(20.0, (WEB,), 1, id="20"),
        pytest.param(59.9, (WEB,), 2, id="below 60"),
        pytest.param(79.9, (WEB,), 3, id="below 80"),
        pytest.param(80.0, (WEB,), 4, id="80"),
        pytest.param(100.0, (WEB,), 4, id="100"),
        pytest.param(0.0, (), FREE, id="free"),
        pytest.param(97.0, (), FREE, id="busy with what is no pod"),
        pytest.param(None, (WEB,), UNKNOWN, id="held, no reading"),
        pytest.param(None, (), UNKNOWN, id="no reading"),
    ],
)
def test_the_shade_of_a_gpu(duty, pods, index):
    assert shade(MapGpu("GPU-1", duty, pods)) == index


def test_a_shared_gpu_is_one_with_all_its_pods():
    other = ref("other-1")
    nodes = nodes_of(sample("n", 1, 50, WEB), sample("n", 1, 50, other), sample("n", 1, 50, WEB))
    (row,) = shown(nodes)["rows"]
    (gpu,) = row["gpus"]
    assert gpu["duty"] == 50
    assert gpu["pods"] == [
        {"pod": "default/web-1", "deployment": "default/web"},
        {"pod": "default/other-1", "deployment": None},
    ]


def test_a_gpu_has_its_model_where_the_readings_have_it():
    known = sample("n", 1, 50)._replace(model="NVIDIA L4")
    (row,) = shown(nodes_of(known, sample("n", 2, 50)))["rows"]
    assert [gpu["model"] for gpu in row["gpus"]] == ["NVIDIA L4", None]


def test_a_held_gpu_is_counted_whatever_is_known_of_it(cluster):
    stale = nodes_of(sample("n", 1, 50, WEB, at=10.0), sample("n", 2, 50))
    assert shown(stale)["held"] == 1
    assert shown(cluster, search="nothing")["held"] == 4


def test_only_the_nodes_on_screen_have_details(cluster):
    details = {
        "node-a": {"GPU-1": GpuDetail(1e9, 2e9, 70_000.0, 61.0)},
        "node-b": {"GPU-1": GpuDetail(1e9)},
    }
    document = gpu_map(
        cluster,
        PageQuery(sort="name"),
        deployment_of=lambda _: None,
        details=details,
        detailed=["node-a", "node-d", "no-such-node"],
    )
    found = {
        row["node"]: [None if gpu["detail"] is None else gpu["detail"]["power"]]
        for row in document["rows"]
        for gpu in row["gpus"]
        if gpu["uuid"] == "GPU-1"
    }
    assert found == {"node-a": [70.0], "node-b": [None]}
    assert document["awaited"] == 1, "node-d has not been read"


def test_a_stale_reading_is_none():
    nodes = nodes_of(sample("n", 1, 50, WEB, at=80.0), sample("n", 2, 60, WEB, at=90.0))
    (row,) = shown(nodes)["rows"]
    assert [gpu["duty"] for gpu in row["gpus"]] == [None, 60]
    assert row["gpus"][0]["pods"][0]["pod"] == "default/web-1"


def test_gpus_stay_in_the_exporters_order():
    nodes = nodes_of(*(sample("n", number, 1) for number in (3, 1, 2)))
    (row,) = shown(nodes)["rows"]
    assert [gpu["uuid"] for gpu in row["gpus"]] == ["GPU-3", "GPU-1", "GPU-2"]


@pytest.fixture
def cluster():
    """Node a idle with 2 free, b busy, c that cannot be read, d not read yet."""
    nodes = nodes_of(
        sample("node-a", 0, 0)._replace(model="NVIDIA L4", uuid="GPU-77aa-0"),
        sample("node-a", 1, 0),
        sample("node-a", 2, 10, WEB),
        *(sample("node-b", n, 90, ref("other-9")) for n in range(3)),
    )
    failed = Node(gpus=(), read_unix_seconds=990.0, problem="gave no answer")
    return nodes | {"node-c": failed, "node-d": None}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param({}, "abcd", id="by name"),
        pytest.param({"sort": "busiest"}, "bacd", id="busiest"),
        pytest.param({"sort": "free"}, "abcd", id="free"),
        pytest.param({"sort": "trouble"}, "cabd", id="without a reading"),
        pytest.param({"search": "NODE-B"}, "b", id="by node, in any case"),
        pytest.param({"search": "other-9"}, "b", id="by pod"),
        pytest.param({"search": "default/web-1"}, "a", id="by namespace and pod"),
        pytest.param({"search": "node-a web"}, "a", id="by node and pod"),
        pytest.param({"search": "node-a other"}, "", id="not by half"),
        pytest.param({"search": "l4"}, "a", id="by model"),
        pytest.param({"search": "l4 web-1"}, "", id="model and pod of different GPUs"),
        pytest.param({"search": "GPU-77aa"}, "a", id="by the beginning of a UUID"),
        pytest.param({"search": "gpu-77"}, "", id="too little of a UUID"),
        pytest.param({"limit": 3, "offset": 3}, "d", id="second page"),
        pytest.param({"limit": 3, "offset": 99}, "d", id="beyond the last page"),
    ],
)
def test_which_nodes_are_shown(cluster, asked, found):
    assert "".join(row["node"][-1] for row in shown(cluster, **asked)["rows"]) == found


def test_the_whole_cluster_is_counted_whatever_is_shown(cluster):
    document = shown(cluster, search="node-b", limit=1)
    counts = {one["label"]: one["count"] for one in document["counts"] if one["count"]}
    assert counts == {"0 to 19 %": 1, "80 to 100 %": 3, "Free": 2}
    assert (document["nodes"], document["read"], document["failed"]) == (4, 3, 1)
    assert document["oldest"] == 990.0


def test_what_is_not_read_is_not_idle(cluster):
    rows = {row["node"]: row for row in shown(cluster)["rows"]}
    assert (rows["node-c"]["problem"], rows["node-c"]["gpus"]) == ("gave no answer", [])
    assert (rows["node-d"]["read"], rows["node-d"]["gpus"]) == (None, [])


def test_an_empty_cluster():
    document = shown({})
    assert [one["label"] for one in document["counts"]] == list(COUNT_LABELS)
    assert (document["rows"], document["oldest"]) == ([], None)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"sort": "age"}, "sort: 'age' is not one of name, busiest, free, trouble"),
        ({"limit": "101"}, "limit: '101' is not a whole number from 1 to 100"),
    ],
)
def test_a_wrong_address_says_what_is_allowed(params, expected):
    with pytest.raises(QueryError) as caught:
        parse_page(params, MAP_SORTS, most_rows=MAX_NODES)
    assert str(caught.value) == expected


def test_a_search_makes_no_text_of_each_gpu(monkeypatch):
    """Anybody may search as often as they like, in tens of thousands of GPUs."""
    nodes = nodes_of(sample("node-a", 1, 50.0, WEB), sample("node-a", 2, 50.0))
    monkeypatch.setattr(type(WEB), "__str__", lambda _: pytest.fail("a text is made"))
    assert shown(nodes, search="nothing")["found"] == 0
