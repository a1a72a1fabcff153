# SPDX-License-Identifier: Apache-2.0
"""The chart's admission policy on the real API server, beside the scaler's own parser."""

from __future__ import annotations

import asyncio
import json
from urllib.error import HTTPError

import pytest

from scaler.model import ScalingPolicy
from scaler.policy.annotations import PREFIX
from scaler.policy.parse import parse_policy
from tests.chart import objects
from tests.unit.test_places_of_annotations import GOOD_VALUES
from tests.waiting import until

pytestmark = pytest.mark.needs("helm")
POLICY = ("--set=admissionPolicy.enabled=true",)
NEEDED = {"enabled": "true", "max-replicas": "10", "target-duty-cycle": "40"}
RIGHT = [
    {},
    {"min-replicas": "0010", "max-replicas": "2147483647"},
    {"min-replicas": "0", "query": "sum(x)", "target-query": "1P", "activation-threshold": "0.5"},
    {"target-duty-cycle": "99.9e0", "behavior": '{"scaleUp": {"tolerance": 0}}'},
    {"target-memory-used-bytes": "20Gi", "target-power-usage-milliwatts": "250k"},
    {"target-temperature-celsius": "+80.", "target-kv-cache-percent": "500m"},
    {"pod-metric": 'rate(x_total{a="b"})', "target-pod-metric": "10"},
    {"queue": "http://gateway:8000 queued + running", "target-requests": "4"},
    {"server": "vllm", "metrics-port": "http-metrics", "metrics-scheme": "https"},
    {"server": "auto", "metrics-port": "65535", "metrics-path": "/a_b/~c.d"},
    {"window": "1m30s", "cooldown": "0", "ready-age": "1h"},
    {"window": "3600000000µs", "cooldown": ".5h", "ready-age": "000000000000000000001.h"},
    {"window": "3600000000000ns", "cooldown": "59m59s999ms"},
    {"priority": "-1000000000", "paused": "true", "dry-run": "false"},
    {
        "scale-down-pods": "idlest",
        "scale-down-max-busy": "100%",
        "scale-down-patience": "10m",
    },
    {"schedule": "- {days: Mon-Fri, from: '08:00', timezone: Europe/Berlin, min: 2}"},
]
WRONG = [
    {"max-replica": "10"},
    {"enabled": "yes"},
    {"max-replicas": "0"},
    {"max-replicas": "ten"},
    {"max-replicas": "99999999999999999999"},
    {"max-replicas": "2147483648"},
    {"min-replicas": "-1"},
    {"min-replicas": "11"},
    {"target-duty-cycle": "40%"},
    {"target-duty-cycle": "100"},
    {"target-duty-cycle": "0"},
    {"target-memory-used-bytes": "20GB"},
    {"target-memory-used-bytes": "2Pi"},
    {"target-temperature-celsius": "201"},
    {"query": "sum(x)"},
    {"target-query": "5"},
    {"query": " ", "target-query": "5"},
    {"query": "x" * 8193, "target-query": "5"},
    {"pod-metric": "x"},
    {"pod-metric": "", "target-pod-metric": "10"},
    {"server": "vlm"},
    {"metrics-port": "0"},
    {"metrics-port": "70000"},
    {"metrics-port": "HTTP"},
    {"metrics-path": "metrics"},
    {"metrics-scheme": "ftp"},
    {"queue": "gateway:8000"},
    {"window": "5"},
    {"window": "5 minutes"},
    {"window": "2h"},
    {"window": "99999999999999999999h"},
    {"window": "-1s"},
    {"priority": "1000000001"},
    {"priority": "high"},
    {"scale-down-pods": "busiest"},
    {"scale-down-max-busy": "10", "scale-down-pods": "idlest"},
    {"scale-down-max-busy": "101%", "scale-down-pods": "idlest"},
    {"dry-run": "True"},
]


def named(values):
    return {f"{PREFIX}{name}": value for name, value in values.items()}


def deployment(annotations, *, name="tried", namespace="team-a"):
    labels = {"app": name}
    container = {"name": "c", "image": "registry.example/c"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def namespace(name, annotations):
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


@pytest.fixture(scope="module")
def plane(fresh):
    """The API server with the policy and two namespaces; one has defaults."""
    made = [one for one in objects(*POLICY) if one["kind"].startswith("ValidatingAdmission")]
    assert len(made) == 2
    plane = fresh.plane
    plane.apply(json.dumps(namespace("team-a", {})))
    defaults = named({"max-replicas": "3", "target-duty-cycle": "40"})
    plane.apply(json.dumps(namespace("with-defaults", defaults)))
    # It was there before the policy.
    plane.apply(json.dumps(deployment(named({"enabled": "true", "old": "x"}), name="old")))
    for one in made:
        plane.apply(json.dumps(one))

    async def enforced():
        return "old" in await asyncio.to_thread(complaint, plane, deployment(WRONG_NAME))

    asyncio.run(until(enforced, what="the API server enforces the policy"))
    yield plane
    for one in reversed(made):
        plane.kubectl("delete", one["kind"], one["metadata"]["name"])
    # Until they are gone: the next test sees what there is.
    plane.kubectl("delete", "namespace", "team-a", "with-defaults", "--timeout=100s")


WRONG_NAME = named({**NEEDED, "old": "x"})


def complaint(plane, one):
    """Write without changing anything; return the refusal, empty if there is none."""
    metadata = one["metadata"]
    try:
        if one["kind"] == "Namespace":
            path = f"/api/v1/namespaces/{metadata['name']}?dryRun=All"
            plane.request("PATCH", path, {"metadata": {"annotations": metadata["annotations"]}})
        else:
            path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments?dryRun=All"
            plane.request("POST", path, one)
    except HTTPError as refused:
        text = json.loads(refused.read())["message"]
        assert "ValidatingAdmissionPolicy" in text, text
        # The cause is a validation, not an error within one.
        assert "resulted in error" not in text, text
        return text
    return ""


def parsed(values):
    return isinstance(parse_policy(named(values), query_supported=True), ScalingPolicy)


@pytest.mark.parametrize("values", RIGHT, ids=str)
def test_what_the_scaler_understands_is_admitted(plane, values):
    values = NEEDED | values
    assert parsed(values)
    assert complaint(plane, deployment(named(values))) == ""


def test_every_annotation_is_admitted(plane):
    assert complaint(plane, deployment(GOOD_VALUES)) == ""


@pytest.mark.parametrize("values", WRONG, ids=lambda one: str(one)[:60])
def test_what_is_refused_is_named(plane, values):
    assert not parsed(NEEDED | values)
    found = complaint(plane, deployment(named(NEEDED | values)))
    assert any(f"{PREFIX}{name}" in found for name in values)


@pytest.mark.parametrize("missing", ["max-replicas", "target-duty-cycle"])
def test_what_is_missing_may_be_on_the_namespace(plane, missing):
    values = {name: value for name, value in NEEDED.items() if name != missing}
    assert f"{PREFIX}{missing}" in complaint(plane, deployment(named(values)))
    assert complaint(plane, deployment(named(values), namespace="with-defaults")) == ""


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"max-replicas": "5"}, ""),
        ({"max-replicas": "five"}, f"{PREFIX}max-replicas"),
        ({"max-replica": "5"}, f"{PREFIX}max-replica"),
        ({"enabled": "true"}, f"{PREFIX}enabled"),
    ],
)
def test_the_defaults_of_a_namespace(plane, values, refused):
    found = complaint(plane, namespace("team-a", named(values)))
    assert (refused in found) if refused else (found == "")


def test_what_is_not_opted_in_is_nobodys_business(plane):
    for values in ({"max-replicas": "ten"}, {"enabled": "false", "max-replicas": "ten"}):
        assert complaint(plane, deployment(named(values))) == ""


def test_an_object_with_an_old_mistake_can_be_changed_elsewhere(plane):
    flags = ("--namespace=team-a", "--dry-run=server", "deployment", "old")
    assert plane.kubectl("annotate", *flags, "note=new").returncode == 0
    assert plane.kubectl("scale", *flags, "--replicas=1").returncode == 0
    done = plane.kubectl("annotate", *flags, f"{PREFIX}max-replicas=5")
    assert done.returncode != 0
    assert f"{PREFIX}old is not a gpu-scaler annotation" in done.stderr
