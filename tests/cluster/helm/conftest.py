# SPDX-License-Identifier: Apache-2.0
"""A control plane of its own: cluster-wide names of the chart are taken on the shared one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.cluster.controlplane import running_control_plane
from tests.cluster.helm.releasing import Cluster, kinds_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MADE_IN_EVERY_NAMESPACE = ("ServiceAccount {} default", "ConfigMap {} kube-root-ca.crt")


@pytest.fixture(scope="package")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane on which nothing of ours was ever installed."""
    folder = tmp_path_factory.mktemp("helm")
    (folder / "plane").mkdir()
    with running_control_plane(folder / "plane") as plane:
        yield Cluster(plane=plane, folder=folder, kinds=kinds_of(plane))


@pytest_asyncio.fixture
async def cluster(fresh: Cluster) -> AsyncIterator[Cluster]:
    """The control plane, which every test leaves as it found it."""
    before = await settled(fresh)
    yield fresh
    fresh.helm("uninstall", "gpu-scaler", "--namespace=gpu-scaler", "--ignore-not-found")
    fresh.plane.kubectl("delete", "namespace", "gpu-scaler", "--ignore-not-found", "--wait=false")
    await until_left(fresh, before)


async def settled(cluster: Cluster) -> set[str]:
    """Return what there is once the controllers have made what they make anyway."""

    def missing() -> set[str]:
        found = cluster.objects()
        namespaces = {one.split()[2] for one in found if one.startswith("Namespace ")}
        return {
            made.format(name) for name in namespaces for made in MADE_IN_EVERY_NAMESPACE
        } - found

    async def complete() -> bool:
        return not await asyncio.to_thread(missing)

    await until(complete, what="every namespace has what all of them get")
    return await asyncio.to_thread(cluster.objects)


async def until_left(cluster: Cluster, wanted: set[str]) -> None:
    """Wait until there is nothing but what is wanted, and all of that."""
    different: set[str] = set()

    async def same() -> bool:
        found = await asyncio.to_thread(cluster.objects)
        different.clear()
        different.update(found ^ wanted)
        return not different

    try:
        # The namespace controller tries again after up to 60 s.
        await until(same, deadline_seconds=100)
    except AssertionError:
        msg = f"left behind, or gone: {sorted(different)}"
        raise AssertionError(msg) from None
