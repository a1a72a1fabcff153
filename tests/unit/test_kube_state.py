# SPDX-License-Identifier: Apache-2.0
"""kube-state-metrics' series as Prometheus returns them, with and without honored labels."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.model import ObjectRef
from scaler.readings.prometheus.kube_state import (
    read_pod_owners,
    read_replica_sets,
    read_start_times,
)
from scaler.readings.prometheus.response import PromqlError, Result

HONORED = {"namespace": "prod", "pod": "web-1"}
EXPORTED = {
    "namespace": "monitoring",
    "pod": "kube-state-metrics-0",
    "exported_namespace": "prod",
    "exported_pod": "web-1",
}
WEB_1 = ObjectRef("prod", "web-1")


def vector(labels: dict[str, str], value: str = "1") -> Result:
    return Result(type="vector", rows=[{"metric": labels, "value": [0, value]}])


@pytest.mark.parametrize("labels", [HONORED, EXPORTED])
def test_labels_may_be_exported(labels):
    owner = labels | {"owner_kind": "ReplicaSet", "owner_name": "web-5b8c7d9f6"}
    assert list(read_pod_owners(vector(owner))) == [(WEB_1, "ReplicaSet", "web-5b8c7d9f6")]
    assert list(read_start_times(vector(labels, "42.5"))) == [(WEB_1, 42.5)]


def test_replica_sets():
    labels = {"namespace": "prod", "replicaset": "web-5b8c7d9f6", "owner_name": "web"}
    assert list(read_replica_sets(vector(labels))) == [(ObjectRef("prod", "web-5b8c7d9f6"), "web")]


def test_names_are_shown_on_terminals_and_written_to_files():
    labels = {
        "namespace": "prod",
        "pod": "web\x1b[2J",
        "owner_kind": "Job\n",
        "owner_name": "\x07x",
    }
    named = [(ObjectRef("prod", "web\ufffd[2J"), "Job", "\ufffdx")]
    assert list(read_pod_owners(vector(labels))) == named


@pytest.mark.parametrize("value", ["-1", "NaN", "+Inf", "1e9"])
def test_an_impossible_start_time_is_left_out(value):
    assert list(read_start_times(vector(HONORED, value))) == []


def test_a_row_without_a_pod_is_left_out():
    assert list(read_pod_owners(vector({"owner_kind": "Job", "owner_name": "x"}))) == []
    assert list(read_pod_owners(vector(HONORED))) == []


@pytest.mark.parametrize(
    "result",
    [
        Result(type="matrix", rows=[]),
        Result(type="vector", rows=[{"metric": HONORED}]),
        Result(type="vector", rows=[{"metric": 1, "value": [0, "1"]}]),
        Result(type="vector", rows=[{"metric": HONORED, "value": [0, "x"]}]),
        Result(type="vector", rows=["x"]),
    ],
)
def test_anything_else_is_refused(result: Any):
    with pytest.raises(PromqlError):
        list(read_start_times(result))
