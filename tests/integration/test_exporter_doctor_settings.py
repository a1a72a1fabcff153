# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter doctor: what it finds in settings, and its report."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

import pytest

from exporter.doctor.finding import Level, failure, note, ok, render, warning
from exporter.model import Collector
from exporter.processes.process_owner import ProcessOwners
from simulator.driver import SimulatedDriver
from tests.doctored import Node, findings, of
from tests.exporting import exporter
from tests.waiting import until


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "root")


@pytest.mark.parametrize(
    ("environment", "host_name", "level"),
    [
        ({}, "node-1", Level.OK),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "node-1", Level.WARNING),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "gpu-exporter-x7k2p", Level.OK),
    ],
)
async def test_the_nodes_name(node, environment, host_name, level):
    with SimulatedDriver(["T4"]) as driver:
        found = await findings(driver, node, environment=environment, host_name=host_name)
    (name,) = of("node name", found)
    assert name.level is level


@pytest.mark.parametrize(
    ("problem", "collectors", "level"),
    [
        pytest.param("it needs hostPID", frozenset(), Level.NOTE, id="not asked for"),
        pytest.param(
            "it needs hostPID", frozenset({Collector.CONTAINERS}), Level.FAILURE, id="asked for"
        ),
        pytest.param(None, frozenset({Collector.CONTAINERS}), Level.OK, id="given"),
    ],
)
async def test_the_nodes_processes(node, monkeypatch, problem, collectors, level):
    monkeypatch.setattr(ProcessOwners, "problem", lambda _: problem)
    with SimulatedDriver(["T4"]) as driver:
        (found,) = of("processes", await findings(driver, node, collectors=collectors))
    assert found.level is level
    assert (problem or "can tell") in found.text


async def test_the_address(node):
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:

            async def address():
                (found,) = of(
                    "address", await findings(driver, node, listen_port=reader.exporter.address[1])
                )
                return found

            await until(reader.ready)
            assert (await address()).text.endswith("is in use by an exporter that is ready")
            reader.exporter.release()
            await until(reader.unready_reason)
            assert "/readyz answers 503: NVML is released" in (await address()).text
        (free,) = of("address", await findings(driver, node))
        assert free.level is Level.OK
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            other.settimeout(0)
            port = other.getsockname()[1]
            monkey = await findings(driver, node, listen_port=port, listen_host="192.0.2.1")
            assert of("address", monkey)[0].level is Level.FAILURE


async def test_a_web_configuration_that_cannot_be_used(node, tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text("tls_server_config: {cert_file: absent.crt}\n")
    with SimulatedDriver(["T4"]) as driver:
        found = of("web config", await findings(driver, node, web_config_file=str(file)))
    assert found
    assert {one.level for one in found} == {Level.FAILURE}


def test_the_report():
    report = render(
        [ok("a", "fine"), note("b", "so"), warning("c", "hm", "do"), failure("d", "no", "must")]
    )
    assert report == (
        "ok       a          fine\n"
        "note     b          so\n"
        "warning  c          hm\n"
        "                    -> do\n"
        "FAILURE  d          no\n"
        "                    -> must\n"
        "\n"
        "1 failure, 1 warning\n"
    )


# The program as it is, over a simulated library.
PROGRAM = """
import sys
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
driver = SimulatedDriver(["T4"])
driver.faults.lacks_library = {lacks_library}
sys.modules["pynvml"] = bind(driver)
from exporter.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(("lacks_library", "status"), [(False, 0), (True, 1)])
async def test_the_program(lacks_library, status):
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM.format(lacks_library=lacks_library)),
        *("doctor", "--pod-resources.socket=", "--web.listen-address=127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("GPU_EXPORTER_")},
    )
    async with asyncio.timeout(60):
        out, err = await program.communicate()
    assert (program.returncode, err.decode()) == (status, "")
    assert ("FAILURE  library" in out.decode()) == lacks_library, json.dumps(out.decode())
