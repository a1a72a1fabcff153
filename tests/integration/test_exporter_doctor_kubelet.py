# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter doctor: what it finds of the kubelet's socket, and advises."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from exporter.cli.config import ExporterConfig
from exporter.doctor.examination import examine
from exporter.doctor.finding import Level
from exporter.doctor.host import Host
from exporter.model import Collector
from simulator.driver import SimulatedDriver
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind


async def kubelet_findings(driver, socket_path, **changes):
    found = await examine(
        ExporterConfig(
            listen_host="127.0.0.1", listen_port=0, pod_resources_socket=socket_path, **changes
        ),
        binding=bind(driver),
        host=Host(Path(socket_path).parent / "none"),
        environment={},
        host_name="pod-x7k",
    )
    return [(one.level, one.text, one.fix) for one in found if one.step == "kubelet"]


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


async def test_what_the_kubelet_lists(socket_path):
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 2)
            ((level, text, _),) = await kubelet_findings(driver, socket_path)
            assert (level, text) == (Level.OK, "lists 2 GPU devices held by 1 containers")
            driver.faults.lose(driver.gpus[1].uuid)
            _, (level, text, _) = await kubelet_findings(driver, socket_path)
            assert level is Level.WARNING
            assert text == f"NVML does not show {driver.gpus[1].uuid}, which pods hold"


async def test_devices_whose_ids_do_not_say_which_gpus_they_are(socket_path):
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            kubelet.devices[:] = [
                replace(one, device_id=f"{one.uuid}-{number}")
                for one in kubelet.devices
                for number in range(10)
            ]
            kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 7)
            kubelet.claim("ns", "claims", "main", [("gpu.nvidia.com", "node", "gpu-0")])
            _, claimed, fractions = await kubelet_findings(driver, socket_path)
            assert claimed[0] is fractions[0] is Level.WARNING
            assert claimed[1].endswith("gpu.nvidia.com/node/gpu-0")
            assert "--dra" in claimed[2]
            assert fractions[1].endswith("(7 in all)")
            assert "--collectors=containers" in fractions[2]
            mended = await kubelet_findings(
                driver, socket_path, dra=True, collectors=frozenset({Collector.CONTAINERS})
            )
            assert [level for level, _, _ in mended] == [Level.OK]


async def test_a_renamed_resource_is_found_out(socket_path):
    with SimulatedDriver(["T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path, resource_name="corp.io/gpu-a") as kubelet:
            kubelet.allocate("ns", "pod", "main", "corp.io/gpu-a", 1)
            _, (level, text, fix) = await kubelet_findings(driver, socket_path)
            assert level is Level.WARNING
            assert "devices of corp.io/gpu-a are not treated as GPUs" in text
            flag, _, value = fix.rpartition(" ")[2].partition("=")
            assert flag == "--pod-resources.extra-names"
            mended = await kubelet_findings(driver, socket_path, extra_resource_names=(value,))
            assert [level for level, _, _ in mended] == [Level.OK]


@pytest.mark.parametrize(
    ("code", "level", "text"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Level.WARNING, "already answering too many clients"),
        (grpc.StatusCode.UNIMPLEMENTED, Level.FAILURE, "UNIMPLEMENTED: why"),
    ],
)
async def test_a_kubelet_that_refuses(socket_path, code, level, text):
    with SimulatedDriver(["T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            kubelet.fail(code, "why")
            ((found, message, _),) = await kubelet_findings(driver, socket_path)
    assert found is level
    assert text in message


@pytest.mark.parametrize("answer", [b"\x0a\x05\x0a\x03\xff\xfe\xfd", b"\x0a\x7f", b"\xff" * 20])
async def test_a_kubelet_whose_answer_does_not_decode(socket_path, answer):
    with SimulatedDriver(["T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            kubelet.answer_bytes = answer
            ((level, text, _),) = await kubelet_findings(driver, socket_path)
    assert level is Level.FAILURE
    assert "INTERNAL: the answer cannot be used" in text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(lambda path: path.parent.rmdir(), "is not there", id="not mounted"),
        pytest.param(lambda _: None, "No such file or directory", id="no socket"),
        pytest.param(lambda path: path.write_text(""), "is not a socket", id="a file"),
        pytest.param(left_behind, "Connection refused", id="left behind"),
    ],
)
async def test_no_kubelet(tmp_path, make, text):
    path = tmp_path / "pr" / "kubelet.sock"
    path.parent.mkdir()
    make(path)
    with SimulatedDriver(["T4"]) as driver:
        ((level, message, fix),) = await kubelet_findings(driver, str(path))
    assert level is Level.FAILURE
    assert text in message
    assert "mount" in fix
