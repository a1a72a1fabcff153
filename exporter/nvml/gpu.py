"""One open GPU: its handle, who it is, and what need not be asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.model import Device
from exporter.nvml.calls import ABSENT, NvmlError, raise_if_gone

if TYPE_CHECKING:
    from exporter.nvml.calls import Calls


class Gpu:
    """A GPU for as long as its handle holds; `mig_mode` is NVML's, None on boards without MIG."""

    def __init__(self, calls: Calls, handle: Any, device: Device) -> None:
        self._calls = calls
        self._absent: set[tuple[Any, ...]] = set()
        self._constants: dict[tuple[Any, ...], Any] = {}
        self.handle = handle
        self.device = device
        self.mig_mode: int | None = None

    @classmethod
    def open(cls, calls: Calls, index: int) -> Gpu:
        """Return the GPU of this NVML index; raises NvmlError."""
        handle = calls.call("nvmlDeviceGetHandleByIndex", index)
        device = Device(
            uuid=calls.call("nvmlDeviceGetUUID", handle),
            name=calls.optional("nvmlDeviceGetName", handle) or "",
            minor_number=calls.optional("nvmlDeviceGetMinorNumber", handle),
        )
        return cls(calls, handle, device)

    @property
    def mig_enabled(self) -> bool:
        """Whether the GPU is divided into MIG instances."""
        return bool(self.mig_mode == self._calls.binding.NVML_DEVICE_MIG_ENABLE)

    def observe_mig_mode(self, mode: int | None) -> None:
        """Note the MIG mode; what a board has differs with it, so a change asks anew."""
        if mode != self.mig_mode:
            self.mig_mode = mode
            self._absent.clear()

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of this GPU; None on an error that concerns this reading only.

        What the board or the driver does not have is not asked again.
        """
        key = (function, *arguments)
        if key in self._absent:
            return None
        try:
            return self._calls.call(function, self.handle, *arguments)
        except NvmlError as error:
            raise_if_gone(error)
            if error.code in ABSENT:
                self._absent.add(key)
            return None

    def ask_once(self, function: str, *arguments: Any) -> Any:
        """Like `ask`, for what never changes while the driver is loaded."""
        key = (function, *arguments)
        if key not in self._constants:
            answer = self.ask(function, *arguments)
            if answer is None:
                return None
            self._constants[key] = answer
        return self._constants[key]
