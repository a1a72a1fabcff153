# SPDX-License-Identifier: Apache-2.0
"""Recordings without names: what goes, and what stays because a replay needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.model import ObjectRef, ScalingPolicy
from scaler.policy.annotations import (
    ANNOTATIONS,
    BEHAVIOR,
    ENABLED,
    METRICS_PATH,
    METRICS_PORT,
    METRICS_SCHEME,
    POD_METRIC,
    QUERY,
    QUEUE,
    SCHEDULE,
    SERVER,
)
from scaler.policy.parse import parse_policy
from scaler.replay.anonymized import KEPT, WRONG, anonymized
from scaler.replay.recording_text import read_recordings, recordings_text
from tests.unit.replay.recordings import recording

RECORDING = replace(
    recording((1, 2)),
    ref=ObjectRef("prod", "chat"),
    gpu_model="NVIDIA H100",
    notes=("Pod chat-x2x has no data.",),
)
SECRET = "acme"
WHERE = {QUERY, QUEUE, POD_METRIC, METRICS_PORT, METRICS_PATH, METRICS_SCHEME, ENABLED}
"""Annotations that a replay does without."""


def nameless(annotations: dict[str, str]) -> dict[str, str]:
    (found,) = anonymized([replace(RECORDING, annotations=annotations)])
    return dict(found.annotations)


def test_names_become_numbers_and_the_same_name_the_same_number():
    refs = [
        ObjectRef("prod", "chat"),
        ObjectRef("prod", "embed", "statefulsets.apps"),
        ObjectRef("test", "chat", "engines.acme.example"),
    ]
    found = anonymized(replace(RECORDING, ref=ref) for ref in refs)
    assert [one.ref for one in found] == [
        ObjectRef("namespace-1", "deployment-1"),
        ObjectRef("namespace-1", "deployment-2", "statefulsets.apps"),
        ObjectRef("namespace-2", "deployment-3", "workloads.kind-1"),
    ]
    text = written(found).decode()
    assert not [name for name in ("prod", "chat", "embed", "test", "acme") if name in text]
    assert "H100" in text
    assert found[0].metrics == RECORDING.metrics


def test_anonymized_recordings_can_be_read_again():
    found = anonymized([RECORDING, replace(RECORDING, ref=ObjectRef("a", "b", "c.d"), notes=())])
    assert read_recordings(written(found)) == found


def written(found):
    return recordings_text(found, gpu_scaler_version="1")


def test_each_annotation_is_kept_or_left_out_on_purpose():
    assert {one.name for one in ANNOTATIONS} == KEPT | WHERE
    assert KEPT.isdisjoint(WHERE)


@pytest.mark.parametrize("name", [*(one.name for one in ANNOTATIONS), "gpu-scaler/unknown"])
@pytest.mark.parametrize(
    "text", [SECRET, f"[{SECRET}", f"{{{SECRET}: 1}}", f"[{{from: {SECRET}}}]"]
)
def test_no_annotation_holds_a_name_and_a_wrong_one_stays_wrong(name, text):
    found = nameless({name: text})
    assert found == ({name: WRONG} if name in KEPT else {})
    problems = parse_policy(found, query_supported=True)
    assert not isinstance(problems, ScalingPolicy)
    wrong = [one.annotation for one in problems if one.is_form and one.value is not None]
    assert wrong == list(found)


def test_a_behavior_and_a_schedule_have_no_comments():
    texts = {
        BEHAVIOR: f"# for {SECRET}\nscaleDown:\n  tolerance: 0.2 # {SECRET}\n",
        SCHEDULE: f'- {{from: "07:30", to: "18:00", timezone: UTC, min: 2}} # {SECRET}\n',
        "gpu-scaler/max-replicas": "9",
        "gpu-scaler/target-duty-cycle": "60",
        SERVER: "vllm",
    }
    found = nameless(texts)
    assert found.keys() == texts.keys()
    assert SECRET not in str(found)
    policies = [parse_policy(one, query_supported=True) for one in (texts, found)]
    assert isinstance(policies[0], ScalingPolicy)
    assert policies[0] == policies[1]
