# SPDX-License-Identifier: Apache-2.0
"""The GPU resources that a pod or a template requests, whatever its kind calls a template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cluster.decode import decode_workload
from scaler.cluster.gpu_request import MAX_RESOURCES, MAX_SELECTOR_LABELS, gpu_request
from scaler.model import GpuRequest

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.5gb"
NONE = GpuRequest()


def container(**resources: object) -> dict[str, object]:
    return {"name": "a", "resources": resources}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"containers": [container(limits={GPU: "1"})]}, GpuRequest((GPU,)), id="GPU"),
        pytest.param(
            {"containers": [container(requests={MIG: 2}, limits={MIG: 2, "cpu": "1"})]},
            GpuRequest((MIG,)),
            id="MIG",
        ),
        pytest.param(
            {
                "containers": [container(limits={GPU: 1}), container(limits={MIG: 1})],
                "nodeSelector": {"b": "2", "a": "1"},
            },
            GpuRequest((GPU, MIG), (("a", "1"), ("b", "2"))),
            id="two, and a selector",
        ),
        pytest.param(
            {"containers": [container()], "initContainers": [container(limits={GPU: 1})]},
            GpuRequest((GPU,)),
            id="while it starts",
        ),
        pytest.param(
            {"containers": [container(limits={GPU: 1, "rdma/hca": 1})], "resourceClaims": [{}]},
            GpuRequest((GPU,)),
            id="a GPU and something else",
        ),
        pytest.param({"containers": [container(limits={GPU: "0"})]}, NONE, id="0"),
        pytest.param({"containers": [container(limits={"cpu": "1"})]}, NONE, id="no device"),
        pytest.param({"containers": [container()], "resourceClaims": [{}]}, None, id="a claim"),
        pytest.param({"containers": [container(limits={"a.io/b": "1"})]}, None, id="any device"),
        pytest.param({"containers": []}, None, id="no containers"),
        pytest.param(None, None, id="no spec"),
    ],
)
def test_what_a_pod_requests(spec, expected):
    assert gpu_request(spec) == expected


def test_pods_that_request_the_same_share_one_object():
    assert gpu_request({"containers": [container(limits={GPU: 1})]}) is gpu_request(
        {"containers": [container(requests={GPU: 8})]}
    )


def test_what_it_keeps_is_bounded():
    many = {f"nvidia.com/mig-{n}": 1 for n in range(99)}
    labels = {f"label-{n}": "x" for n in range(99)}
    found = gpu_request({"containers": [container(limits=many)], "nodeSelector": labels})
    assert found is not None
    assert (len(found.resources), len(found.node_selector)) == (MAX_RESOURCES, MAX_SELECTOR_LABELS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(GPU),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "containers",
                    "initContainers",
                    "resources",
                    "limits",
                    "requests",
                    "nodeSelector",
                    GPU,
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_a_template_is_its_workload_is_known(template):
    raw = {
        "metadata": {
            "namespace": "prod",
            "name": "web",
            "uid": "u",
            "annotations": {"gpu-scaler/enabled": "true"},
        },
        "spec": {"template": template},
    }
    assert decode_workload(raw, "groups.example.com") is not None
    assert decode_workload(raw | {"spec": {"template": {"spec": template}}}) is not None
