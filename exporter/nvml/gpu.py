# SPDX-License-Identifier: Apache-2.0
"""One open GPU: its handle, who it is, and what need not be asked again."""

from __future__ import annotations

import random
import time
from ctypes import byref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from exporter.model import Device
from exporter.nvml.calls import ABSENT, NvmlError, member_of, raise_if_gone, within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable
    from types import ModuleType

    from exporter.nvml.calls import Calls

T = TypeVar("T")

_FIELD_VALUES: Final = "nvmlDeviceGetFieldValues"
# An older driver knows the function, but no structure of this version.
_OTHER_VERSION: Final = frozenset({"ARGUMENT_VERSION_MISMATCH"})
# As many as the kernel has for all devices of a driver.
_MINOR_NUMBER: Final = range(1 << 20)


class Gpu:
    """A GPU for as long as its handle holds.

    `mig_mode` is NVML's, None on boards without MIG; `mig_enabled` says whether it is divided.
    """

    def __init__(self, calls: Calls, handle: Any, device: Device) -> None:
        self._calls = calls
        self._absent: set[tuple[Any, ...]] = set()
        self._constants: dict[tuple[Any, ...], Any] = {}
        self._seldom: dict[Hashable, tuple[float, Any, Collection[NvmlError]]] = {}
        self.handle = handle
        self.device = device
        self.mig_mode: int | None = None
        self.mig_enabled = False
        self._has_mig_mode = False

    @classmethod
    def open(cls, calls: Calls, index: int) -> Gpu:
        """Return the GPU of this NVML index; raises NvmlError."""
        handle = calls.call("nvmlDeviceGetHandleByIndex", index)
        uuid = calls.call("nvmlDeviceGetUUID", handle)
        if not uuid:
            raise NvmlError("nvmlDeviceGetUUID", "UNKNOWN", "the UUID is empty")
        return cls(calls, handle, Device(uuid=uuid, name="", minor_number=None))

    def describe(self) -> None:
        """Ask for the name and the minor number until the GPU returns them or has none."""
        if self.device.name and self.device.minor_number is not None:
            return
        name = self.ask_once("nvmlDeviceGetName") or ""
        minor_number = within(_MINOR_NUMBER, self.ask_once("nvmlDeviceGetMinorNumber"))
        if (name, minor_number) != (self.device.name, self.device.minor_number):
            self.device = replace(self.device, name=name, minor_number=minor_number)

    @property
    def binding(self) -> ModuleType:
        """The module whose constants the functions take."""
        return self._calls.binding

    def ask_mig_mode(self) -> None:
        """Ask for the MIG mode; what a board lacks depends on it, so a change asks again.

        A GPU that has told it once is asked again whatever it answers: otherwise its instances
        would be gone until NVML is opened again. A call that fails leaves it as it was: a divided
        GPU must not look like a whole one that is free.
        """
        answer = self.ask("nvmlDeviceGetMigMode")
        if answer is None and not self.lacks("nvmlDeviceGetMigMode"):
            return
        mode, _pending = answer or (None, None)
        if mode != self.mig_mode:
            self.mig_mode = mode
            self.mig_enabled = mode == self.binding.NVML_DEVICE_MIG_ENABLE
            self._absent.clear()
        self._has_mig_mode = self._has_mig_mode or mode is not None
        if self._has_mig_mode:
            self._absent.discard(("nvmlDeviceGetMigMode",))

    def ask(self, function: str, *arguments: Any, expected: frozenset[str] = frozenset()) -> Any:
        """Call a function of this GPU; None on an error that concerns this reading only.

        What the board or the driver does not have, as the `expected` errors say too, is not asked
        again.
        """
        key = (function, *arguments)
        return None if key in self._absent else self._ask(key, *arguments, expected=expected)

    def fill_in(self, function: str, structure: T) -> T | None:
        """Return the structure as a function filled it in; otherwise like `ask`."""
        key = (function,)
        if key in self._absent:
            return None
        answer = self._ask(key, byref(cast("Any", structure)), expected=_OTHER_VERSION)
        return None if answer is None else structure

    def _ask(
        self, key: tuple[Any, ...], *arguments: Any, expected: frozenset[str] = frozenset()
    ) -> Any:
        """Call a function; `expected` errors mean as well that there is no such thing."""
        try:
            return self._calls.call(key[0], self.handle, *arguments, expected=expected)
        except NvmlError as error:
            raise_if_gone(error)
            if error.code in ABSENT | expected:
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

    def text_in(self, structure: Any, field: str, function: str) -> str:
        """Return a text in a structure that a function filled in."""
        return self._calls.text_in(structure, field, function)

    def seldom(self, seconds: float, key: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` returns: it is slow, so read every `seconds` or up to half as early.

        Between, the last answer is returned. The earliness is random, so that the GPUs' turns
        spread over the cycles.
        """
        now = time.monotonic()
        due, answer, failures = self._seldom.get(key, (0.0, None, ()))
        if now >= due:
            answer, failures = self._calls.with_failures(read)
            self._seldom[key] = now + seconds * random.uniform(0.5, 1.0), answer, failures
        else:
            for error in failures:
                self._calls.still_failed(error)
        return cast("T", answer)

    def lacks(self, function: str, *arguments: Any) -> bool:
        """Return whether this function with these arguments is known to be missing."""
        return (function, *arguments) in self._absent

    def note_lack(self, function: str, *arguments: Any) -> None:
        """Note that this is missing, until the MIG mode changes or NVML is opened again."""
        self._absent.add((function, *arguments))

    def ask_system(
        self, function: str, *arguments: Any, expected: frozenset[str] = frozenset()
    ) -> Any:
        """Call a function that is about no GPU; None on an error."""
        return self._calls.optional(function, *arguments, expected=expected)

    def lacks_field(self, field: tuple[int, int]) -> bool:
        """Return whether this field is known to be missing on the board or in the driver."""
        return bool({(_FIELD_VALUES,), (_FIELD_VALUES, field)} & self._absent)

    def ask_fields(self, fields: Iterable[tuple[int, int]]) -> dict[tuple[int, int], float]:
        """Return the values of these (field, scope) pairs in one call; unknown ones are left out.

        Raises NvmlError if the device or the session is gone.
        """
        asked = [field for field in fields if not self.lacks_field(field)]
        values: dict[tuple[int, int], float] = {}
        if not asked:
            return values
        answers = self._ask((_FIELD_VALUES,), asked)
        for field, answer in zip(asked, answers or (), strict=False):
            code = self._calls.code_name(answer.nvmlReturn)
            if code in ABSENT | {"INVALID_ARGUMENT"}:  # older drivers do not know newer fields
                self._absent.add((_FIELD_VALUES, field))
            elif code == "SUCCESS":
                if member := member_of(answer.valueType):
                    values[field] = getattr(answer.value, member)
            else:
                self._calls.failed(NvmlError(_FIELD_VALUES, code, f"field {field[0]}"))
        return values
