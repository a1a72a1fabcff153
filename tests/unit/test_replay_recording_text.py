# SPDX-License-Identifier: Apache-2.0
"""Recordings as a document: what is written is read again, and what is wrong is named."""

from __future__ import annotations

import codecs
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.proposals import SATURATING_METRICS
from scaler.model import TOTAL_METRICS, Metric, ObjectRef
from scaler.replay import recording_text
from scaler.replay.model import Recording
from scaler.replay.recording_text import (
    RecordingTextError,
    read_recordings,
    recordings_text,
)
from tests.unit.replay.recordings import recorded_metric, with_first

RECORDING = Recording(
    ref=ObjectRef("prod", "chat"),
    metrics=(recorded_metric((63_000, None, 100_000), floor=(False, False, True)),),
    begun_unix_seconds=1_700_000_000.25,
    step_seconds=30.0,
    replicas=(1, None, 1),
    gpus_per_replica=2,
    gpu_model="NVIDIA H100 80GB HBM3",
    start_seconds=41.5,
    notes=("Pod chat-7d4b-x2x has no data for 30s.",),
    annotations={"gpu-scaler/target-duty-cycle": "60"},
    targets=("40", "50"),
)
NAMES = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=20)


@st.composite
def recordings(draw):
    points = draw(st.integers(2, 8))
    metrics = draw(
        st.lists(st.sampled_from(Metric), min_size=1, max_size=3, unique=True).filter(
            lambda found: len(TOTAL_METRICS.intersection(found)) < 2
        )
    )

    def series(values):
        return tuple(draw(st.lists(values, min_size=points, max_size=points)))

    def most(metric):
        return 100_000 if metric in SATURATING_METRICS else 10**18

    return Recording(
        ref=ObjectRef(draw(NAMES), draw(NAMES), draw(st.sampled_from(["", "statefulsets.apps"]))),
        metrics=tuple(
            recorded_metric(
                (0, *series(st.none() | st.integers(0, most(metric)))[1:]),
                metric,
                series(st.booleans()),
            )
            for metric in metrics
        ),
        begun_unix_seconds=draw(st.floats(0, 1e11)),
        step_seconds=draw(st.floats(1e-3, 3600)),
        replicas=series(st.none() | st.integers(1, 100_000)),
        gpus_per_replica=draw(st.integers(1, 16)),
        gpu_model=draw(st.none() | st.just("NVIDIA H100")),
        start_seconds=draw(st.none() | st.floats(0, 3600)),
        notes=tuple(draw(st.lists(NAMES, max_size=2))),
        annotations=draw(st.dictionaries(NAMES.map("gpu-scaler/{}".format), st.text(max_size=9))),
        targets=tuple(draw(st.lists(NAMES, max_size=2))),
    )


def written(*many):
    return recordings_text(many, gpu_scaler_version="1.2.3")


@given(st.lists(recordings(), min_size=1, max_size=3, unique_by=lambda one: one.ref))
def test_what_is_written_is_read_again(many):
    assert read_recordings(written(*many)) == tuple(many)


def test_the_document_names_units_and_its_version():
    document = json.loads(written(RECORDING))
    assert document.pop("recordings") == [
        {
            "namespace": "prod",
            "name": "chat",
            "kind": "",
            "metrics": [
                {
                    "metric": "duty_cycle",
                    "demand_milli": [63_000, None, 100_000],
                    "floor": [0, 0, 1],
                }
            ],
            "begun_unix_seconds": 1_700_000_000.25,
            "step_seconds": 30.0,
            "gpus_per_replica": 2,
            "gpu_model": "NVIDIA H100 80GB HBM3",
            "start_seconds": 41.5,
            "notes": ["Pod chat-7d4b-x2x has no data for 30s."],
            "annotations": {"gpu-scaler/target-duty-cycle": "60"},
            "targets": ["40", "50"],
            "replicas": [1, None, 1],
        }
    ]
    assert document == {"gpu_scaler_recording": 2, "gpu_scaler_version": "1.2.3"}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("namespace", "", "namespace"),
        ("name", "x" * 254, "name"),
        ("name", "a\x1b[31m", "control character"),
        ("notes", ["\x07"], "control character"),
        ("notes", ["x"] * 101, "notes"),
        ("begun_unix_seconds", -1, "begun_unix_seconds"),
        ("step_seconds", 0, "step_seconds"),
        ("step_seconds", 86_400, "step_seconds"),
        ("step_seconds", "30", "step_seconds"),
        ("gpus_per_replica", 0, "gpus_per_replica"),
        ("replicas", [1, 2, -3], "replicas"),
        ("pods", [], "pods"),
        ("metrics", [], "metrics"),
        ("annotations", {"gpu-scaler/x": 1}, "annotations"),
        ("annotations", {"x" * 318: ""}, "annotations"),
        ("annotations", {"a\x1b[31m": ""}, "control character"),
        ("targets", ["1"] * 21, "targets"),
        ("targets", ["\x07"], "control character"),
    ],
)
def test_what_is_wrong_is_named(field, value, expected):
    document = json.loads(written(RECORDING))
    document["recordings"][0][field] = value
    with pytest.raises(RecordingTextError, match=expected):
        read_recordings(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("metric", "speed", "metric"),
        ("demand_milli", [1.5, None, 1], r"demand_milli\[0\]|demand_milli"),
        ("demand_milli", [1, -1, 2], "demand_milli"),
        ("demand_milli", [1, None, 100_100], r"demand of 100.1 at .*\[2\], and 1 pods"),
        ("demand_milli", [None] * 3, "no value in demand_milli"),
        ("demand_milli", [1, 2], "different lengths"),
        ("demand_milli", [10**19, 2, 3], "demand_milli"),
        ("floor", [0, 1, 2], "floor"),
        ("floor", [0, 1], r"different lengths at .*metrics\[1\]"),
        ("metric", "requests_waiting", "each may be there once"),
    ],
)
def test_what_is_wrong_with_a_metric_is_named(field, value, expected):
    waiting = recorded_metric((5, 6, 7), Metric.REQUESTS_WAITING)
    document = json.loads(written(replace(RECORDING, metrics=(waiting, *RECORDING.metrics))))
    document["recordings"][0]["metrics"][1][field] = value
    with pytest.raises(RecordingTextError, match=expected):
        read_recordings(json.dumps(document).encode())


def test_two_totals_are_refused():
    totals = tuple(recorded_metric((5, 6, 7), metric) for metric in sorted(TOTAL_METRICS))
    with pytest.raises(RecordingTextError, match="only one of query, queue"):
        read_recordings(written(replace(RECORDING, metrics=totals)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not a recording"),
        (b"\xff", "not a recording"),
        (b"[]", "not a recording"),
        (b"time,pod,value\n", "not a recording"),
        (b'{"gpu_scaler_recording": 1, "x": ' + b"[" * 100_000, "not a recording"),
        (b'{"gpu_scaler_recording": 3, "whatever": 1}', "version 3"),
        (written(), "recordings"),
        (written(RECORDING, RECORDING), r"second recording .*recordings\[1\]"),
        (
            written(replace(with_first(RECORDING, demand_milli=(), floor=()), replicas=())),
            "no points",
        ),
    ],
)
def test_another_document_is_refused(data, expected):
    with pytest.raises(RecordingTextError, match=expected):
        read_recordings(data)


def test_the_first_version_is_read_without_a_policy():
    document = json.loads(written(RECORDING)) | {"gpu_scaler_recording": 1}
    for name in ("annotations", "targets"):
        del document["recordings"][0][name]
    found = read_recordings(json.dumps(document).encode())
    assert found == (replace(RECORDING, annotations={}, targets=()),)


def test_a_byte_order_mark_is_no_part_of_it():
    assert read_recordings(codecs.BOM_UTF8 + written(RECORDING)) == (RECORDING,)


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 100), ("MAX_POINTS", 2)])
def test_a_document_beyond_the_limits_is_refused(monkeypatch, limit, value):
    monkeypatch.setattr(recording_text, limit, value)
    with pytest.raises(RecordingTextError, match=f"up to {value}"):
        read_recordings(written(RECORDING))
