# SPDX-License-Identifier: Apache-2.0
"""The base set's readings of a GPU and of its MIG instances."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from exporter.model import Device, DeviceReading
from exporter.nvml.bounds import BOUNDS
from exporter.nvml.calls import ABSENT, DEVICE_GONE, NvmlError, field_of, raise_if_gone, within
from exporter.nvml.duty_cycle import KERNELS, DutyCycles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from exporter.model import ProcessUse
    from exporter.nvml.calls import Calls
    from exporter.nvml.gpu import Gpu
    from exporter.nvml.process_lists import DeviceMemory
    from exporter.nvml.processes import ProcessUses

NO_MEMORY_V2: Final = ABSENT | {"ARGUMENT_VERSION_MISMATCH", "INVALID_ARGUMENT"}
"""An older driver or an unusual memory controller knows only the first memory structure."""

FUNCTIONS: Final = frozenset(
    {
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetFanSpeed",
    }
)
"""Where the values of the base set come from."""

TEMPERATURE_SECONDS: Final = 4.0
"""A heat sink does not change by more than a degree or two in that time."""

# Nothing real comes near these bounds.
_INSTANCES: Final = range(257)
_INSTANCE_ID: Final = range(1 << 16)


class BaseReadings:
    """Reads the base set; the duty cycle is averaged over a window in seconds."""

    def __init__(
        self, calls: Calls, window_seconds: float, uses: ProcessUses | None = None
    ) -> None:
        """Without `uses` nothing is read of processes."""
        self._calls = calls
        self._uses = uses
        self._duty_cycles = DutyCycles(calls, KERNELS, window_seconds)
        self._memory_v2 = True

    def begin_session(self) -> None:
        """Ask a newly opened NVML again for what the last one did not have."""
        self._memory_v2 = True

    def keep(self, uuids: Collection[str]) -> None:
        """Forget the history of all other devices."""
        self._duty_cycles.keep(uuids)
        if self._uses is not None:
            self._uses.keep(uuids)

    def read(self, gpu: Gpu) -> list[DeviceReading]:
        """Return the GPU's reading and those of its MIG instances.

        One failing reading is None; raises NvmlError if the device or the session is gone.
        """
        calls, handle = self._calls, gpu.handle
        power = calls.optional("nvmlDeviceGetPowerUsage", handle)
        temperature = self._temperature(gpu, is_answering=power is not None)
        duty_cycle = self._board_duty_cycle(gpu)
        fan_speed = gpu.ask("nvmlDeviceGetFanSpeed")
        total = used = uses = None
        if not gpu.mig_enabled:
            # Memory is that of the instances and so that sums by uuid stay true it is not repeated
            # on the board.
            total, used = self._memory(handle)
            uses = self._read_uses(gpu, gpu.device, handle, (total, used))
        board = DeviceReading(
            device=gpu.device,
            has_mig=gpu.mig_enabled,
            duty_cycle_percent=duty_cycle,
            memory_total_bytes=total,
            memory_used_bytes=used,
            power_usage_milliwatts=power,
            temperature_celsius=temperature,
            fan_speed_percent=fan_speed,
            uses=uses,
        )
        return [board, *self._read_instances(gpu)] if gpu.mig_enabled else [board]

    def _temperature(self, gpu: Gpu, *, is_answering: bool) -> int | None:
        ask: Callable[[], int | None] = partial(
            self._calls.optional,
            "nvmlDeviceGetTemperature",
            gpu.handle,
            self._calls.binding.NVML_TEMPERATURE_GPU,
        )
        # A GPU that answers nothing any more must not pass for a readable one by an old answer.
        return gpu.seldom(TEMPERATURE_SECONDS, "temperature", ask) if is_answering else ask()

    def _board_duty_cycle(self, gpu: Gpu) -> float | None:
        """Return the board's duty cycle, None under MIG; finds out first what the MIG mode is.

        A GPU that measures is not under MIG, so its mode need not be asked again.
        """
        if gpu.mig_mode is None or gpu.mig_enabled:
            gpu.ask_mig_mode()
        if gpu.mig_enabled:
            return None
        duty_cycle = self._duty_cycles.percent(gpu)
        if not self._duty_cycles.is_measured(gpu):
            gpu.ask_mig_mode()
        return None if gpu.mig_enabled else duty_cycle

    def _read_uses(
        self, gpu: Gpu, device: Device, handle: Any, memory: DeviceMemory
    ) -> tuple[ProcessUse, ...] | None:
        return None if self._uses is None else self._uses.read(gpu, device, handle, memory)

    def _read_instances(self, gpu: Gpu) -> list[DeviceReading]:
        calls = self._calls
        readings = []
        count = within(_INSTANCES, calls.optional("nvmlDeviceGetMaxMigDeviceCount", gpu.handle))
        for index in range(count or 0):
            # Instances come and go while we run, and the places between them stay empty.
            handle = calls.optional(
                "nvmlDeviceGetMigDeviceHandleByIndex",
                gpu.handle,
                index,
                expected=frozenset({"NOT_FOUND", "INVALID_ARGUMENT"}),
            )
            if handle is None:
                continue
            try:
                reading = self._read_instance(gpu, handle)
            except NvmlError as error:
                if error.code not in DEVICE_GONE:
                    raise
                # It went away meanwhile; were it the whole GPU, the next call would say so.
                continue
            if reading is not None:
                readings.append(reading)
        return readings

    def _read_instance(self, gpu: Gpu, handle: Any) -> DeviceReading | None:
        calls = self._calls
        uuid = calls.optional("nvmlDeviceGetUUID", handle)
        if not uuid:
            return None
        total, used = self._memory(handle)
        device = Device(
            uuid=uuid,
            name=calls.optional("nvmlDeviceGetName", handle) or gpu.device.name,
            minor_number=gpu.device.minor_number,
            parent_uuid=gpu.device.uuid,
            gpu_instance_id=within(
                _INSTANCE_ID, calls.optional("nvmlDeviceGetGpuInstanceId", handle)
            ),
            compute_instance_id=within(
                _INSTANCE_ID, calls.optional("nvmlDeviceGetComputeInstanceId", handle)
            ),
        )
        return DeviceReading(
            device=device,
            memory_total_bytes=total,
            memory_used_bytes=used,
            uses=self._read_uses(gpu, device, handle, (total, used)),
        )

    def _memory(self, handle: Any) -> DeviceMemory:
        # The second version leaves what the driver reserves for itself out of `used`, as nvidia-smi
        # does.
        calls = self._calls
        memory = None
        if self._memory_v2:
            try:
                memory = calls.call(
                    "nvmlDeviceGetMemoryInfo",
                    handle,
                    calls.binding.nvmlMemory_v2,
                    expected=NO_MEMORY_V2,
                )
            except NvmlError as error:
                raise_if_gone(error)
                if error.code not in NO_MEMORY_V2:
                    return None, None
                self._memory_v2 = error.code not in {
                    "FUNCTION_NOT_FOUND",
                    "ARGUMENT_VERSION_MISMATCH",
                }
        if memory is None:
            memory = calls.optional("nvmlDeviceGetMemoryInfo", handle)
        # Where the total cannot be real the driver did not fill the answer in.
        if memory is None:
            return None, None
        total, used = field_of(memory, "total"), field_of(memory, "used")
        if not BOUNDS["nvidia_gpu_memory_total_bytes"].hold(total):
            return None, None
        return total, used if used <= total else None
