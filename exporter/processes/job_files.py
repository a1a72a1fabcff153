# SPDX-License-Identifier: Apache-2.0
"""The batch jobs that use the GPUs, from a folder of files that a scheduler's prolog writes.

The files are those of dcgm-exporter's HPC job mapping: named after a GPU's index, or its index and
the ID of a MIG instance (`0`, `0.7`), with a job on each line. Here a GPU's UUID is a name, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import GaugeMetricFamily

from exporter.processes.files import UnreadableError, unreadable
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from exporter.model import Device, Readings

log = logging.getLogger(__name__)

FAMILY: Final = "nvidia_gpu_hpc_job"
LOOK_SECONDS: Final = 2.0
MOST_FILES: Final = 1024
MOST_BYTES: Final = 4096
MOST_JOBS: Final = 16
"""How many jobs of a GPU are published: the first ones of its file."""
_MOST_CHARACTERS: Final = 128


class JobFiles:
    """Reads the folder now and then; `readings` returns the newest readings of the GPUs."""

    def __init__(
        self, folder: Path, *, node_name: str, readings: Callable[[], Readings | None]
    ) -> None:
        self._folder = folder
        self._node_name = node_name
        self._readings = readings
        self._jobs: Mapping[str, tuple[str, ...]] = {}
        self._outage = OutageLog(
            log, "Cannot read the jobs of GPUs", "The jobs of GPUs can be read again"
        )

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self) -> None:
        """Read the files once; a folder or file that cannot be read has no jobs."""
        try:
            self._jobs, problem = await asyncio.to_thread(read_jobs, self._folder)
        except UnreadableError as error:
            self._jobs, problem = {}, error
        if problem is None:
            self._outage.worked()
        else:
            self._outage.failed(problem)

    def collect(self) -> Iterator[Metric]:
        """Yield the family (prometheus-client's collector interface)."""
        family = GaugeMetricFamily(FAMILY, "A job that uses the GPU, from --job-files; always 1.")
        readings = self._readings()
        for device, names in () if readings is None else names_of(readings):
            identity = {
                "minor_number": "" if device.minor_number is None else str(device.minor_number),
                "uuid": device.uuid,
                "name": device.name,
                "node_name": self._node_name,
            }
            jobs = dict.fromkeys(job for name in names for job in self._jobs.get(name, ()))
            for job in tuple(jobs)[:MOST_JOBS]:
                family.add_sample(FAMILY, {**identity, "hpc_job": job}, 1)
        if family.samples:
            yield family


def names_of(readings: Readings) -> Iterator[tuple[Device, tuple[str, ...]]]:
    """Yield each device that can be read, with the names that its file may have."""
    unreadable_indices = {one.index for one in readings.unreadable}
    readable = [one for one in range(readings.device_count) if one not in unreadable_indices]
    devices = [one.device for one in readings.devices]
    boards = [one for one in devices if not one.is_mig_instance]
    # NVML's order; those that are known from before and lost stand at the end.
    indices = {board.uuid: index for index, board in zip(readable, boards, strict=False)}
    for device in devices:
        index = indices.get(device.parent_uuid or device.uuid)
        if index is None:
            continue
        place = f"{index}.{device.gpu_instance_id}" if device.is_mig_instance else str(index)
        yield device, (place, device.uuid)


def read_jobs(folder: Path) -> tuple[dict[str, tuple[str, ...]], UnreadableError | None]:
    """Return the jobs by the files' names, and why a file has none; blocks.

    Raises:
        UnreadableError: the folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise unreadable(folder, error) from error
    jobs: dict[str, tuple[str, ...]] = {}
    problem = None
    for name in sorted(names)[:MOST_FILES]:
        try:
            jobs[name] = _jobs_in(folder / name)
        except FileNotFoundError:
            # The job has ended a moment ago.
            continue
        except OSError as error:
            problem = problem or unreadable(folder / name, error)
    return jobs, problem


def _jobs_in(path: Path) -> tuple[str, ...]:
    # Neither waits for whoever writes to a pipe nor follows a link out of the folder.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return ()
        text = os.read(file, MOST_BYTES).decode(errors="replace")
    finally:
        os.close(file)
    words = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
    return tuple(dict.fromkeys(one[:_MOST_CHARACTERS] for one in words if one))[:MOST_JOBS]
