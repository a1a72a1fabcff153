# SPDX-License-Identifier: Apache-2.0
"""The test bed's fixtures: one real control plane for all tests of the run.

Its logs lie in a temporary folder; when a test that uses it fails, they are copied to
build/cluster-logs/ and the failure says where.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scaler.kube.client import KubeClient
from tests.cluster.controlplane import ControlPlane, running_control_plane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

ROOT = Path(__file__).parents[2]
KEPT_LOGS = ROOT / "build" / "cluster-logs"
NEEDED = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
LOGS = pytest.StashKey[Path]()
MARKS_PODS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: gpu-scaler-scale-down-pods}
rules:
  - {apiGroups: [""], resources: [pods/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: gpu-scaler-scale-down-pods}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: gpu-scaler-scale-down-pods}
subjects: [{kind: ServiceAccount, name: gpu-scaler, namespace: gpu-scaler}]
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            for program in NEEDED:
                item.add_marker(pytest.mark.needs(program))


@pytest.fixture(scope="session")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ControlPlane]:
    """The control plane, started for the first test that asks for it."""
    folder = tmp_path_factory.mktemp("control-plane")
    request.config.stash[LOGS] = folder / "logs"
    with running_control_plane(folder) as plane:
        yield plane


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with our namespaces, accounts and rights, without our workloads."""
    control_plane.install()
    return control_plane


@pytest.fixture
async def admin(control_plane: ControlPlane) -> AsyncIterator[KubeClient]:
    """A client that may do everything, for what the test itself looks at and changes."""
    async with await KubeClient.load(str(control_plane.admin)) as client:
        yield client


@pytest.fixture
async def namespace(admin: KubeClient) -> AsyncIterator[str]:
    """A new namespace, deleted after the test with everything in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    await admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    await admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
async def right(installed: ControlPlane) -> AsyncIterator[None]:
    """The scaler's right to mark the pods of a scale-down, as the chart gives it."""
    await asyncio.to_thread(installed.apply, MARKS_PODS)
    yield
    for kind in ("clusterrolebinding", "clusterrole"):
        await asyncio.to_thread(installed.kubectl, "delete", kind, "gpu-scaler-scale-down-pods")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    logs = item.config.stash.get(LOGS, None)
    if report.failed and logs is not None:
        kept = KEPT_LOGS / "".join(c if c.isalnum() else "-" for c in item.name)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(logs, kept)
        report.sections.append(("Logs of the control plane", f"They are kept in {kept}"))
    return report
