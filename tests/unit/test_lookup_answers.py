# SPDX-License-Identifier: Apache-2.0
"""What the exporter takes from answers of the Kubernetes API: claimed devices and pod labels."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kubeapi.devices import device_uuids
from exporter.kubeapi.pod_labels import MAX_LABELS, published_labels
from tests.kubeapi import DRIVER, NODE, pod_metadata, resource_slice


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param([resource_slice({"gpu-0": "GPU-a"})], {"gpu-0": "GPU-a"}, id="plain"),
        pytest.param(
            [
                resource_slice({"gpu-0": "GPU-old", "gpu-1": "GPU-gone"}),
                resource_slice({"gpu-0": "GPU-new"}, generation=2),
            ],
            {"gpu-0": "GPU-new"},
            id="an older generation of the pool",
        ),
        pytest.param(
            [resource_slice({"gpu-0": "GPU-a"}), resource_slice({"gpu-1": "GPU-b"})],
            {"gpu-0": "GPU-a", "gpu-1": "GPU-b"},
            id="a pool of two slices",
        ),
        pytest.param([resource_slice({"gpu-0": "x"}, driver="compute-domain")], {}, id="another"),
        pytest.param(
            [{"spec": {"driver": DRIVER, "devices": [{"name": "gpu-0-mig-1g.5gb-0"}]}}],
            {},
            id="an instance that is not made yet has no UUID",
        ),
    ],
)
def test_which_devices_slices_tell(items, expected):
    assert device_uuids({"items": items}) == {
        f"{DRIVER}/{NODE}/{name}": uuid for name, uuid in expected.items()
    }


KEYS = (
    *("items", "spec", "driver", "pool", "devices", "attributes", "uuid", "string", "basic"),
    *("generation", "name", "metadata", "labels", DRIVER),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(anything)
def test_any_answer_is_devices_and_labels_or_none(document):
    assert isinstance(device_uuids(document), dict)
    assert isinstance(published_labels(document, re.compile(".*")), dict)


@pytest.mark.parametrize(
    ("labels", "pattern", "expected"),
    [
        pytest.param({"a": "1", "ab": "2"}, "a", {"label_a": "1"}, id="matched as a whole"),
        pytest.param({"a/b": "1", "a.b": "2"}, ".*", {"label_a_b": "2"}, id="the first by name"),
        pytest.param({}, ".*", {}, id="none"),
        pytest.param(
            {f"l{number:02}": "" for number in range(50)},
            ".*",
            {f"label_l{number:02}": "" for number in range(MAX_LABELS)},
            id="bounded",
        ),
    ],
)
def test_which_labels_are_published(labels, pattern, expected):
    assert published_labels(pod_metadata(**labels), re.compile(pattern)) == expected
