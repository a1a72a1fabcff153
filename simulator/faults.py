# SPDX-License-Identifier: Apache-2.0
"""Faults of a simulated NVML library, set and taken back while it runs, from any thread."""

from __future__ import annotations

import threading

NVML_ERROR_GPU_IS_LOST = 15


class Faults:
    """What goes wrong. Functions are named by their C symbol, devices by their UUID.

    What befalls a GPU befalls its MIG instances too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hung: dict[tuple[str, str | None], threading.Event] = {}
        self._codes: dict[tuple[str, str | None], int] = {}
        self._answers: dict[tuple[str, str | None], int] = {}
        self._texts: dict[tuple[str, str | None], bytes] = {}
        self._lost: dict[str, int] = {}
        self._driver_loaded = True
        self._driver_generation = 0
        self.lacks_library = False

    def hang(self, function: str, *, uuid: str | None = None) -> None:
        """Make calls of the function, for one device or for all, block until they are released."""
        with self._lock:
            self._hung.setdefault((function, uuid), threading.Event())

    def release(self, function: str | None = None) -> None:
        """Let the hung calls of the function (None: of all functions) go on."""
        with self._lock:
            for key in [one for one in self._hung if function in (None, one[0])]:
                self._hung.pop(key).set()

    def fail(self, function: str, code: int, *, uuid: str | None = None) -> None:
        """Make the function return this NVML error code, for one device or for all."""
        with self._lock:
            self._codes[function, uuid] = code

    def answer(self, function: str, value: int, *, uuid: str | None = None) -> None:
        """Make the function return this number as its reading, such as NVML's "not available".

        Works where a function yields one number, and on samples and utilization rates.
        """
        with self._lock:
            self._answers[function, uuid] = value

    def say(self, function: str, text: bytes, *, uuid: str | None = None) -> None:
        """Make the function write these bytes as its text, which may be no text at all."""
        with self._lock:
            self._texts[function, uuid] = text

    def heal(self, function: str, *, uuid: str | None = None) -> None:
        """Take back what `fail`, `answer` and `say` set for the same arguments."""
        with self._lock:
            self._codes.pop((function, uuid), None)
            self._answers.pop((function, uuid), None)
            self._texts.pop((function, uuid), None)

    def lose(self, uuid: str, *, code: int = NVML_ERROR_GPU_IS_LOST) -> None:
        """Let every call about the GPU return `code`.

        A GPU that fell off the bus is lost or unknown, after an ECC error it needs a reset.
        """
        with self._lock:
            self._lost[uuid] = code

    def find(self, uuid: str) -> None:
        """Bring a lost GPU back."""
        with self._lock:
            self._lost.pop(uuid, None)

    def unload_driver(self) -> None:
        """Take the driver away: calls say UNINITIALIZED and a new init says DRIVER_NOT_LOADED."""
        with self._lock:
            self._driver_loaded = False
            self._driver_generation += 1

    def load_driver(self) -> None:
        """Bring the driver back; the library works again after a new init."""
        with self._lock:
            self._driver_loaded = True

    def driver_generation(self) -> int | None:
        """Return which load of the driver this is, None while there is no driver."""
        with self._lock:
            return self._driver_generation if self._driver_loaded else None

    def wait_while_hung(self, function: str, uuid: str | None = None) -> None:
        """Block the calling thread for as long as the function hangs for all or for this device."""
        with self._lock:
            event = self._hung.get((function, uuid))
        if event is not None:
            event.wait()

    def code(self, function: str, *uuids: str) -> int | None:
        """Return the error code that the function must return for these devices, if any."""
        with self._lock:
            for uuid in uuids:
                if uuid in self._lost:
                    return self._lost[uuid]
            for key in ((function, uuid) for uuid in (*uuids, None)):
                if key in self._codes:
                    return self._codes[key]
            return None

    def answered(self, function: str, uuid: str, value: int) -> int:
        """Return the number set for the function, or `value` where none is set."""
        with self._lock:
            return self._answers.get((function, uuid), self._answers.get((function, None), value))

    def said(self, function: str, uuid: str | None, text: str) -> bytes:
        """Return the bytes set for the function, or those of `text` where none are set."""
        with self._lock:
            whatever = self._texts.get((function, None), text.encode())
            return self._texts.get((function, uuid), whatever)
