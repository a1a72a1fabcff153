"""The only file that calls nvidia-ml-py: devices in, readings out.

One thread owns an `Nvml` object; only `running_call` and `driver_version` are read by others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from exporter.model import Device, DeviceReading, Readings
from exporter.window import DutyCycleWindow

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

# "This board or driver has no such thing": an answer, not a failure.
_ABSENT: Final = frozenset({"NOT_SUPPORTED", "FUNCTION_NOT_FOUND"})
# The device cannot be read at all; the others can.
_DEVICE_GONE: Final = frozenset({"GPU_IS_LOST", "GPU_NOT_FOUND"})
# Nothing can be read until NVML is initialised anew.
_SESSION_GONE: Final = frozenset({"UNINITIALIZED", "DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH"})
# An older driver or an unusual memory controller knows only the first memory structure.
_NO_MEMORY_V2: Final = _ABSENT | {"ARGUMENT_VERSION_MISMATCH", "INVALID_ARGUMENT"}

# Drivers fill what they do not know with the highest values of the type (and DCGM-minded ones with
# values just below the signed maximum); nothing real comes near these bounds.
_MEMORY_BYTES: Final = range(1 << 60)
_POWER_MILLIWATTS: Final = range(10_000_000)
_TEMPERATURE_CELSIUS: Final = range(-273, 1000)
_FAN_PERCENT: Final = range(1000)

_VALUE_FIELDS: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
# A buffer without a new sample for this long (or the window, if longer) is not trusted any more.
_BUFFER_STALLED_SECONDS: Final = 5.0


class NvmlError(Exception):
    """An NVML function answered with an error; `code` is its name, such as GPU_IS_LOST."""

    def __init__(self, function: str, code: str, text: str) -> None:
        super().__init__(f"{function}: {code} ({text})")
        self.function = function
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCall:
    """The NVML call that has not returned yet."""

    function: str
    started_seconds: float


@dataclass(frozen=True, slots=True)
class _Gpu:
    handle: Any
    device: Device


class _History:
    """What the duty cycle of one GPU is averaged from."""

    def __init__(self, window_seconds: float) -> None:
        self.samples = DutyCycleWindow(window_seconds)
        self.instants = DutyCycleWindow(window_seconds)
        self.cursor_microseconds = 0
        self.newest_microseconds = 0
        self.progress_seconds = time.monotonic()


class Nvml:
    """An NVML session over the pynvml module (or a private instance of it)."""

    def __init__(
        self,
        binding: ModuleType,
        *,
        window_seconds: float,
        on_error: Callable[[NvmlError], None],
    ) -> None:
        self._binding = binding
        self._window_seconds = window_seconds
        self._on_error = on_error
        self._code_names = {
            value: name.removeprefix("NVML_ERROR_")
            for name, value in vars(binding).items()
            if name.startswith("NVML_ERROR_")
        }
        self._device_count = 0
        self._gpus: dict[int, _Gpu] = {}
        self._histories: dict[str, _History] = {}
        self._memory_v2 = True
        self.running_call: RunningCall | None = None
        self.driver_version: str | None = None

    def open(self) -> None:
        """Initialise NVML; raises NvmlError (LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED, ...)."""
        self._gpus.clear()
        self._memory_v2 = True
        self._call("nvmlInit")
        self.driver_version = self._optional("nvmlSystemGetDriverVersion")

    def close(self) -> None:
        """Let NVML go; an error says only that there was nothing left to let go."""
        self._gpus.clear()
        try:
            self._call("nvmlShutdown", expected=_SESSION_GONE)
        except NvmlError:
            return

    def read(self) -> Readings:
        """Read all devices once.

        One failing reading is None, one failing device is left out; raises NvmlError where the
        whole session cannot go on.
        """
        started = time.monotonic()
        count = self._call("nvmlDeviceGetCount")
        if count != self._device_count:
            self._device_count = count
            self._gpus.clear()
        readings: list[DeviceReading] = []
        unreadable = 0
        for index in range(count):
            try:
                readings.extend(self._read_gpu(index))
            except NvmlError as error:
                if error.code in _SESSION_GONE:
                    raise
                self._gpus.pop(index, None)
                unreadable += 1
        known = {reading.device.uuid for reading in readings}
        self._histories = {uuid: kept for uuid, kept in self._histories.items() if uuid in known}
        return Readings(
            taken_at_seconds=started,
            device_count=count,
            unreadable_count=unreadable,
            devices=tuple(readings),
        )

    def _read_gpu(self, index: int) -> list[DeviceReading]:
        gpu = self._gpus.get(index) or self._open_gpu(index)
        self._gpus[index] = gpu
        board = DeviceReading(
            device=gpu.device,
            power_usage_milliwatts=_within(
                _POWER_MILLIWATTS, self._optional("nvmlDeviceGetPowerUsage", gpu.handle)
            ),
            temperature_celsius=_within(
                _TEMPERATURE_CELSIUS,
                self._optional(
                    "nvmlDeviceGetTemperature", gpu.handle, self._binding.NVML_TEMPERATURE_GPU
                ),
            ),
            fan_speed_percent=_within(
                _FAN_PERCENT, self._optional("nvmlDeviceGetFanSpeed", gpu.handle)
            ),
        )
        mig_mode = self._optional("nvmlDeviceGetMigMode", gpu.handle)
        if mig_mode is not None and mig_mode[0] == self._binding.NVML_DEVICE_MIG_ENABLE:
            # Memory is that of the instances and so that sums by uuid stay true it is not repeated
            # on the board; utilization of the board does not exist under MIG.
            return [board, *self._read_instances(gpu)]
        total, used = self._memory(gpu.handle)
        return [
            replace(
                board,
                duty_cycle_percent=self._duty_cycle(gpu),
                memory_total_bytes=total,
                memory_used_bytes=used,
            )
        ]

    def _open_gpu(self, index: int) -> _Gpu:
        handle = self._call("nvmlDeviceGetHandleByIndex", index)
        device = Device(
            uuid=self._call("nvmlDeviceGetUUID", handle),
            name=self._optional("nvmlDeviceGetName", handle) or "",
            minor_number=self._optional("nvmlDeviceGetMinorNumber", handle),
        )
        return _Gpu(handle, device)

    def _read_instances(self, gpu: _Gpu) -> list[DeviceReading]:
        readings = []
        for index in range(self._optional("nvmlDeviceGetMaxMigDeviceCount", gpu.handle) or 0):
            # Instances come and go while we run, and the places between them stay empty.
            handle = self._optional(
                "nvmlDeviceGetMigDeviceHandleByIndex",
                gpu.handle,
                index,
                expected=frozenset({"NOT_FOUND", "INVALID_ARGUMENT"}),
            )
            uuid = None if handle is None else self._optional("nvmlDeviceGetUUID", handle)
            if uuid is None:
                continue
            total, used = self._memory(handle)
            device = Device(
                uuid=uuid,
                name=self._optional("nvmlDeviceGetName", handle) or gpu.device.name,
                minor_number=gpu.device.minor_number,
                parent_uuid=gpu.device.uuid,
                gpu_instance_id=self._optional("nvmlDeviceGetGpuInstanceId", handle),
                compute_instance_id=self._optional("nvmlDeviceGetComputeInstanceId", handle),
            )
            readings.append(
                DeviceReading(device=device, memory_total_bytes=total, memory_used_bytes=used)
            )
        return readings

    def _memory(self, handle: Any) -> tuple[int | None, int | None]:
        # The second version leaves what the driver reserves for itself out of `used`, as nvidia-smi
        # does.
        memory = None
        if self._memory_v2:
            try:
                memory = self._call(
                    "nvmlDeviceGetMemoryInfo",
                    handle,
                    self._binding.nvmlMemory_v2,
                    expected=_NO_MEMORY_V2,
                )
            except NvmlError as error:
                self._raise_if_gone(error)
                if error.code not in _NO_MEMORY_V2:
                    return None, None
                self._memory_v2 = error.code not in {
                    "FUNCTION_NOT_FOUND",
                    "ARGUMENT_VERSION_MISMATCH",
                }
        if memory is None:
            memory = self._optional("nvmlDeviceGetMemoryInfo", handle)
        if memory is None:
            return None, None
        return _within(_MEMORY_BYTES, memory.total), _within(_MEMORY_BYTES, memory.used)

    def _duty_cycle(self, gpu: _Gpu) -> float | None:
        history = self._histories.setdefault(gpu.device.uuid, _History(self._window_seconds))
        try:
            value_type, samples = self._call(
                "nvmlDeviceGetSamples",
                gpu.handle,
                self._binding.NVML_GPU_UTILIZATION_SAMPLES,
                history.cursor_microseconds,
                expected=frozenset({"NOT_FOUND"}),
            )
        except NvmlError as error:
            self._raise_if_gone(error)
            if error.code in _ABSENT:
                return self._instantaneous_duty_cycle(gpu, history)
            if error.code != "NOT_FOUND":
                return None
            value_type, samples = 0, []
        if value_type >= len(_VALUE_FIELDS):
            samples = []  # a type that this binding cannot decode
        now = time.monotonic()
        newest = max((sample.timeStamp for sample in samples), default=0)
        if newest and newest != history.newest_microseconds:
            if newest < history.newest_microseconds:
                history.samples.clear()  # the host's clock was set back
            field = _VALUE_FIELDS[value_type]
            history.samples.add(
                (sample.timeStamp / 1e6, getattr(sample.sampleValue, field)) for sample in samples
            )
            history.cursor_microseconds = history.newest_microseconds = newest
            history.progress_seconds = now
            history.instants.clear()
        elif now - history.progress_seconds > max(self._window_seconds, _BUFFER_STALLED_SECONDS):
            # Ask for the whole buffer next time: after the clock was set back, all that is new
            # looks old.
            history.cursor_microseconds = 0
            history.samples.clear()
        mean = history.samples.mean_percent()
        return self._instantaneous_duty_cycle(gpu, history) if mean is None else mean

    def _instantaneous_duty_cycle(self, gpu: _Gpu, history: _History) -> float | None:
        rates = self._optional("nvmlDeviceGetUtilizationRates", gpu.handle)
        if rates is None or not 0 <= rates.gpu <= 100:
            return None
        history.instants.add([(time.monotonic(), float(rates.gpu))])
        return history.instants.mean_percent()

    def _optional(
        self, function: str, *arguments: Any, expected: frozenset[str] = frozenset()
    ) -> Any:
        """Call and return None on an error that concerns this reading only."""
        try:
            return self._call(function, *arguments, expected=expected)
        except NvmlError as error:
            self._raise_if_gone(error)
            return None

    @staticmethod
    def _raise_if_gone(error: NvmlError) -> None:
        if error.code in _DEVICE_GONE | _SESSION_GONE:
            raise error

    def _call(self, function: str, *arguments: Any, expected: frozenset[str] = frozenset()) -> Any:
        """Call one function; an error that is neither `expected` nor an absence is counted."""
        self.running_call = RunningCall(function=function, started_seconds=time.monotonic())
        try:
            return getattr(self._binding, function)(*arguments)
        except self._binding.NVMLError as nvml_error:
            code = self._code_names.get(nvml_error.value, str(nvml_error.value))
            error = NvmlError(function, code, str(nvml_error))
            if code not in _ABSENT | expected:
                self._on_error(error)
            raise error from nvml_error
        finally:
            self.running_call = None


def _within(bounds: range, value: int | None) -> int | None:
    return value if value is not None and value in bounds else None
