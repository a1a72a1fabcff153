# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter doctor: for each thing that can be wrong with a node, what it finds and advises."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.cli.config import ExporterConfig
from exporter.doctor.examination import examine
from exporter.doctor.finding import Level
from exporter.doctor.host import Host
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.binding import bind
from tests.doctored import VERSION, Node, findings, of
from tests.forbidding import CODES, forbidden

if TYPE_CHECKING:
    from collections.abc import Callable


# Any shared object that this machine can load.
A_LIBRARY = Path(sys.modules["_ctypes"].__file__ or "")
NO_PERMISSION, UNKNOWN = 4, 999


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "root")


async def test_a_node_where_all_is_well(node):
    node.module()
    node.pci("0000:01:00.0")
    with SimulatedDriver(["H100"]) as driver:
        found = await findings(driver, node)
        uuid = driver.gpus[0].uuid
        assert not driver.sessions
    assert {one.level for one in found} <= {Level.OK, Level.NOTE}
    assert [one.text for one in found[:3]] == [
        "libnvidia-ml.so.1 is loaded",
        f"{VERSION} answers",
        f"NVIDIA H100 80GB HBM3 {uuid}",
    ]


@pytest.mark.parametrize(
    ("prepare", "text", "fix"),
    [
        pytest.param(
            lambda _: None, "neither an NVIDIA GPU nor its driver", "nodeAffinity", id="no GPU"
        ),
        pytest.param(
            Node.module, "is not in this container", "runtimeClassName: nvidia", id="no runtime"
        ),
        pytest.param(
            lambda node: node.write("usr/lib64/libnvidia-ml.so.1", "not a library"),
            "exists but cannot be loaded",
            "different system",
            id="a library for a different system",
        ),
        pytest.param(
            lambda node: (
                (node.root / "usr/local/nvidia/lib64").mkdir(parents=True),
                (node.root / "usr/local/nvidia/lib64/libnvidia-ml.so.1").symlink_to(A_LIBRARY),
            ),
            "usr/local/nvidia/lib64, where the loader does not look",
            "usr/local/nvidia/lib64",
            id="GKE's folder mounted, LD_LIBRARY_PATH not set",
        ),
    ],
)
async def test_no_library(node, prepare: Callable[[Node], object], text, fix):
    prepare(node)
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.lacks_library = True
        found = await findings(driver, node)
    assert [one.step for one in found if one.level is Level.FAILURE] == ["library"]
    assert text in found[0].text
    assert fix in found[0].fix


@pytest.mark.parametrize(
    ("prepare", "break_driver", "text", "fix"),
    [
        pytest.param(
            lambda _: None,
            lambda driver: driver.faults.unload_driver(),
            "DRIVER_NOT_LOADED (Driver Not Loaded): no NVIDIA GPU is on the PCI bus",
            "nodeAffinity",
            id="no GPU",
        ),
        pytest.param(
            lambda node: (
                node.pci("0000:01:00.0", driver="vfio-pci"),
                node.pci("0000:02:00.0", driver=None),
                node.pci("0000:03:00.0", vendor="0x1002"),
            ),
            lambda driver: driver.faults.unload_driver(),
            "not loaded (0000:01:00.0: vfio-pci, 0000:02:00.0: no driver)",
            "install the driver",
            id="no driver",
        ),
        pytest.param(
            Node.module,
            lambda driver: driver.faults.unload_driver(),
            "nvidiactl cannot be opened: No such file or directory",
            "NVIDIA_VISIBLE_DEVICES=all",
            id="no devices",
        ),
        pytest.param(
            lambda node: (node.module(), node.devices()),
            lambda driver: driver.faults.fail("nvmlInitWithFlags", UNKNOWN),
            "although the kernel module 580.65.06 is loaded and its devices can be opened",
            "dmesg",
            id="unknown error",
        ),
        pytest.param(
            lambda node: node.module("590.10.01"),
            lambda driver: driver.replace_driver("590.10.01"),
            "LIB_RM_VERSION_MISMATCH",
            "delete the exporter's pod",
            id="driver replaced",
        ),
    ],
)
async def test_no_driver(node, prepare, break_driver, text, fix):
    prepare(node)
    with SimulatedDriver(["T4"]) as driver:
        binding = bind(driver)
        binding.nvmlInit()
        binding.nvmlShutdown()
        break_driver(driver)
        found = await examine(
            ExporterConfig(listen_host="127.0.0.1", listen_port=0, pod_resources_socket=""),
            binding=binding,
            host=Host(node.root),
            environment={},
            host_name="x",
        )
    library, problem, *rest = found
    assert library.level is Level.OK
    assert problem.level is Level.FAILURE
    assert text in problem.text
    assert fix in problem.fix
    assert Level.FAILURE not in {one.level for one in rest}


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("Open Kernel Module for x86_64", "580.65.06"),
        ("x86_64 Kernel Module", "535.183.01"),
        ("Kernel Module", "440.33"),
    ],
)
def test_the_kernel_modules_version(node, kind, version):
    node.module(version, kind)
    assert Host(node.root).kernel_module_version() == version


async def test_a_driver_that_is_being_replaced(node):
    node.module("590.10.01")
    with SimulatedDriver(["T4"]) as driver:
        (found,) = of("driver", await findings(driver, node))
    assert found.level is Level.WARNING
    assert found.text == "580.65.06 answers, the kernel module is 590.10.01"


async def test_gpus_that_are_missing_lost_or_poor(node):
    for number in range(4):
        node.pci(f"0000:0{number}:00.0")
    mig = GpuSpec(model="H100", mig_profiles=("1g.10gb",))
    with SimulatedDriver(["T4", "L4", mig]) as driver:
        driver.faults.lose(driver.gpus[0].uuid)
        driver.faults.fail("nvmlDeviceGetPowerUsage", UNKNOWN, uuid=driver.gpus[1].uuid)
        found = of("devices", await findings(driver, node))
        (instance,) = (mig.uuid for mig in driver.gpus[2].mig_devices if mig)
    assert [(one.level, one.text) for one in found] == [
        (Level.WARNING, "NVML shows 3 of the 4 NVIDIA GPUs on the PCI bus"),
        (Level.OK, f"NVIDIA L4 {driver.gpus[1].uuid}, without power"),
        (Level.OK, f"NVIDIA H100 80GB HBM3 {driver.gpus[2].uuid}"),
        (Level.OK, f"NVIDIA H100 80GB HBM3 MIG 1g.10gb {instance}"),
        (
            Level.FAILURE,
            "GPU 0 cannot be read: nvmlDeviceGetHandleByIndex: GPU_IS_LOST (GPU is lost)",
        ),
    ]


async def test_a_container_without_gpus(node):
    with SimulatedDriver([]) as driver:
        (found,) = of("devices", await findings(driver, node))
    assert found.level is Level.FAILURE
    assert "NVIDIA_VISIBLE_DEVICES=all" in found.fix


async def test_a_call_that_hangs_is_named(node, monkeypatch):
    monkeypatch.setattr("exporter.doctor.examination.GPUS_TIMEOUT_SECONDS", 2.0)
    with SimulatedDriver(["T4", "T4"]) as driver:
        driver.faults.hang("nvmlDeviceGetFanSpeed", uuid=driver.gpus[1].uuid)
        found = await findings(driver, node)
    assert found[0].text == "nvmlDeviceGetFanSpeed has not returned for 2 s"
    assert found[0].fix.startswith("GPU 1 hangs: ")
    assert len(found) > 1, "the other steps are checked all the same"


async def test_a_failure_that_nobody_thought_of_is_a_finding(node, monkeypatch):
    def fails(_host):
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(Host, "loaded_library", fails)
    with SimulatedDriver(["T4"]) as driver:
        found = await findings(driver, node)
    assert found[0].level is Level.FAILURE
    assert "KeyError: 'nobody thought of this'" in found[0].text
    assert len(found) > 1, "the other steps are checked all the same"


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
@pytest.mark.parametrize(
    ("kept", "step", "driver_is"),
    [
        ("root", "host", "well"),
        ("root/sys/bus/pci/devices", "host", "well"),
        ("root/sys/bus/pci/devices/0000:01:00.0/vendor", "host", "well"),
        ("root/proc/driver/nvidia/version", "host", "well"),
        ("root/dev", "host", "unloaded"),
        ("root/usr/lib64", "host", "absent"),
        ("cgroup", "finished", "well"),
        ("log", "finished", "well"),
        ("proc", "processes", "well"),
        ("pr", "kubelet", "well"),
    ],
)
async def test_a_file_that_cannot_be_read_is_a_finding(node, tmp_path, code, kept, step, driver_is):
    node.module()
    node.pci("0000:01:00.0")
    (tmp_path / "log" / "pods").mkdir(parents=True)
    with SimulatedDriver(["T4"]) as driver, forbidden(tmp_path / kept, code):
        driver.faults.lacks_library = driver_is == "absent"
        if driver_is == "unloaded":
            driver.faults.unload_driver()
        found = await findings(
            driver,
            node,
            cgroup_folder=str(tmp_path / "cgroup"),
            logs_folder=str(tmp_path / "log"),
            proc_folder=str(tmp_path / "proc"),
            pod_resources_socket=str(tmp_path / "pr" / "kubelet.sock"),
        )
    texts = [one.text for one in of(step, found)]
    assert any(os.strerror(code) in one and str(tmp_path / kept) in one for one in texts), texts
    assert {one.step for one in found} >= {"kubelet", "finished", "processes", "address"}
