# SPDX-License-Identifier: Apache-2.0
"""One NVML call: its errors by name, and which call has not returned yet."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import ModuleType

T = TypeVar("T")

# "This board or driver has no such thing": an answer, not a failure.
ABSENT: Final = frozenset({"NOT_SUPPORTED", "FUNCTION_NOT_FOUND"})
# The device cannot be read at all; the others can.
DEVICE_GONE: Final = frozenset({"GPU_IS_LOST", "GPU_NOT_FOUND"})
# Nothing can be read until NVML is initialised again.
SESSION_GONE: Final = frozenset({"UNINITIALIZED", "DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH"})

STAMPS_MICROSECONDS: Final = range(1, 10**17)
"""No real time is outside: a place that the driver never filled in is 0, or the highest number."""
# Twice what NVML has room for in any name.
_MOST_CHARACTERS: Final = 192
_MOST_UNDECODED: Final = 256

field_of: Final = object.__getattribute__
"""A number in a structure: the binding's own way looks for texts, and takes longer than a call."""

# The members of the union nvmlValue_t, by nvmlValueType_t.
_VALUE_FIELDS: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class NvmlError(Exception):
    """An NVML function answered with an error; `code` is its name, such as GPU_IS_LOST."""

    def __init__(self, function: str, code: str, text: str) -> None:
        super().__init__(f"{function}: {code} ({text})")
        self.function = function
        self.code = code


class LeftBehind(BaseException):
    """The thread was left behind in a call that has returned after all: it has to end.

    Not an Exception, so that nobody on the way takes it for a failure of the driver.
    """


class RunningCall(NamedTuple):
    """The NVML call that has not returned yet, and the index of the GPU that it is about."""

    function: str
    started_seconds: float
    gpu_index: int | None = None

    def duration(self) -> str:
        """Return for how long it has not returned, as a sentence."""
        seconds = time.monotonic() - self.started_seconds
        return f"{self.function} has not returned for {seconds:.0f} s"


class CallOutcomes:
    """What the calls about one GPU, or about none (None), answered in one cycle, by function.

    `failures` are neither absences nor what the caller expected. A function may be in both, where
    it failed with some of its arguments.
    """

    __slots__ = ("failures", "index", "successes")

    def __init__(self, index: int | None = None) -> None:
        self.index = index
        self.successes: set[str] = set()
        self.failures: dict[str, NvmlError] = {}


class _Thread(threading.local):
    """Where the calls of each thread are noted."""

    answers: CallOutcomes | None = None


class Calls:
    """Calls the functions of one binding, in one thread at a time and in those left behind.

    `on_error` gets every error that is neither an absence nor expected by the caller.
    """

    def __init__(self, binding: ModuleType, on_error: Callable[[NvmlError], None]) -> None:
        self.binding = binding
        # By thread, which only a thread that was left behind shares with another one.
        self._running: dict[int, tuple[str, float, int | None]] = {}
        self._left: WeakSet[threading.Thread] = WeakSet()
        # Asked after every call, and a WeakSet takes its time to say that it is empty.
        self._has_left = False
        self._thread = _Thread()
        self._on_error = on_error
        # The texts that were counted, by function.
        self._undecoded: set[tuple[str, bytes]] = set()
        self._code_names = {
            value: name.removeprefix("NVML_ERROR_")
            for name, value in vars(binding).items()
            if name.startswith("NVML_ERROR_")
        } | {binding.NVML_SUCCESS: "SUCCESS"}

    @property
    def running(self) -> RunningCall | None:
        """The call that has not returned for longest, None if there is none; for any thread."""
        calls = [RunningCall(*call) for call in tuple(self._running.values())]
        return min(calls, key=lambda call: call.started_seconds, default=None)

    def running_in(self, thread: threading.Thread) -> RunningCall | None:
        """Return the call that this thread is in; for any thread."""
        call = self._running.get(thread.ident or 0)
        return None if call is None else RunningCall(*call)

    @contextmanager
    def about(self, answers: CallOutcomes) -> Iterator[None]:
        """Note in `answers` what this thread's calls answer while the context lasts."""
        before, self._thread.answers = self._thread.answers, answers
        try:
            yield
        finally:
            self._thread.answers = before

    def with_failures(self, read: Callable[[], T]) -> tuple[T, Collection[NvmlError]]:
        """Return what `read` returns, and which of its calls failed."""
        around = self._thread.answers or CallOutcomes()
        answers = CallOutcomes(around.index)
        with self.about(answers):
            result = read()
        around.successes |= answers.successes
        around.failures |= answers.failures
        return result, answers.failures.values()

    def leave(self, thread: threading.Thread) -> None:
        """Let a thread end as soon as its call returns."""
        self._left.add(thread)
        self._has_left = True

    def call(self, function: str, *arguments: Any, expected: frozenset[str] = frozenset()) -> Any:
        """Call one function; raises NvmlError."""
        thread = threading.get_ident()
        answers = self._thread.answers
        index = None if answers is None else answers.index
        self._running[thread] = function, time.monotonic(), index
        try:
            answer = getattr(self.binding, function)(*arguments)
        except UnicodeDecodeError as undecoded:
            answer = self._replaced(function, undecoded)
        except self.binding.NVMLError as nvml_error:
            code = self.code_name(nvml_error.value)
            error = NvmlError(function, code, self._text_of(nvml_error))
            if code not in ABSENT | expected:
                self.failed(error)
            elif answers is not None:
                answers.successes.add(function)
            raise error from nvml_error
        finally:
            del self._running[thread]
            if self._has_left and threading.current_thread() in self._left:
                raise LeftBehind
        if answers is not None:
            answers.successes.add(function)
        return printable(answer) if isinstance(answer, str) else answer

    def text_in(self, structure: Any, field: str, function: str) -> str:
        """Return a text in a structure that a function filled in."""
        try:
            text: str = getattr(structure, field)
        except UnicodeDecodeError as undecoded:
            text = self._replaced(function, undecoded)
        return printable(text)

    def _text_of(self, nvml_error: Exception) -> str:
        try:
            return str(nvml_error)
        except UnicodeDecodeError as undecoded:
            return self._replaced("nvmlErrorString", undecoded)

    def _replaced(self, function: str, error: UnicodeDecodeError) -> str:
        """Count once a text that is not UTF-8; returns it with such bytes replaced."""
        undecoded = (function, error.object)
        if undecoded not in self._undecoded and len(self._undecoded) < _MOST_UNDECODED:
            self._undecoded.add(undecoded)
            self._on_error(NvmlError(function, "NOT_UTF8", repr(error.object)))
        return error.object.decode(errors="replace")

    def failed(self, error: NvmlError) -> None:
        """Count and note a failure."""
        self._on_error(error)
        self.still_failed(error)

    def still_failed(self, error: NvmlError) -> None:
        """Note a failure of a former cycle that still leaves a value out."""
        answers = self._thread.answers
        if answers is not None:
            answers.failures[error.function] = error

    def optional(
        self, function: str, *arguments: Any, expected: frozenset[str] = frozenset()
    ) -> Any:
        """Call and return None on an error that concerns this reading only."""
        try:
            return self.call(function, *arguments, expected=expected)
        except NvmlError as error:
            raise_if_gone(error)
            return None

    def code_name(self, code: int) -> str:
        """Return the name of an error code: GPU_IS_LOST for 15."""
        return self._code_names.get(code, str(code))


def raise_if_gone(error: NvmlError) -> None:
    """Raise the error if it means the whole device or session."""
    if error.code in DEVICE_GONE | SESSION_GONE:
        raise error


def printable(text: str) -> str:
    """Return a text of the driver's without control characters, and of a length that fits."""
    return "".join(one for one in text if one.isprintable())[:_MOST_CHARACTERS].strip()


def within(bounds: range, value: float | None) -> int | None:
    """Return a number that we count or identify by, None where it cannot be real.

    What is published has the bounds of its family.
    """
    if value is None or not bounds.start <= value < bounds.stop or value != int(value):
        return None
    return int(value)


def member_of(value_type: int) -> str:
    """Return the member of nvmlValue_t with a value of this type.

    Empty for a type that this binding cannot decode.
    """
    return _VALUE_FIELDS[value_type] if 0 <= value_type < len(_VALUE_FIELDS) else ""
