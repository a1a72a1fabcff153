# SPDX-License-Identifier: Apache-2.0
"""An NVML session: opened, read once per cycle, closed."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from exporter.exposition import families
from exporter.model import Collector, DeviceReading, Readings, UnreadableGpu
from exporter.nvml.base import FUNCTIONS, BaseReadings
from exporter.nvml.bounds import BOUNDS, bounded
from exporter.nvml.calls import SESSION_GONE, CallOutcomes, Calls, NvmlError
from exporter.nvml.extended import ExtendedReadings, mig_info
from exporter.nvml.failing_calls import MAX_LOGGED, FailingCalls
from exporter.nvml.gpm import GRAPHICS_UTIL, Gpm
from exporter.nvml.gpu import Gpu
from exporter.nvml.hang_guard import HangGuard, HangsError
from exporter.nvml.seen import SeenGpus
from exporter.processes.process_owner import ProcessOwners
from toolkit.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from types import ModuleType

    from exporter.model import Device, Sample
    from exporter.nvml.calls import RunningCall
    from exporter.nvml.xid import XidErrors

T = TypeVar("T")

log = logging.getLogger(__name__)


class Nvml:
    """An NVML session over the pynvml module (or a private instance of it).

    One thread owns it, opens and closes it and waits in `run` for one that reads; only
    `running_call`, `hanging_call` and `driver_version` are read by others.
    """

    def __init__(
        self,
        binding: ModuleType,
        *,
        window_seconds: float,
        collectors: Collection[Collector] = (),
        owners: ProcessOwners | None = None,
        on_error: Callable[[NvmlError], None],
    ) -> None:
        self._calls = Calls(binding, on_error)
        self._hang_guard = HangGuard(self._calls)
        # Those who do without these collectors do without their imports as well.
        uses = None
        if Collector.CONTAINERS in collectors:
            from exporter.nvml.processes import ProcessUses  # noqa: PLC0415

            uses = ProcessUses(self._calls, owners or ProcessOwners(), window_seconds)
        self._base = BaseReadings(self._calls, window_seconds, uses)
        self._extended = ExtendedReadings(self._calls, collectors, window_seconds)
        self._gpm = Gpm(self._calls, window_seconds, with_profile=Collector.GPM in collectors)
        self._with_info = Collector.INFO in collectors
        self._failing = FailingCalls()
        self._xid: XidErrors | None = None
        if Collector.XID in collectors:
            from exporter.nvml.xid import XidErrors  # noqa: PLC0415

            self._xid = XidErrors(binding, on_error, self._failing)
        self._with_health = Collector.HEALTH in collectors
        self._device_count = 0
        # NVML counts its sessions: as many ends as beginnings let it go.
        self._open_sessions = 0
        self._gpus: dict[int, Gpu] = {}
        self._seen = SeenGpus()
        # By index, since a GPU that cannot be read may not tell its UUID.
        self._logged = LogOnce(limit=MAX_LOGGED)
        self.driver_version: str | None = None

    @property
    def running_call(self) -> RunningCall | None:
        """The NVML call that has not returned yet."""
        return self._calls.running

    @property
    def hanging_call(self) -> RunningCall | None:
        """The call that takes longer than a healthy one, or for which a GPU is left out."""
        return self._hang_guard.hanging_call

    def open(self) -> None:
        """Initialise NVML; raises NvmlError (LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED, ...)."""
        self._gpus.clear()
        self._seen.clear()
        self._base.begin_session()
        self._extended.begin_session()
        self._calls.call("nvmlInit")
        self._open_sessions += 1
        self.driver_version = self._calls.optional("nvmlSystemGetDriverVersion")

    def close(self) -> bool:
        """Let NVML go; an error says only that there was nothing left to let go.

        Returns False while a call hangs, under which NVML must stay: close it again later.
        """
        self._gpus.clear()
        xid_hangs = self._xid is not None and not self._xid.close()
        if xid_hangs or self._hang_guard.hangs:
            return False
        self._gpm.close()
        sessions, self._open_sessions = self._open_sessions, 0
        for _ in range(sessions):
            with contextlib.suppress(NvmlError):
                self._calls.call("nvmlShutdown", expected=SESSION_GONE)
        return True

    def run(self, work: Callable[[], T]) -> T:
        """Return or raise what `work` does, which calls `read` once or again and again.

        It is done in a thread of its own, and begun again in another one when a GPU hangs.
        """
        return self._hang_guard.run(work)

    def read(self) -> Readings:
        """Read all devices once, within `run`.

        One failing reading is None, one failing device is left out; raises NvmlError where the
        whole session cannot go on.
        """
        started = time.monotonic()
        count = self._calls.call("nvmlDeviceGetCount")
        if not BOUNDS["nvidia_gpu_num_devices"].hold(count):
            raise NvmlError("nvmlDeviceGetCount", "UNKNOWN", f"{count} GPUs cannot be real")
        if count != self._device_count:
            self._device_count = count
            self._gpus.clear()
            self._seen.places_changed()
        readings: list[DeviceReading] = []
        unreadable: list[UnreadableGpu] = []
        for index, found in self._read_gpus(count):
            if isinstance(found, UnreadableGpu):
                self._gpus.pop(index, None)
                unreadable.append(found)
            else:
                readings.extend(found)
        uuids = {reading.device.uuid for reading in readings}
        self._base.keep(uuids)
        self._extended.keep(uuids)
        self._gpm.keep(uuids)
        if self._xid is not None:
            self._xid.watch({gpu.device.uuid: gpu for gpu in self._gpus.values()})
            readings = [self._with_xid_errors(reading) for reading in readings]
        readings.extend(self._read_lost())
        return Readings(
            taken_at_seconds=started,
            device_count=count,
            unreadable_count=len(unreadable),
            unreadable=tuple(unreadable),
            devices=tuple(readings),
            node=self._read_node() if self._with_info else (),
            awaits_second_sample=self._gpm.awaits_second_sample,
        )

    def _read_gpus(self, count: int) -> Iterator[tuple[int, list[DeviceReading] | UnreadableGpu]]:
        """Yield for each GPU the readings of it and its instances, or why it cannot be read.

        Raises NvmlError where the whole session cannot go on.
        """
        answers = [CallOutcomes(index) for index in range(count)]
        outcomes = [self._readings_or_error(index, one) for index, one in enumerate(answers)]
        self._hang_guard.end_cycle()
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Exception):
                yield index, self._left_out_by(index, outcome)
                continue
            uuid = outcome[0].device.uuid
            self._failing.observe(uuid, answers[index])
            if self._logged.ends(index):
                log.info("GPU can be read again", extra={"index": index, "uuid": uuid})
            yield index, outcome

    def _readings_or_error(
        self, index: int, answers: CallOutcomes
    ) -> list[DeviceReading] | Exception:
        try:
            self._hang_guard.begin(index)
            return self._read_gpu(index, answers)
        except Exception as error:
            if _ends_session(error):
                raise
            return error

    def _left_out_by(self, index: int, error: Exception) -> UnreadableGpu:
        if isinstance(error, HangsError):
            message = "A GPU is left out while a call about it does not return; the others are read"
            return self._left_out(index, message, str(error), {"function": error.function})
        if isinstance(error, NvmlError):
            details = {"function": error.function, "code": error.code}
            return self._left_out(index, "GPU cannot be read", str(error), details)
        # Whatever the binding comes up with.
        message = "A GPU is left out that cannot be read for an unexpected reason"
        problem = f"{type(error).__name__}: {error}"
        return self._left_out(index, message, problem, {}, caught=error)

    def _left_out(
        self,
        index: int,
        message: str,
        problem: str,
        details: Mapping[str, str],
        caught: Exception | None = None,
    ) -> UnreadableGpu:
        uuid = self._seen.uuid_at(index)
        if self._logged.begins(index):
            extra = {"index": index, "uuid": uuid, **details}
            log.warning(message, extra=extra, exc_info=caught)
        return UnreadableGpu(index=index, uuid=uuid, problem=problem)

    def _read_gpu(self, index: int, answers: CallOutcomes) -> list[DeviceReading]:
        """Return the readings of a GPU and its instances; raises NvmlError if it is not readable.

        What a board does not have leaves it readable, be it everything.
        """
        with self._calls.about(answers):
            gpu = self._gpus.get(index) or Gpu.open(self._calls, index)
            self._gpus[index] = gpu
            gpu.describe()
            self._seen.see(index, gpu.device)
            board, *instances = map(bounded, self._base.read(gpu))
            if all(_is_empty(reading) for reading in (board, *instances)):
                # After an uncorrectable ECC error, or off the bus, some drivers say "reset
                # required" or "unknown error" to everything and never that the GPU is lost.
                for function, error in answers.failures.items():
                    if function in FUNCTIONS:
                        raise error
            extended = self._extended.read(gpu)
            shares = self._gpm.read(gpu, [one.device for one in instances])
        return [
            self._completed(board, shares.get(gpu.device.uuid, {}), extended),
            *(self._completed(one, shares.get(one.device.uuid, {}), ()) for one in instances),
        ]

    def _completed(
        self, reading: DeviceReading, shares: Mapping[int, float], extended: tuple[Sample, ...]
    ) -> DeviceReading:
        """Return the reading with what is measured by GPM and with its extended samples."""
        device, duty_cycle = reading.device, reading.duty_cycle_percent
        if device.is_mig_instance:
            # Of a whole GPU the driver's own samples are finer.
            duty_cycle = shares.get(GRAPHICS_UTIL)
            if self._with_info:
                extended = (*extended, mig_info(device))
        extended = (*extended, *self._gpm.samples(shares))
        if not extended and duty_cycle == reading.duty_cycle_percent:
            return reading
        return bounded(replace(reading, duty_cycle_percent=duty_cycle, extended=extended))

    def _read_node(self) -> tuple[Sample, ...]:
        answers = CallOutcomes()
        with self._calls.about(answers):
            node = self._extended.node()
        self._failing.observe("", answers)
        return node

    def _read_lost(self) -> Iterator[DeviceReading]:
        """Yield what is known of GPUs that are lost: their last Xid errors say why."""
        present = {gpu.device.uuid for gpu in self._gpus.values()}
        for device in self._seen.lost(present, self._device_count):
            health = (families.READABLE.sample(0),) if self._with_health else ()
            if extended := (*health, *self._xid_samples(device)):
                yield DeviceReading(device=device, extended=extended)

    def _with_xid_errors(self, reading: DeviceReading) -> DeviceReading:
        if reading.device.is_mig_instance:
            return reading
        return replace(reading, extended=(*reading.extended, *self._xid_samples(reading.device)))

    def _xid_samples(self, device: Device) -> Iterator[Sample]:
        if self._xid is not None:
            yield from self._xid.samples(device.uuid)


def _ends_session(error: Exception) -> bool:
    return isinstance(error, NvmlError) and error.code in SESSION_GONE


def _is_empty(reading: DeviceReading) -> bool:
    return (
        reading.duty_cycle_percent is None
        and reading.memory_total_bytes is None
        and reading.memory_used_bytes is None
        and reading.power_usage_milliwatts is None
        and reading.temperature_celsius is None
        and reading.fan_speed_percent is None
    )
