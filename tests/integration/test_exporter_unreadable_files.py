# SPDX-License-Identifier: Apache-2.0
"""Files of the node that the system keeps from the exporter: what needs none of them goes on."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exporter.app import running
from exporter.processes.process_owner import ProcessOwners
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from tests.forbidding import CODES, forbidden, unprivileged
from tests.sharednode import (
    DEVICE_MEMORY,
    GIB,
    MEMORY,
    FakeNode,
    becomes,
    configured,
    nvml_on,
    one_gpu,
    process,
    values,
)

pytestmark = pytest.mark.usefixtures("frequent_listings")


@pytest.fixture
def node(tmp_path):
    return FakeNode(tmp_path)


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
@pytest.mark.parametrize(
    "kept",
    ["proc/1/cgroup", "proc/1", "proc/10/cgroup", "proc/10", "proc", "log/pods", "log"],
)
def test_what_is_kept_from_the_exporter_leaves_all_else(node, tmp_path, caplog, code, kept):
    """Only the containers' own parts are missing, and the log says once why."""
    node.process_of(10, "web")
    with nvml_on(node, "T4", "T4") as gpus:
        for number in (0, 1):
            gpus.driver.set_processes(number, [process(10, 2, 30)])
        with forbidden(tmp_path / kept, code):
            for _ in range(3):
                readings = gpus.readings()
                assert readings.unreadable_count == 0
                assert [one.memory_used_bytes for one in readings.devices] == [2 * GIB] * 2
                assert [one.uses for one in readings.devices] == [None, None]
        (record,) = [one for one in caplog.records if one.name.startswith("exporter.")]
        assert os.strerror(code) in vars(record)["error"]
        assert str(tmp_path / kept) in vars(record)["error"]
        readings = gpus.readings()
        assert [len(one.uses or ()) for one in readings.devices] == [1, 1]


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
def test_containers_that_cannot_be_told_apart_leave_pods_with_one_holder(
    node, tmp_path, caplog, code
):
    caplog.set_level(logging.INFO)
    node.process_of(10, "web")
    node.process_of(12, "batch")
    found = ProcessOwners(proc=node.proc, logs=node.logs)
    with forbidden(tmp_path / "log" / "containers", code):
        for _ in range(3):
            owned = [found.owner_of(pid) for pid in (10, 12)]
            assert [(one.pod_name, one.container_name) for one in owned if one] == [
                ("web", None),
                ("batch", None),
            ]
        assert found.problem() is None
    owner = found.owner_of(10)
    assert owner is not None
    assert owner.container_name == "main"
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


@pytest.fixture
def guarded_node():
    """A node whose cgroups, logs and first process only privileged users may look into."""
    with TemporaryDirectory(prefix="gpu-") as folder:
        root = Path(folder)
        root.chmod(0o777)
        node = FakeNode(root)
        node.process_of(10, "web")
        (root / "cgroup").mkdir()
        guarded = (node.proc / "1", node.logs / "pods", root / "cgroup")
        for one in guarded:
            one.chmod(0o000)
        yield node
        for one in guarded:
            one.chmod(0o700)


async def test_without_the_privilege_to_read_them_all_but_the_parts_is_there(guarded_node, caplog):
    """As uid 0 without capabilities, in whose way the owners and the modes of files stand."""
    root = guarded_node.proc.parent
    driver = one_gpu(process(10, 2))
    config = replace(
        configured(guarded_node, f"{root}/kubelet.sock"), cgroup_folder=f"{root}/cgroup"
    )
    with unprivileged():
        async with (
            SimulatedKubelet(driver, config.pod_resources_socket) as kubelet,
            running(config, bind(driver)) as started,
        ):
            kubelet.allocate("default", "web", "main", "nvidia.com/gpu", 1)
            url = "http://{}:{}/metrics".format(*started.address)
            await becomes(url, "nvidia_gpu_duty_cycle", {"web/main": 0})
            assert await values(url, DEVICE_MEMORY) == {"web/main": 2 * GIB}
            assert await values(url, MEMORY) == {}
    whys = [vars(one)["error"] for one in caplog.records if hasattr(one, "error")]
    assert len(whys) == 2, "the parts and the finished pods, once each"
    assert all("cannot be read: Permission denied" in one for one in whys)
