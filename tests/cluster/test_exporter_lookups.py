# SPDX-License-Identifier: Apache-2.0
"""--dra and --pod-labels on the real API server, with the rights of the shipped roles."""

from __future__ import annotations

import contextlib
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from exporter.kubeapi.client import METADATA_ONLY, ApiClient, KubeApiError
from exporter.kubeapi.devices import ClaimedDevices
from exporter.kubeapi.pod_labels import published_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

UUID = "GPU-8f3cdef0-5d2b-4c5a-9d43-3f1f6c6d2a10"
ROLES = ("exporter-dra-role.yaml", "exporter-pod-labels-role.yaml")
DAEMONSET = Path(__file__).resolve().parents[2] / "daemonset"


@pytest.fixture
def folder(installed, tmp_path):
    """What the kubelet mounts into a pod of the exporter that has its token."""
    kubeconfig = yaml.safe_load(installed.kubeconfig_for("gpu-exporter/gpu-exporter").read_text())
    (tmp_path / "token").write_text(kubeconfig["users"][0]["user"]["token"])
    authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority"]
    (tmp_path / "ca.crt").write_bytes(Path(authority).read_bytes())
    assert ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    return tmp_path


@pytest.fixture
async def client(installed, folder):
    made = ApiClient(installed.url, folder)
    yield made
    await made.close()


@pytest.fixture
def roles(installed):
    for name in ROLES:
        applied = installed.kubectl("apply", "--server-side", "-f", DAEMONSET / name)
        assert applied.returncode == 0, applied.stderr
    yield
    for name in ROLES:
        installed.kubectl("delete", "-f", DAEMONSET / name)


@contextlib.contextmanager
def created(plane, path, body):
    made = plane.request("POST", path, body)
    try:
        yield made
    finally:
        plane.request("DELETE", f"{path}/{made['metadata']['name']}")


def resource_slice(name, node, uuid, *, driver="gpu.nvidia.com"):
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0", "attributes": {"uuid": {"string": uuid}}}],
        },
    }


@pytest.mark.usefixtures("roles")
async def test_the_slices_of_the_node_tell_the_uuids(installed, client):
    path = "/apis/resource.k8s.io/v1/resourceslices"
    found: list[Mapping[str, str]] = []
    errors: list[str] = []
    devices = ClaimedDevices(
        client, node_name="here", unmatched=tuple, publish=found.append, on_error=errors.append
    )
    with (
        created(installed, path, resource_slice("here", "here", UUID)),
        created(installed, path, resource_slice("there", "there", "GPU-of-another-node")),
        created(installed, path, resource_slice("nic", "here", "x", driver="nic.example.com")),
    ):
        await devices.refresh()
    assert errors == []
    assert found == [{"gpu.nvidia.com/here/gpu-0": UUID}]


@pytest.mark.usefixtures("roles")
async def test_the_labels_of_a_pod(installed, client):
    pods = "/api/v1/namespaces/default/pods"
    pod = {
        "metadata": {"name": "serving", "labels": {"team": "a", "other": "b"}},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    with created(installed, pods, pod):
        document = await client.get(f"{pods}/serving", accept=METADATA_ONLY)
    assert document["kind"] == "PartialObjectMetadata"
    assert published_labels(document, re.compile("team")) == {"label_team": "a"}


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pods",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/nodes",
        "/apis/resource.k8s.io/v1/resourceclaims",
    ],
)
async def test_nothing_else_is_allowed(client, path):
    with pytest.raises(KubeApiError) as refused:
        await client.get(path)
    assert refused.value.status == 403


async def test_without_the_roles_nothing_is(client):
    for path in ("/apis/resource.k8s.io/v1/resourceslices", "/api/v1/namespaces/default/pods/x"):
        with pytest.raises(KubeApiError) as refused:
            await client.get(path)
        assert refused.value.status == 403
