# SPDX-License-Identifier: Apache-2.0
"""The jobs that a scheduler's prolog names for each GPU."""

from __future__ import annotations

import os

import pytest

from exporter.model import Device, DeviceReading, Readings, UnreadableGpu
from exporter.processes import job_files
from exporter.processes.files import UnreadableError
from exporter.processes.job_files import MOST_BYTES, MOST_JOBS, JobFiles, names_of, read_jobs
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from tests.exporting import exporter
from tests.waiting import until

FAMILY = job_files.FAMILY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(job_files, "LOOK_SECONDS", 0.05)
    made = tmp_path / "jobs"
    made.mkdir()
    return made


async def jobs(reader):
    """Return {(uuid, job)} of the page."""
    return {
        (one.labels["uuid"], one.labels["hpc_job"])
        for one in await reader.samples()
        if one.name == FAMILY
    }


async def test_jobs_come_and_go_with_their_files(folder):
    with SimulatedDriver(["T4", GpuSpec(model="H100", mig_profiles=("1g.10gb",))]) as driver:
        first, second, instance = driver.uuids
        async with exporter(driver, job_folder=str(folder)) as reader:
            await until(reader.ready)
            assert await jobs(reader) == set()
            (folder / "0").write_text("4711\n\n 4712 \n")
            (folder / "1.7").write_text("4713")
            (folder / "9").write_text("of no GPU")
            wanted = {(first, "4711"), (first, "4712"), (instance, "4713")}

            async def shows():
                return await jobs(reader) == wanted

            await until(shows)
            (folder / "0").unlink()
            (folder / second).write_text("by UUID")
            wanted = {(instance, "4713"), (second, "by UUID")}
            await until(shows)


async def test_a_folder_that_is_not_there_is_told_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(job_files, "LOOK_SECONDS", 0.01)
    caplog.set_level("INFO")
    folder = tmp_path / "later"
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, job_folder=str(folder)) as reader:
            await until(lambda: "Cannot read the jobs of GPUs" in caplog.messages)
            folder.mkdir()
            (folder / "0").write_text("1")

            async def shows():
                return await jobs(reader) == {(driver.uuids[0], "1")}

            await until(shows)
    assert [one for one in caplog.messages if "jobs of GPUs" in one] == [
        "Cannot read the jobs of GPUs",
        "The jobs of GPUs can be read again",
    ]


async def test_a_folder_that_cannot_be_looked_at_costs_its_jobs_only(tmp_path, caplog):
    # Any error but those of what is not there: no right, a network that is gone, here the length.
    found = JobFiles(tmp_path / ("x" * 300), node_name="node-a", readings=lambda: None)
    await found.refresh()
    assert "Cannot read the jobs of GPUs" in caplog.messages


def test_what_is_no_file_of_jobs_stops_nothing(folder):
    (folder / "0").write_bytes(b"\xff\x00one\n" + b"x" * 10 * MOST_BYTES)
    (folder / "1").write_text("\n".join(map(str, range(100))))
    os.mkfifo(folder / "2")
    (folder / "3").mkdir()
    found, problem = read_jobs(folder)
    assert problem is None
    assert found["0"][0].endswith("one")
    assert max(map(len, found["0"])) <= 128
    assert found["1"] == tuple(map(str, range(MOST_JOBS)))
    assert found["2"] == found["3"] == ()


def test_a_link_out_of_the_folder_is_not_followed_and_costs_no_other_job(folder, tmp_path):
    (tmp_path / "secret").write_text("token")
    (folder / "0").symlink_to(tmp_path / "secret")
    (folder / "1").write_text("42")
    found, problem = read_jobs(folder)
    assert found == {"1": ("42",)}
    assert str(folder / "0") in str(problem)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(UnreadableError):
        read_jobs(tmp_path / "absent")


def test_a_gpu_that_cannot_be_read_keeps_its_number():
    def board(uuid):
        return DeviceReading(device=Device(uuid=uuid, name="T4", minor_number=0))

    readings = Readings(
        taken_at_seconds=0,
        device_count=3,
        unreadable_count=1,
        unreadable=(UnreadableGpu(index=1, uuid="GPU-b", problem=""),),
        devices=(board("GPU-a"), board("GPU-c"), board("GPU-b")),
    )
    assert [(device.uuid, names[0]) for device, names in names_of(readings)] == [
        ("GPU-a", "0"),
        ("GPU-c", "2"),
    ]
