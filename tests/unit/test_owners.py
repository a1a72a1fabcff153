# SPDX-License-Identifier: Apache-2.0
"""Which Deployment a pod belonged to: as the API or kube-state-metrics say, else by its name."""

import pytest

from scaler.model import ObjectRef
from scaler.replay.owners import Owners, Way

API, SERIES = Way.API, Way.KUBE_STATE_METRICS


def ref(name: str, kind: str = "") -> ObjectRef:
    return ObjectRef("prod", name, kind)


def owners() -> Owners:
    found = Owners()
    found.add_replica_sets([(ref("web-7d4b9c6f5"), "web"), (ref("odd"), "strange")], API)
    found.add_replica_sets([(ref("old-5b8c7d9f6"), "old"), (ref("odd"), "other")], SERIES)
    found.add_pods(
        [
            (ref("web-7d4b9c6f5-x2x4v"), "ReplicaSet", "web-7d4b9c6f5"),
            (ref("llm-0"), "StatefulSet", "llm"),
            (ref("train-abc"), "Job", "train"),
            (ref("crd-1"), "LeaderWorkerSet", "crd"),
        ],
        API,
    )
    found.add_pods(
        [
            (ref("gone-66d5c8f9b4-bcdfg"), "ReplicaSet", "gone-66d5c8f9b4"),
            (ref("bare-x"), "ReplicaSet", "aeiou"),
            (ref("llm-0"), "Job", "not this one"),
        ],
        SERIES,
    )
    return found


@pytest.mark.parametrize(
    ("pod", "owner", "way"),
    [
        pytest.param("web-7d4b9c6f5-x2x4v", ref("web"), API, id="of the API"),
        pytest.param("web-7d4b9c6f5-bbbbb", ref("web"), API, id="gone, with its ReplicaSet there"),
        pytest.param("odd-bbbbb", ref("strange"), API, id="a ReplicaSet without a hash"),
        pytest.param("old-5b8c7d9f6-bbbbb", ref("old"), SERIES, id="with its ReplicaSet's series"),
        pytest.param("gone-66d5c8f9b4-bcdfg", ref("gone"), SERIES, id="with its own series alone"),
        pytest.param("my-app-66d5c8f9b4-bcdfg", ref("my-app"), Way.NAME, id="by its name"),
        pytest.param("a-5-bcdfg", ref("a"), Way.NAME, id="by a short hash"),
        pytest.param("llm-0", ref("llm", "statefulsets.apps"), API, id="of a StatefulSet"),
        pytest.param("train-abc", ref("train", "jobs.batch"), API, id="of a Job"),
        pytest.param("crd-1", ref("crd", "leaderworkerset"), API, id="of something else"),
        pytest.param(
            "bare-x", ref("aeiou", "replicasets.apps"), SERIES, id="of a ReplicaSet of its own"
        ),
    ],
)
def test_the_owner_of_a_pod(pod, owner, way):
    found = owners()
    assert found.of(ref(pod)) == owner
    assert found.way(ref(pod)) is way
    assert found.ways() == {way: 1}


@pytest.mark.parametrize("pod", ["web", "llm-1", "web-vowel-aeiou", "postgres-bcdfg", "x-bcdfg"])
def test_nothing_tells_the_owner_of_other_pods(pod):
    found = owners()
    assert found.of(ref(pod)) is None
    assert not found.ways()


def test_names_of_another_namespace_tell_nothing():
    assert owners().of(ObjectRef("dev", "odd-bbbbb")) is None
