# SPDX-License-Identifier: Apache-2.0
"""A simulated NVML library under the real nvidia-ml-py.

`bind(driver)` gives a private instance of the binding whose loaded library is a set of ctypes
callbacks with the C signatures of nvml.h over a `SimulatedDriver`. Only the loader is replaced:
everything above it, errors and structures included, is the binding's own code. A function that is
not simulated is a missing symbol, so that the binding itself says FUNCTION_NOT_FOUND.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import logging
import sys
import threading
from functools import cache
from types import CodeType, ModuleType
from typing import Any, Final

from simulator.driver import SimulatedDriver
from simulator.gpus import MODELS, GpuSpec, SimulatedProcess
from simulator.nvml import events, extended, fields, gpm, sensors, symbols
from simulator.nvml.header import (
    DRIVER_NOT_LOADED,
    LIB_RM_VERSION_MISMATCH,
    UNINITIALIZED,
    UNKNOWN,
    NvmlReturn,
)
from simulator.nvml.registry import SYMBOLS, Symbol, check_faults, device_of

__all__ = ["MODELS", "GpuSpec", "SimulatedDriver", "SimulatedProcess", "bind"]

_log = logging.getLogger(__name__)
_instances: Final = itertools.count(1)
# Importing these registers their functions in SYMBOLS.
_REGISTERED: Final = (symbols, extended, fields, events, gpm, sensors)
_import_lock: Final = threading.Lock()


def bind(driver: SimulatedDriver) -> ModuleType:
    """Return a fresh private instance of nvidia-ml-py that loads the simulated library.

    Use it in place of the module `pynvml`. Two instances share no state, so a hundred nodes live
    in one process. With `driver.faults.lacks_library` its first init says LIBRARY_NOT_FOUND.
    """
    spec = importlib.util.find_spec("pynvml")
    if spec is None:
        msg = "nvidia-ml-py is not installed: the simulated NVML runs under its module pynvml"
        raise ModuleNotFoundError(msg)
    name = f"pynvml_simulated_{next(_instances)}"
    module = ModuleType(name)
    module.__file__ = spec.origin
    with _import_lock:
        # The binding makes its error classes in sys.modules[__name__] while it is executed.
        sys.modules[name] = module
        try:
            exec(_binding_code(), module.__dict__)
        finally:
            del sys.modules[name]

    def load(_path: str) -> _Library:
        if driver.faults.lacks_library:
            msg = "libnvidia-ml.so.1: cannot open shared object file: No such file or directory"
            raise OSError(msg)
        return _Library(driver, module.NVMLError._errcode_to_string)

    module.__dict__["CDLL"] = load
    return module


@cache
def _binding_code() -> CodeType:
    """The compiled binding, shared by all instances: each costs time and memory for data only."""
    spec = importlib.util.find_spec("pynvml")
    code = spec.loader.get_code("pynvml") if spec else None  # type: ignore[union-attr]
    if not isinstance(code, CodeType):
        msg = "nvidia-ml-py has no Python code: a module written in Python is needed"
        raise ImportError(msg)
    return code


class _Library:
    """What the binding takes for the loaded shared object; symbols are made when asked for."""

    def __init__(self, driver: SimulatedDriver, error_texts: dict[int, str]) -> None:
        self._driver = driver
        self._version = driver.driver_version
        self._error_texts = error_texts
        self._lock = threading.Lock()
        self._references = 0
        self._generation: int | None = None
        self._error_strings: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.nvmlInitWithFlags = self._export("nvmlInitWithFlags", self._init, ctypes.c_uint)
        self.nvmlShutdown = self._export("nvmlShutdown", self._shutdown)
        # The binding reads the result as a string; a callback can only return its address.
        self.nvmlErrorString = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(self._error_string)

    def __getattr__(self, name: str) -> Any:
        symbol = SYMBOLS.get(name)
        if symbol is None:
            msg = f"undefined symbol: {name}"
            raise AttributeError(msg)

        def call(*arguments: Any) -> None:
            self._call(name, symbol, arguments)

        function = self._export(name, call, *symbol.argtypes)
        setattr(self, name, function)  # keeps the callback alive as long as the library
        return function

    def _export(self, name: str, body: Any, *argtypes: Any) -> Any:
        """Make a C function of `body`: NvmlReturn becomes its result, faults come first."""

        def entry(*arguments: Any) -> int:
            # ctypes prints and drops what escapes a callback, and the caller would read garbage.
            try:
                self._driver.faults.wait_while_hung(name)
                body(*arguments)
            except NvmlReturn as result:
                return result.code
            except Exception:  # noqa: BLE001 - see above
                _log.exception("A simulated NVML function failed", extra={"function": name})
                return UNKNOWN
            return 0

        return ctypes.CFUNCTYPE(ctypes.c_int, *argtypes)(entry)

    def _call(self, name: str, symbol: Symbol, arguments: tuple[Any, ...]) -> None:
        with self._lock:
            if self._generation is None or self._generation != self._loaded():
                raise NvmlReturn(UNINITIALIZED)
        if not symbol.of_device:
            check_faults(self._driver, name, None)
            symbol.implementation(self._driver, *arguments)
            return
        device = device_of(self._driver, arguments[0])
        self._driver.faults.wait_while_hung(name, device.uuid)
        check_faults(self._driver, name, device)
        symbol.implementation(self._driver, device, *arguments[1:])

    def _loaded(self) -> int | None:
        return self._driver.faults.driver_generation()

    def _init(self, _flags: int) -> None:
        check_faults(self._driver, "nvmlInitWithFlags", None)
        loaded = self._loaded()
        if loaded is None:
            raise NvmlReturn(DRIVER_NOT_LOADED)
        if self._driver.driver_version != self._version:
            raise NvmlReturn(LIB_RM_VERSION_MISMATCH)
        self._driver.events.begin(loaded)
        with self._lock:
            self._references = self._references + 1 if self._generation == loaded else 1
            self._generation = loaded
            self._driver.sessions.add(id(self))

    def _shutdown(self) -> None:
        check_faults(self._driver, "nvmlShutdown", None)
        with self._lock:
            if self._references == 0:
                raise NvmlReturn(UNINITIALIZED)
            self._references -= 1
            if self._references == 0:
                self._generation = None
                self._driver.sessions.discard(id(self))

    def _error_string(self, code: int) -> int:
        if code not in self._error_strings:
            text = self._error_texts.get(code, "Unknown Error").encode()
            self._error_strings[code] = ctypes.create_string_buffer(text)
        return ctypes.addressof(self._error_strings[code])
